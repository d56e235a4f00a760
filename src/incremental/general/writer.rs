//! The parts of a statement as they are written, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::super::bounds::Effort;
use super::super::identity::{any_of_same, identity, is_identical_if_equal};
use super::super::logs::{Changed, ChangedTable};
use super::super::names::{free_name, is_part};
use super::super::print::indented;
use super::asked::AskedFor;
use super::kept::Kept;
use super::node::{Column, Node};
use crate::definition::Refusal;
use crate::sql::identifier;

/// Writes the differences of operators as parts (common table expressions) of one statement.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) tables: &'a BTreeMap<u32, ChangedTable>,
    pub(super) weight: &'a str,
    pub(super) changed: Changed<'a>,
    parts: Vec<(String, String)>,
    taken: BTreeSet<String>,
    /// The parts with the differences of nodes, by their numbers.
    pub(super) differences: BTreeMap<usize, String>,
    /// Groupings whose groups only count where the rows of a left side ask for them, by their numbers.
    pub(super) asked_for: BTreeMap<usize, AskedFor>,
    /// Groupings of which counts and sums are kept, by their numbers.
    pub(super) kept: &'a [Kept<'a>],
    /// Whether these are read from what a complete refresh has just computed.
    pub(super) is_fresh: bool,
    /// What to add to the number of rows that should have been there.
    pub(super) missing: String,
    /// The numbers of nodes that are inputs of several.
    shared: BTreeSet<usize>,
    pub(super) spent: Effort,
}

/// Values by which rows are asked for.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The part that holds them, each combination once.
    pub(super) part: String,
    pub(super) columns: Vec<KeyColumn>,
    /// Whether every combination has a NULL in it.
    pub(super) all_have_null: bool,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct KeyColumn {
    /// The column of the rows that are asked for.
    pub(super) at: usize,
    /// The column of the part.
    pub(super) column: Column,
    /// Whether NULL asks for NULL; else it asks for nothing.
    pub(super) finds_null: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        tables: &'a BTreeMap<u32, ChangedTable>,
        weight: &'a str,
        changed: Changed<'a>,
        root: &Node,
    ) -> Self {
        let names = tables.values().map(|table| table.changes.clone());
        Self {
            tables,
            weight,
            changed,
            parts: Vec::new(),
            taken: names.collect(),
            differences: BTreeMap::new(),
            asked_for: BTreeMap::new(),
            kept: &[],
            is_fresh: false,
            missing: String::new(),
            shared: shared(root),
            spent: Effort::default(),
        }
    }

    /// Whether a node is the input of more than one.
    pub(super) fn is_shared(&self, node: &Node) -> bool {
        self.shared.contains(&node.id)
    }

    /// With groupings of which counts and sums are kept.
    pub(super) fn keeping(self, kept: &'a [Kept<'a>]) -> Self {
        Self { kept, ..self }
    }

    /// Adds parts as they are.
    pub(super) fn add(&mut self, parts: impl IntoIterator<Item = (String, String)>) {
        self.parts.extend(parts);
    }

    /// The number of parts that there are.
    pub(super) fn mark(&self) -> usize {
        self.parts.len()
    }

    /// Takes back the parts since a mark.
    pub(super) fn since(&mut self, mark: usize) -> Vec<(String, String)> {
        self.parts.split_off(mark)
    }

    /// Writes a part; gives its name.
    pub(super) fn part(&mut self, wanted: &str, body: &str) -> String {
        let name = free_name(wanted, "", |name| {
            !is_part(name) && !self.taken.contains(name)
        });
        self.taken.insert(name.clone());
        self.parts.push((
            format!("{} AS MATERIALIZED", identifier(&name)),
            indented(body, 1),
        ));
        name
    }

    /// Whether a node's rows may have changed.
    pub(super) fn may_change(&self, node: &Node) -> bool {
        node.reads(&|oid| self.changed.may(oid))
    }

    /// The parts that were written since the last call.
    pub(super) fn take_parts(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.parts)
    }

    /// Rows with weights, those that are the same added up. `from` stands after FROM.
    pub(super) fn net(
        &self,
        columns: &[Column],
        from: &str,
        weight: &str,
    ) -> Result<String, Refusal> {
        let mut keys = Vec::new();
        let mut values = Vec::new();
        for column in columns {
            let name = identifier(&column.name);
            keys.extend(told_apart(column)?);
            values.push(if is_identical_if_equal(&column.facts) {
                name
            } else {
                format!("{} AS {name}", any_of_same(&column.facts, &name))
            });
        }
        let weight_name = self.weight;
        Ok(format!(
            "SELECT {}\nFROM {from}\nGROUP BY {}\nHAVING sum({weight}) <> 0",
            listed(
                values
                    .into_iter()
                    .chain([format!("sum({weight})::int8 AS {weight_name}")])
            ),
            listed(keys),
        ))
    }

    /// `SELECT DISTINCT` of some columns of a part, without those that have a NULL where it could find nothing.
    ///
    /// The part goes by the alias `partial`.
    pub(super) fn keys_of(
        &mut self,
        part: &str,
        columns: impl Iterator<Item = (String, usize, Column, bool)>,
    ) -> Keys {
        let mut outputs = Vec::new();
        let mut conditions = Vec::new();
        let mut keys = Vec::new();
        for (number, (text, at, column, finds_null)) in columns.enumerate() {
            let name = format!("key_{}", number + 1);
            outputs.push(format!("{text} AS {name}"));
            if !finds_null && column.facts.is_nullable {
                conditions.push(format!("{text} IS NOT NULL"));
            }
            keys.push(KeyColumn {
                at,
                column: Column { name, ..column },
                finds_null,
            });
        }
        let body = format!(
            "SELECT DISTINCT {}\nFROM {} AS partial{}",
            listed(outputs),
            identifier(part),
            where_clause(&conditions)
        );
        Keys {
            part: self.part(&format!("{part}_keys"), &body),
            columns: keys,
            all_have_null: false,
        }
    }
}

