//! Window functions: W(X) = Σ W(X|k) over the keys k of PARTITION BY. Windows over different keys are different operators.

use std::collections::{BTreeMap, BTreeSet};

use super::super::identity::identity;
use super::super::print::sql;
use super::build::Built;
use super::node::{Column, Node, NodeKind, NodeRef, Nodes};
use super::writer::{Keys, Writer, columns_of, in_parentheses, listed};
use crate::definition::{Expression, FrameWord, Operator, Refusal, WindowCall};
use crate::sql::identifier;

impl Nodes {
    /// The input's columns that are wanted or read by the functions, then the functions' values.
    pub(super) fn windowed(
        &mut self,
        input: &Operator,
        keys: &[Expression],
        calls: &[WindowCall],
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let width = input.width();
        if wanted.range(width..).next().is_none() {
            return self.build(input, wanted);
        }
        let mut values = Values::of(input, &wanted.range(..width).copied().collect());
        let keys: Vec<usize> = keys.iter().map(|key| values.place(key)).collect();
        let mut written = Vec::new();
        let mut of_calls = Vec::new();
        for at in wanted.range(width..) {
            let call = &calls[at - width];
            of_calls.push((*at, call));
            written.push(call.moved(&mut |value| values.column(value)));
        }
        let (input, mut at) = values.built(self, input)?;
        let mut columns = input.columns.clone();
        for (number, (place, call)) in of_calls.into_iter().enumerate() {
            at.insert(place, input.columns.len() + number);
            columns.push(Column {
                name: call.call.word().to_owned(),
                facts: call.value.clone(),
            });
        }
        let kind = NodeKind::Window {
            input,
            keys,
            calls: written,
        };
        Ok(Built {
            node: self.add(kind, columns),
            at,
        })
    }
}

/// Columns and other values that an operator needs of its input, as columns of a projection of it.
pub(super) struct Values {
    all: Vec<Expression>,
    at: BTreeMap<usize, usize>,
}

impl Values {
    /// Some columns of an input.
    pub(super) fn of(input: &Operator, wanted: &BTreeSet<usize>) -> Self {
        let facts = input.columns();
        Self {
            all: wanted.iter().map(|at| facts[*at].as_column(*at)).collect(),
            at: wanted.iter().copied().zip(0..).collect(),
        }
    }

    /// Where a value is; it is added if it is not there.
    pub(super) fn place(&mut self, value: &Expression) -> usize {
        let is_same = |other: &&Expression| other.kind == value.kind;
        let known = self.all.iter().position(|other| is_same(&other));
        known.unwrap_or_else(|| {
            self.all.push(value.clone());
            self.all.len() - 1
        })
    }

    /// A value as a column, or as the constant that it is.
    pub(super) fn column(&mut self, value: &Expression) -> Expression {
        if value.columns().is_empty() {
            return value.clone();
        }
        let at = self.place(value);
        value.as_column(at)
    }

    /// The node with these columns, and where it has those that were wanted.
    pub(super) fn built(
        self,
        nodes: &mut Nodes,
        input: &Operator,
    ) -> Result<(NodeRef, BTreeMap<usize, usize>), Refusal> {
        let count = self.all.len();
        let projected = Operator::Project {
            input: Box::new(input.clone()),
            outputs: self.all,
        };
        let node = nodes.exact(&projected, &(0..count).collect::<Vec<_>>())?;
        Ok((node, self.at))
    }
}

impl Writer<'_> {
    pub(super) fn windowed_delta(
        &mut self,
        node: &Node,
        input: &NodeRef,
        keys: &[usize],
        calls: &[WindowCall],
    ) -> Result<String, Refusal> {
        let touched = self.touched(input, keys, None)?;
        let now = windowed(node, input, keys, calls, &touched.now);
        let before = windowed(node, input, keys, calls, &touched.before);
        self.difference(&node.columns, &now, &before)
    }

    /// New rows less old ones, what is in both left out where that can be told.
    pub(super) fn difference(
        &mut self,
        columns: &[Column],
        now: &str,
        before: &str,
    ) -> Result<String, Refusal> {
        let weight = self.weight;
        let both = format!(
            "SELECT *, 1 AS {weight}\nFROM {} AS present\nUNION ALL\nSELECT *, -1\nFROM {} AS past",
            in_parentheses(now),
            in_parentheses(before)
        );
        let can_be_netted = columns
            .iter()
            .all(|column| identity(&column.facts, "").is_some());
        if !can_be_netted {
            return Ok(both);
        }
        self.net(
            columns,
            &format!("{} AS changed", in_parentheses(&both)),
            weight,
        )
    }

    pub(super) fn windowed_now(
        &mut self,
        node: &NodeRef,
        restriction: Option<&Keys>,
    ) -> Result<String, Refusal> {
        let NodeKind::Window { input, keys, calls } = &node.kind else {
            return Err(Refusal::unknown("a window"));
        };
        let compute = |from: &str| windowed(node, input, keys, calls, from);
        self.by_keys_now(node, input, keys, restriction, &compute)
    }
}

fn windowed(node: &Node, input: &Node, keys: &[usize], calls: &[WindowCall], from: &str) -> String {
    let texts = columns_of(input, "windowed.");
    let text = |at: usize| texts[at].clone();
    let partition = listed(keys.iter().map(|key| texts[*key].clone()));
    let mut outputs = texts.clone();
    for (call, column) in calls.iter().zip(&node.columns[input.columns.len()..]) {
        let order: Vec<String> = call
            .order
            .iter()
            .map(|(value, direction)| format!("{}{direction}", sql(value, &text)))
            .collect();
        let order = if order.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", listed(order))
        };
        let frame: String = call
            .frame
            .iter()
            .map(|word| match word {
                FrameWord::Text(text) => (*text).to_owned(),
                FrameWord::Offset(value) => sql(value, &text),
            })
            .collect();
        let frame = if frame.is_empty() {
            frame
        } else {
            format!(" {frame}")
        };
        outputs.push(format!(
            "{} OVER (PARTITION BY {partition}{order}{frame}) AS {}",
            call.call.text(&text),
            identifier(&column.name)
        ));
    }
    format!("SELECT {}\nFROM {from} AS windowed", listed(outputs))
}
