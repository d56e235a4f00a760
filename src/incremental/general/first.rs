//! The first rows of an order: DISTINCT ON by key, LIMIT of all rows, LIMIT of those that LATERAL has for each row outside.
//!
//! By key it is f(X|K) − `f(X_old|K)`. Without a key, let n rows be taken after leaving out m, and let there be p new rows in ΔX.
//! Then the first n + m rows of `X_old` are among F, the first n + m + p rows of X, and the rows that went: the first of
//! `X_old` = X − ΔX are the first of F − ΔX, where what is not there is not taken away.

use std::collections::BTreeSet;

use super::build::Built;
use super::node::{NodeKind, NodeRef, Nodes, unique};
use super::windowed::Values;
use super::writer::{Keys, Writer, columns_of, in_parentheses, listed, where_clause};
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
            let touched = self.touched(input, keys)?;
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
        return several(input, keys, order, limit, from);
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

/// `SELECT` of several of the first rows of each key.
fn several(input: &NodeRef, keys: &[usize], order: &Order, limit: Limit, from: &str) -> String {
    let texts = columns_of(input, "ordered.");
    let mut names: BTreeSet<String> = input.columns.iter().map(|of| of.name.clone()).collect();
    let mut free = |wanted: &str| {
        let name = unique(wanted, &names);
        names.insert(name.clone());
        identifier(&name)
    };
    let (number, rank) = (free("place_number"), free("place_rank"));
    let order: Vec<String> = order
        .iter()
        .map(|(at, direction)| format!("{}{direction}", texts[*at]))
        .collect();
    let order_by = if order.is_empty() {
        String::new()
    } else {
        format!(" ORDER BY {}", listed(order))
    };
    let window = format!(
        "PARTITION BY {}{order_by}",
        listed(keys.iter().map(|key| texts[*key].clone()))
    );
    let mut conditions = vec![format!("numbered.{number} > {}", limit.offset)];
    if let Some(count) = limit.count {
        let last = count.saturating_add(limit.offset);
        let place = if limit.with_ties { &rank } else { &number };
        conditions.push(format!("numbered.{place} <= {last}"));
    }
    format!(
        "SELECT {}\nFROM (\n    SELECT {}, row_number() OVER ({window}) AS {number}, rank() OVER ({window}) AS {rank}\n    FROM {} AS ordered\n) AS numbered{}",
        listed(columns_of(input, "numbered.")),
        listed(texts.iter().cloned()),
        from.replace('\n', "\n    "),
        where_clause(&conditions),
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
