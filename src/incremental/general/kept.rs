//! Groupings of which all rows are read with every refresh, as by LIMIT or by an aggregate over all of them: counts and sums of
//! their groups are kept in a table, as for a grouping at the root, and read in place of the base tables.

use std::collections::{BTreeMap, BTreeSet};

use super::super::groups::{self, Grouped};
use super::super::logs::{Changed, ChangedTable};
use super::super::merge::Input;
use super::super::names::Names;
use super::super::program::{Grouping, StateTable, Target};
use super::input::{all_rows, input_changes};
use super::node::{Column, Node, NodeKind, NodeRef, Nodes};
use super::writer::{Keys, Writer, listed};
use crate::definition::Refusal;
use crate::sql::identifier;

/// A grouping that is to be kept.
#[derive(Debug)]
pub(super) struct ToKeep {
    /// The number of its node.
    id: usize,
    grouping: Grouping,
    /// The names of the node's columns, quoted.
    columns: Vec<String>,
    /// The keys, and what partial values are computed from.
    input: NodeRef,
}

/// A grouping that is kept.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    id: usize,
    grouped: Grouped<'a>,
    input: NodeRef,
}

impl Nodes {
    /// The groupings to keep of a query, those first that others read.
    pub(super) fn all_to_keep(&mut self, root: &NodeRef) -> Vec<ToKeep> {
        let mut found = BTreeMap::new();
        read_in_full(root, false, &mut found, &mut BTreeSet::new());
        found.into_values().map(|node| self.kept(&node)).collect()
    }

    fn kept(&mut self, node: &NodeRef) -> ToKeep {
        let NodeKind::Aggregate { input, keys, calls } = &node.kind else {
            unreachable!("only groupings are found");
        };
        let facts = |(at, column): (usize, &Column)| column.facts.as_column(at);
        let grouping = Grouping {
            keys: node.columns[..*keys]
                .iter()
                .enumerate()
                .map(facts)
                .collect(),
            aggregates: calls.iter().map(|call| call.aggregate.clone()).collect(),
            conditions: Vec::new(),
            outputs: node.columns.iter().enumerate().map(facts).collect(),
        };
        let (_, partials, _) = groups::inputs(&grouping, &[]);
        let over = partials.into_iter().map(|partial| partial.over);
        let outputs: Vec<_> = grouping.keys.iter().cloned().chain(over).collect();
        let described = outputs.iter().enumerate().map(|(at, facts)| Column {
            name: format!("value_{}", at + 1),
            facts: facts.clone(),
        });
        let columns = described.collect();
        ToKeep {
            id: node.id,
            columns: node
                .columns
                .iter()
                .map(|column| identifier(&column.name))
                .collect(),
            input: self.block(vec![input.clone()], Vec::new(), outputs, columns),
            grouping,
        }
    }
}

/// Notes the groupings all of whose rows are read if any of them changes. A node is visited once for each way to read it.
fn read_in_full(
    node: &NodeRef,
    is_in_full: bool,
    found: &mut BTreeMap<usize, NodeRef>,
    visited: &mut BTreeSet<(usize, bool)>,
) {
    if !visited.insert((node.id, is_in_full)) {
        return;
    }
    let is_in_full = match &node.kind {
        NodeKind::First { keys, .. } => is_in_full || keys.is_empty(),
        NodeKind::Aggregate { keys: 0, .. } => true,
        NodeKind::Aggregate { calls, .. } => {
            let is_simple = calls.iter().all(|call| call.aggregate.other.is_none());
            if is_in_full && is_simple {
                found.insert(node.id, node.clone());
            }
            false
        }
        _ => is_in_full,
    };
    for input in node.inputs() {
        read_in_full(input, is_in_full, found, visited);
    }
}

impl ToKeep {
    /// With the state table of this number.
    pub(super) fn in_table<'a>(
        &'a self,
        number: usize,
        names: &'a Names,
        target: &Target,
    ) -> Kept<'a> {
        let grouped = Grouped::new(&self.grouping, &[], &self.columns, names, target);
        Kept {
            id: self.id,
            grouped: grouped.below(number, target),
            input: self.input.clone(),
        }
    }
}

