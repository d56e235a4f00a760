//! The first rows of an order: LIMIT of all rows; by key DISTINCT ON for the first, `row_number()` for more.
//!
//! By key it is f(X|K) − `f(X_old|K)`. Without a key, let n rows be taken after leaving out m, and let there be p new rows in ΔX.
//! Then the first n + m rows of `X_old` are among F, the first n + m + p rows of X, and the rows that went: the first of
//! `X_old` = X − ΔX are the first of F − ΔX, where what is not there is not taken away.

use std::collections::BTreeSet;

use super::build::Built;
use super::node::{NodeKind, NodeRef, Nodes, unique};
use super::windowed::Values;
use super::writer::{Keys, Writer, columns_of, in_parentheses, listed};
use crate::definition::{Expression, Kind, Limit, Operator, Refusal};
use crate::sql::identifier;

/// A number of new rows that is expected: a constant lets the planner see that few rows are asked for.
const FEW: u64 = 100;

/// Columns to order by, with the direction as written.
pub(super) type Order = Vec<(usize, String)>;

impl Nodes {
    pub(super) fn first(
        &mut self,
        input: &Operator,
        keys: &[Expression],
        order: &[(Expression, String)],
        limit: Limit,
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let mut values = Values::of(input, wanted);
        let keys: Vec<usize> = keys.iter().map(|key| values.place(key)).collect();
        // by a constant there is no order
        let order: Order = order
            .iter()
            .filter(|(value, _)| !matches!(value.kind, Kind::Literal(_)))
            .map(|(value, direction)| (values.place(value), direction.clone()))
            .collect();
        let (input, at) = values.built(self, input)?;
        let columns = input.columns.clone();
        let kind = NodeKind::First {
            input,
            keys,
            order,
            limit,
        };
        Ok(Built {
            node: self.add(kind, columns),
            at,
        })
    }
}

impl Writer<'_> {
    pub(super) fn first_delta(&mut self, node: &NodeRef) -> Result<String, Refusal> {
        let NodeKind::First {
            input,
            keys,
            order,
            limit,
        } = &node.kind
        else {
            return Err(Refusal::unknown("LIMIT"));
        };
        if !keys.is_empty() {
            let touched = self.touched(input, keys, None)?;
            let now = first(input, keys, order, *limit, &touched.now);
            let before = first(input, keys, order, *limit, &touched.before);
            return self.difference(&node.columns, &now, &before);
        }
        let changes = self.net_changes(input)?;
        let foremost = self.foremost(input, order, *limit, &changes)?;
        let before = self.less(input, &foremost, &changes)?;
        let now = first(input, keys, order, *limit, &foremost);
        let before = first(input, keys, order, *limit, &before);
        self.difference(&node.columns, &now, &before)
    }

    /// The part, quoted, with F.
    fn foremost(
        &mut self,
        input: &NodeRef,
        order: &Order,
        limit: Limit,
        changes: &str,
    ) -> Result<String, Refusal> {
        let weight = self.weight;
        let changes = identifier(changes);
        let rows = in_parentheses(&self.now(input, None)?);
        let some = |count: Option<String>| {
            let rows = taken(
                input,
                &[],
                order,
                count.as_deref(),
                0,
                limit.with_ties,
                &rows,
            );
            in_parentheses(&rows)
        };
        let Some(count) = limit.count else {
            let body = format!(
                "SELECT *\nFROM {} AS foremost\nWHERE EXISTS (SELECT FROM {changes})",
                some(None)
            );
            return Ok(identifier(&self.part("foremost", &body)));
        };
        let reach = count + limit.offset;
        let body = format!(
            "SELECT coalesce(sum({weight}) FILTER (WHERE {weight} > 0), 0)::int8 AS added\nFROM {changes}"
        );
        let added = identifier(&self.part("new_rows", &body));
        let body = format!(
            "SELECT *\nFROM {} AS foremost\nWHERE EXISTS (SELECT FROM {changes}) AND (SELECT added <= {FEW} FROM {added})\nUNION ALL\nSELECT *\nFROM {} AS foremost\nWHERE (SELECT added > {FEW} FROM {added})",
            some(Some((reach + FEW).to_string())),
            some(Some(format!("(SELECT added + {reach} FROM {added})"))),
        );
        Ok(identifier(&self.part("foremost", &body)))
    }

    pub(super) fn first_now(
        &mut self,
        node: &NodeRef,
        restriction: Option<&Keys>,
    ) -> Result<String, Refusal> {
        let NodeKind::First {
            input,
            keys,
            order,
            limit,
        } = &node.kind
        else {
            return Err(Refusal::unknown("LIMIT"));
        };
        let compute = |from: &str| first(input, keys, order, *limit, from);
        self.by_keys_now(node, input, keys, restriction, &compute)
    }
}

