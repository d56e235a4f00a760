//! Groupings: the groups that the difference touches are computed as they are and as they were.

use std::collections::BTreeSet;

use super::build::Built;
use super::node::{Call, Column, Node, NodeKind, NodeRef, Nodes, Sides};
use super::partitions::Touched;
use super::writer::{Keys, Writer, columns_of, in_parentheses, listed};
use crate::definition::{AggregateCall, Expression, Operator, Refusal};
use crate::sql::identifier;

impl Nodes {
    /// A grouping. Its input has the keys as its first columns, then all that aggregates read.
    pub(super) fn grouped(
        &mut self,
        input: &Operator,
        keys: &[Expression],
        aggregates: &[AggregateCall],
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let mut values = keys.to_vec();
        let mut calls = Vec::new();
        let mut at = (0..keys.len()).map(|key| (key, key)).collect::<Vec<_>>();
        let mut named = Vec::new();
        for (number, aggregate) in aggregates.iter().enumerate() {
            if !wanted.contains(&(keys.len() + number)) {
                continue;
            }
            at.push((keys.len() + number, keys.len() + calls.len()));
            calls.push(call(aggregate, &mut values));
            named.push(Column {
                name: aggregate.word().to_owned(),
                facts: aggregate.value(),
            });
        }
        if keys.is_empty() && calls.is_empty() {
            // there is one row, whatever is read of it
            calls.push(Call {
                aggregate: AggregateCall::of_rows(),
            });
            named.push(Column {
                name: "count".to_owned(),
                facts: AggregateCall::of_rows().value(),
            });
        }
        let count = values.len();
        let projected = Operator::Project {
            input: Box::new(input.clone()),
            outputs: values,
        };
        let input = self.exact(&projected, &(0..count).collect::<Vec<_>>())?;
        let mut columns = input.columns[..keys.len()].to_vec();
        for (column, key) in columns.iter_mut().zip(keys) {
            column.facts = key.clone();
        }
        columns.extend(named);
        let kind = NodeKind::Aggregate {
            input,
            keys: keys.len(),
            calls,
        };
        Ok(Built {
            node: self.add(kind, columns),
            at: at.into_iter().collect(),
        })
    }
}

/// An aggregate over columns, which are added to those that there are.
fn call(aggregate: &AggregateCall, values: &mut Vec<Expression>) -> Call {
    let mut column = |value: &Expression| {
        // a constant stays one
        if value.columns().is_empty() {
            return value.clone();
        }
        let known = values.iter().position(|other| other == value);
        let at = known.unwrap_or_else(|| {
            values.push(value.clone());
            values.len() - 1
        });
        value.as_column(at)
    };
    Call {
        aggregate: aggregate.moved(&mut column),
    }
}

impl Writer<'_> {
    // Δγ X = γ X_new − γ X_old over the groups that ΔX touches; X_old = X_new − ΔX there
    pub(super) fn grouped_delta(
        &mut self,
        node: &Node,
        input: &NodeRef,
        keys: usize,
        calls: &[Call],
    ) -> Result<String, Refusal> {
        let weight = self.weight;
        let (touched, having) = if keys == 0 {
            let changes = self.net_changes(input)?;
            let gate = format!("EXISTS (SELECT FROM {})", identifier(&changes));
            let all = in_parentheses(&self.now(input, None)?);
            let now = format!("SELECT *\nFROM {all} AS everything\nWHERE {gate}");
            let now = identifier(&self.part("grouped_rows_now", &now));
            let before = self.less(input, &now, &changes)?;
            (Touched { now, before }, format!("\nHAVING {gate}"))
        } else {
            let keys: Vec<usize> = (0..keys).collect();
            let asked = self.asked_for.get(&node.id).cloned();
            (self.touched(input, &keys, asked.as_ref())?, String::new())
        };
        let text = |from: &str, weight_of: &str| {
            format!(
                "{}{having}",
                grouping(node, input, keys, calls, from, Some((weight_of, weight)))
            )
        };
        Ok(format!(
            "{}\nUNION ALL\n{}",
            text(&touched.now, "1"),
            text(&touched.before, "-1")
        ))
    }

    /// Of a subquery that depends on the row outside only the group of that row, which is `kept`, for FROM: as the query
    /// itself is computed, so that all rows cost no more.
    pub(super) fn groups_of_kept_row(&mut self, sides: &Sides) -> Result<Option<String>, Refusal> {
        let NodeKind::Aggregate { input, keys, calls } = &sides.right.kind else {
            return Ok(None);
        };
        let linked = |key: usize| sides.equal.iter().find(|(_, right)| *right == key);
        let links: Option<Vec<_>> = (0..*keys).map(linked).collect();
        let Some(links) = links.filter(|links| sides.is_dependent && !links.is_empty()) else {
            return Ok(None);
        };
        if self.kept_of(&sides.right).is_some() {
            return Ok(None);
        }
        let same = links.into_iter().map(|(left, right)| {
            format!(
                "asked.{} = kept.{}",
                identifier(&input.columns[*right].name),
                identifier(&sides.left.columns[*left].name)
            )
        });
        let rows = format!(
            "(SELECT * FROM {} AS asked WHERE {})",
            in_parentheses(&self.now(input, None)?),
            same.collect::<Vec<_>>().join(" AND ")
        );
        let group = grouping(&sides.right, input, *keys, calls, &rows, None);
        Ok(Some(format!("LATERAL {}", in_parentheses(&group))))
    }

    /// The groups as they are now, all or those of some keys.
    pub(super) fn grouped_now(
        &mut self,
        node: &NodeRef,
        restriction: Option<&Keys>,
    ) -> Result<String, Refusal> {
        let NodeKind::Aggregate { input, keys, calls } = &node.kind else {
            return Err(Refusal::unknown("a grouping"));
        };
        if let Some(kept) = self.kept_of(node) {
            return self.kept_now(node, kept, restriction);
        }
        let is_key = |at: usize| at < *keys;
        match restriction {
            Some(by) if by.columns.iter().any(|key| !is_key(key.at)) => {
                let some = self.keys_among(by, &is_key);
                let text = self.grouped_now(node, some.as_ref())?;
                self.filtered_text(node, by, text)
            }
            _ => {
                let rows = in_parentheses(&self.now(input, restriction)?);
                Ok(grouping(node, input, *keys, calls, &rows, None))
            }
        }
    }
}

fn grouping(
    node: &Node,
    input: &Node,
    keys: usize,
    calls: &[Call],
    from: &str,
    weight: Option<(&str, &str)>,
) -> String {
    let texts = columns_of(input, "grouped.");
    let mut outputs: Vec<String> = texts[..keys]
        .iter()
        .zip(&node.columns)
        .map(|(text, column)| super::join::named(text, &column.name))
        .collect();
    for (call, column) in calls.iter().zip(&node.columns[keys..]) {
        let value = call.aggregate.text(&|at| texts[at].clone());
        outputs.push(format!("{value} AS {}", identifier(&column.name)));
    }
    if let Some((value, name)) = weight {
        outputs.push(format!("{value} AS {name}"));
    }
    let group_by = if keys == 0 {
        String::new()
    } else {
        format!("\nGROUP BY {}", listed(texts[..keys].iter().cloned()))
    };
    format!(
        "SELECT {}\nFROM {from} AS grouped{group_by}",
        listed(outputs)
    )
}