/// The state tables of what is kept.
pub(super) fn state_tables(
    kept: &[Kept<'_>],
    tables: &BTreeMap<u32, ChangedTable>,
    root: &Node,
) -> Result<Vec<StateTable>, Refusal> {
    let mut states = Vec::new();
    for of in kept {
        let mut writer = fresh(kept, &of.grouped.names.weight, tables, root);
        let rows = all_rows(&of.input, &of.grouped, &mut writer)?;
        states.extend(of.grouped.state_table(Some(&rows)));
    }
    Ok(states)
}

/// A writer that reads what is kept from what a complete refresh has just computed.
pub(super) fn fresh<'a>(
    kept: &'a [Kept<'a>],
    weight: &'a str,
    tables: &'a BTreeMap<u32, ChangedTable>,
    root: &Node,
) -> Writer<'a> {
    let mut writer = Writer::new(tables, weight, Changed::Any, root).keeping(kept);
    writer.is_fresh = true;
    writer
}

impl Kept<'_> {
    pub(super) fn is_of(&self, node: &Node) -> bool {
        self.id == node.id
    }
}

impl<'a> Writer<'a> {
    /// The grouping, if it is kept.
    pub(super) fn kept_of(&self, node: &Node) -> Option<&'a Kept<'a>> {
        self.kept.iter().find(|kept| kept.is_of(node))
    }

    /// Δγ = the groups as they are less as they were stored; what is stored is changed as well.
    pub(super) fn kept_delta(&mut self, node: &Node, kept: &Kept<'_>) -> Result<String, Refusal> {
        let grouped = &kept.grouped;
        let recomputed = input_changes(&kept.input, grouped, self)?;
        let mut parts = Vec::new();
        grouped.group_parts(&mut parts, Input::Net, self.changed, recomputed);
        parts.extend(grouped.state_parts());
        self.add(parts);
        self.missing += &grouped.missing();
        let (groups, weight) = (grouped.groups_name(), self.weight);
        Ok(format!(
            "-- the changed groups: minus as they were, plus as they are\nSELECT {}, -1 AS {weight}\nFROM {groups} AS changed\nWHERE changed.{} IS NOT NULL\nUNION ALL\nSELECT {}, 1\nFROM {groups} AS changed\nWHERE changed.row_count > 0",
            values(node, grouped, "changed.", "_before"),
            grouped.names.address,
            values(node, grouped, "changed.", ""),
        ))
    }

    /// The groups as they are now, all or those of some keys: as stored, but for those that have changed.
    pub(super) fn kept_now(
        &mut self,
        node: &NodeRef,
        kept: &Kept<'_>,
        restriction: Option<&Keys>,
    ) -> Result<String, Refusal> {
        let grouped = &kept.grouped;
        let stored = values(node, grouped, "stored.", "");
        let mut texts = Vec::new();
        if self.is_fresh {
            let number = grouped.number;
            texts.push(format!(
                "SELECT {stored}\nFROM fresh_state_{number} AS stored"
            ));
        } else {
            let mut text = format!(
                "SELECT {stored}\nFROM ONLY {} AS stored",
                grouped.stored_table()
            );
            if self.may_change(node) {
                // the parts with the changed groups
                self.delta(node)?;
                let groups = grouped.groups_name();
                text += &format!(
                    "\nWHERE NOT EXISTS (SELECT FROM {groups} AS changed WHERE changed.{} = stored.ctid)",
                    grouped.names.address
                );
                texts.push(format!(
                    "SELECT {}\nFROM {groups} AS changed\nWHERE changed.row_count > 0",
                    values(node, grouped, "changed.", "")
                ));
            }
            texts.insert(0, text);
        }
        if let Some(keys) = restriction {
            for text in &mut texts {
                *text = self.filtered_text(node, keys, std::mem::take(text))?;
            }
        }
        Ok(texts.join("\nUNION ALL\n"))
    }
}

/// The node's columns over the columns of groups.
fn values(node: &Node, grouped: &Grouped<'_>, prefix: &str, suffix: &str) -> String {
    listed(node.columns.iter().enumerate().map(|(at, column)| {
        format!(
            "{}::{} AS {}",
            grouped.column_of(at, prefix, suffix),
            column.facts.data_type,
            identifier(&column.name)
        )
    }))
}