fn first(input: &NodeRef, keys: &[usize], order: &Order, limit: Limit, from: &str) -> String {
    let is_one = limit.count == Some(1) && limit.offset == 0 && !limit.with_ties;
    if !keys.is_empty() && !is_one {
        return some_of_each(input, keys, order, limit, from);
    }
    // of each key there is one
    let count = limit.count.filter(|_| keys.is_empty());
    let count = count.map(|count| count.to_string());
    let (offset, with_ties) = (limit.offset, limit.with_ties);
    taken(
        input,
        keys,
        order,
        count.as_deref(),
        offset,
        with_ties,
        from,
    )
}

/// The rows of each key at certain places of the order.
fn some_of_each(
    input: &NodeRef,
    keys: &[usize],
    order: &Order,
    limit: Limit,
    from: &str,
) -> String {
    let taken: BTreeSet<String> = input
        .columns
        .iter()
        .map(|column| column.name.clone())
        .collect();
    let [place, rank] = ["place", "rank"].map(|name| identifier(&unique(name, &taken)));
    let texts = columns_of(input, "ordered.");
    let keys = listed(keys.iter().map(|key| texts[*key].clone()));
    let order: Vec<String> = order
        .iter()
        .map(|(at, direction)| format!("{}{direction}", texts[*at]))
        .collect();
    let window = if order.is_empty() {
        format!("PARTITION BY {keys}")
    } else {
        format!("PARTITION BY {keys} ORDER BY {}", listed(order))
    };
    let mut wanted = format!("{place} > {}", limit.offset);
    if let Some(count) = limit.count {
        let measure = if limit.with_ties { &rank } else { &place };
        wanted += &format!(" AND {measure} <= {}", limit.offset + count);
    }
    format!(
        "SELECT {}\nFROM (\n    SELECT {}, row_number() OVER in_order AS {place}, rank() OVER in_order AS {rank}\n    FROM {from} AS ordered\n    WINDOW in_order AS ({window})\n) AS placed\nWHERE {wanted}",
        listed(columns_of(input, "placed.")),
        listed(texts),
    )
}

/// `SELECT` of the first rows of a text in FROM.
fn taken(
    input: &NodeRef,
    keys: &[usize],
    order: &Order,
    count: Option<&str>,
    offset: u64,
    with_ties: bool,
    from: &str,
) -> String {
    let texts = columns_of(input, "ordered.");
    let on = if keys.is_empty() {
        String::new()
    } else {
        let keys = keys.iter().map(|key| texts[*key].clone());
        format!("DISTINCT ON ({}) ", listed(keys))
    };
    let order: Vec<String> = keys
        .iter()
        .filter(|key| order.iter().all(|(at, _)| at != *key))
        .map(|key| texts[*key].clone())
        .chain(
            order
                .iter()
                .map(|(at, direction)| format!("{}{direction}", texts[*at])),
        )
        .collect();
    let mut text = format!(
        "SELECT {on}{}\nFROM {from} AS ordered",
        listed(texts.iter().cloned())
    );
    if !order.is_empty() {
        text += &format!("\nORDER BY {}", listed(order));
    }
    if offset > 0 {
        text += &format!("\nOFFSET {offset}");
    }
    match count {
        Some(count) if with_ties => text += &format!("\nFETCH FIRST {count} ROWS WITH TIES"),
        Some(count) => text += &format!("\nLIMIT {count}"),
        None => {}
    }
    text
}
