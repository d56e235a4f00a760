//! Functions that give sets: linear, as each row is mapped to rows by itself. ΔX × f(X) is the difference of X × f(X).

use std::collections::BTreeSet;

use super::super::print::sql;
use super::build::Built;
use super::join::named;
use super::node::{Column, Node, NodeKind, Nodes};
use super::writer::{columns_of, listed, where_clause};
use crate::definition::{Expression, Operator, Refusal, SetFunction};
use crate::sql::identifier;

impl Nodes {
    pub(super) fn unfolded(
        &mut self,
        operator: &Operator,
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let Operator::Unfold {
            input,
            functions,
            has_ordinality,
            is_outer,
            conditions,
        } = operator
        else {
            return Err(Refusal::unknown("a function in FROM"));
        };
        let width = input.width();
        let read: BTreeSet<usize> = functions
            .iter()
            .map(|function| &function.call)
            .chain(conditions)
            .flat_map(Expression::columns)
            .chain(wanted.iter().copied())
            .filter(|at| *at < width)
            .collect();
        let built = self.filled(input, &read)?;
        let mut at = built.at;
        let kept = built.node.columns.len();
        at.extend((width..operator.width()).map(|column| (column, column - width + kept)));
        let moved = |expression: &Expression| expression.moved(&|column| at[&column]);
        let mut columns = built.node.columns.clone();
        let given = operator.columns().into_iter().skip(width).enumerate();
        columns.extend(given.map(|(number, facts)| Column {
            name: format!("given_{}", number + 1),
            facts,
        }));
        let kind = NodeKind::Unfold {
            functions: functions
                .iter()
                .map(|function| function.with(moved(&function.call)))
                .collect(),
            has_ordinality: *has_ordinality,
            is_outer: *is_outer,
            conditions: conditions.iter().map(moved).collect(),
            input: built.node,
        };
        Ok(Built {
            node: self.add(kind, columns),
            at,
        })
    }
}

/// Its rows over rows of its input, which stand in FROM; with their weights, if these have any.
pub(super) fn unfolded_text(node: &Node, input_text: &str, weight: Option<&str>) -> String {
    let NodeKind::Unfold {
        input,
        functions,
        has_ordinality,
        is_outer,
        conditions,
    } = &node.kind
    else {
        return String::new();
    };
    let mut texts = columns_of(input, "kept.");
    let given: Vec<String> = node.columns[texts.len()..]
        .iter()
        .map(|column| identifier(&column.name))
        .collect();
    texts.extend(given.iter().map(|name| format!("given.{name}")));
    let text = |at: usize| texts[at].clone();
    let call = |function: &SetFunction| {
        let definition = function.definition.as_ref();
        let definition = definition.map(|columns| format!(" AS ({columns})"));
        format!(
            "{}{}",
            sql(&function.call, &text),
            definition.unwrap_or_default()
        )
    };
    let conditions: Vec<String> = conditions
        .iter()
        .map(|condition| sql(condition, &text))
        .collect();
    let mut outputs: Vec<String> = texts
        .iter()
        .zip(&node.columns)
        .map(|(text, column)| named(text, &column.name))
        .collect();
    outputs.extend(weight.map(|weight| format!("kept.{weight}")));
    let (join, filter) = match (*is_outer, conditions.is_empty()) {
        (true, true) => ("LEFT JOIN LATERAL", " ON true".to_owned()),
        (true, false) => (
            "LEFT JOIN LATERAL",
            format!(" ON {}", conditions.join(" AND ")),
        ),
        (false, _) => ("CROSS JOIN LATERAL", where_clause(&conditions)),
    };
    format!(
        "SELECT {}\nFROM {input_text} AS kept\n{join} ROWS FROM ({}){} AS given ({}){filter}",
        listed(outputs),
        listed(functions.iter().map(call)),
        if *has_ordinality {
            " WITH ORDINALITY"
        } else {
            ""
        },
        listed(given),
    )
}