impl Writer<'_> {
    /// Of values for several columns those for some of them, if there are any.
    pub(super) fn keys_among(
        &mut self,
        keys: &Keys,
        is_among: &dyn Fn(usize) -> bool,
    ) -> Option<Keys> {
        let some: Vec<_> = keys
            .columns
            .iter()
            .filter(|key| is_among(key.at))
            .map(|key| {
                let name = identifier(&key.column.name);
                (name, key.at, key.column.clone(), key.finds_null)
            })
            .collect();
        if some.is_empty() {
            return None;
        }
        let part = keys.part.clone();
        Some(self.keys_of(&part, some.into_iter()))
    }
}

/// The numbers of the nodes that are inputs of several nodes.
fn shared(root: &Node) -> BTreeSet<usize> {
    let (mut visited, mut shared) = (BTreeSet::new(), BTreeSet::new());
    let mut pending = vec![root];
    while let Some(node) = pending.pop() {
        for input in node.inputs() {
            if visited.insert(input.id) {
                pending.push(input);
            } else {
                shared.insert(input.id);
            }
        }
    }
    shared
}

/// What tells values of a column apart byte for byte.
pub(super) fn told_apart(column: &Column) -> Result<Vec<String>, Refusal> {
    let name = identifier(&column.name);
    identity(&column.facts, &name).ok_or_else(|| {
        Refusal::new(
            format!("column {}", column.name),
            format!(
                "values of type {} can't be told apart byte for byte",
                column.facts.data_type
            ),
        )
    })
}

/// The columns of a node, as a list.
pub(super) fn columns_of(node: &Node, prefix: &str) -> Vec<String> {
    node.columns
        .iter()
        .map(|column| format!("{prefix}{}", identifier(&column.name)))
        .collect()
}

pub(super) fn listed(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(", ")
}

pub(super) fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!("\nWHERE {}", conditions.join(" AND "))
    }
}

/// Text in parentheses on lines of its own.
pub(super) fn in_parentheses(text: &str) -> String {
    format!("(\n{}\n)", indented(text, 1))
}
