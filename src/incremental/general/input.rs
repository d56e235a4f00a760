//! Rows of any operators as the input of a grouping of which counts and sums are kept.

use std::collections::BTreeMap;

use super::super::blocks::Block;
use super::super::groups::{Grouped, Parts, Recomputed};
use super::super::logs::{Changed, ChangedTable};
use super::super::merge;
use super::super::program::Plan;
use super::super::recompute::groups_over;
use super::super::rows::KeyedRows;
use super::super::terms::qualified;
use super::lookups::Lookups;
use super::node::{Column, NodeRef, Nodes};
use super::program::{describe, net_changes, read_columns, refuse_line_ends};
use super::writer::{KeyColumn, Keys, Writer, columns_of, in_parentheses, listed};
use crate::definition::{Operator, Query, Refusal};
use crate::sql::identifier;

/// Rows that are grouped: their columns are the keys, and what partial values are computed from.
#[derive(Debug)]
pub(in super::super) struct Input {
    nodes: Nodes,
    node: NodeRef,
}

impl Input {
    /// The rows of an operator, which is part of a query.
    pub(in super::super) fn of(operator: &Operator, query: &Query) -> Result<Self, Refusal> {
        if query.columns.is_empty() {
            return Err(Refusal::new("SELECT", "there are no columns"));
        }
        refuse_line_ends(query)?;
        let mut nodes = Nodes::default();
        let all: Vec<usize> = (0..operator.width()).collect();
        let node = nodes.exact(operator, &all)?;
        if !node.reads(&|_| true) {
            return Err(Refusal::new("FROM", "there is no base table"));
        }
        Ok(Self { nodes, node })
    }

    /// What is read of the base tables.
    pub(in super::super) fn read_columns(&self) -> Vec<Block> {
        read_columns(&self.nodes)
    }

    pub(in super::super) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.column_names()
    }

    /// The query of all rows, with the columns as the grouping calls them.
    pub(in super::super) fn all_rows(
        &self,
        grouped: &Grouped<'_>,
        tables: &BTreeMap<u32, ChangedTable>,
    ) -> Result<String, Refusal> {
        let mut writer = Writer::new(tables, &grouped.names.weight, Changed::Any, &self.node);
        all_rows(&self.node, grouped, &mut writer)
    }

    /// The parts of a statement from the changes of base tables to those of the rows.
    pub(in super::super) fn parts(
        &self,
        grouped: &Grouped<'_>,
        tables: &BTreeMap<u32, ChangedTable>,
        changed: Changed<'_>,
        rows: Option<&KeyedRows<'_>>,
    ) -> Result<Parts, Refusal> {
        let weight = &grouped.names.weight;
        let mut parts = net_changes(tables, weight, changed);
        let mut writer = Writer::new(tables, weight, changed, &self.node);
        let recomputed = input_changes(&self.node, grouped, &mut writer)?;
        parts.extend(writer.take_parts());
        Ok(grouped.parts_over(parts, merge::Input::Net, changed, recomputed, rows))
    }

    /// How changes come to the groups, in words, followed by how the groups are maintained.
    pub(in super::super) fn plan(
        &self,
        tables: &BTreeMap<u32, ChangedTable>,
        grouping: Vec<(String, String)>,
    ) -> Plan {
        let lookups = Lookups::of(&self.node);
        let mut clauses = grouping;
        describe(&self.node, &[], &mut clauses);
        Plan {
            tables: tables
                .iter()
                .map(|(oid, table)| (qualified(&table.relation), lookups.strategy(*oid)))
                .collect(),
            clauses,
            lookups: Vec::new(),
        }
    }
}

/// The query of all rows of a node, with the columns as a grouping of them calls them.
pub(super) fn all_rows(
    node: &NodeRef,
    grouped: &Grouped<'_>,
    writer: &mut Writer<'_>,
) -> Result<String, Refusal> {
    let mark = writer.mark();
    let rows = writer.now(node, None)?;
    if !writer.since(mark).is_empty() {
        return Err(Refusal::unknown("rows that are read in several steps"));
    }
    Ok(renamed(node, grouped, &in_parentheses(&rows), &[]))
}

/// Writes the parts up to `input_changes` of a grouping of a node's rows; gives the groups that have to be computed anew.
pub(super) fn input_changes(
    node: &NodeRef,
    grouped: &Grouped<'_>,
    writer: &mut Writer<'_>,
) -> Result<Recomputed, Refusal> {
    let difference = identifier(&writer.delta(node)?);
    let weight = std::slice::from_ref(&grouped.names.weight);
    let text = renamed(node, grouped, &difference, weight);
    writer.add([(
        format!("{} AS", grouped.part("input_changes")),
        format!("    -- difference of the rows that are grouped\n{text}"),
    )]);
    if !grouped.recomputes(writer.changed) {
        return Ok(Recomputed::default());
    }
    let mark = writer.mark();
    let recomputed = recomputed(node, grouped, writer)?;
    Ok((writer.since(mark), recomputed))
}

/// The groups that have to be computed anew, from rows as they are now.
fn recomputed(
    node: &NodeRef,
    grouped: &Grouped<'_>,
    writer: &mut Writer<'_>,
) -> Result<String, Refusal> {
    let stale = &grouped.names.stale;
    let merged = grouped.part("merged_groups");
    let rows = if grouped.keys.is_empty() {
        let all = in_parentheses(&writer.now(node, None)?);
        format!(
            "SELECT *\nFROM {all} AS everything\nWHERE EXISTS (SELECT FROM {merged} WHERE {stale})"
        )
    } else {
        let names = grouped.key_names();
        let body = format!(
            "SELECT {}\nFROM {merged}\nWHERE {stale}",
            listed(names.clone())
        );
        let columns = names.into_iter().zip(&node.columns).enumerate();
        let keys = Keys {
            part: writer.part(&grouped.names.stale_groups, &body),
            columns: columns
                .map(|(at, (name, column))| KeyColumn {
                    at,
                    column: Column {
                        name,
                        facts: column.facts.clone(),
                    },
                    finds_null: column.facts.is_nullable,
                })
                .collect(),
            all_have_null: false,
        };
        writer.now(node, Some(&keys))?
    };
    let rows = renamed(node, grouped, &in_parentheses(&rows), &[]);
    let groups = groups_over(grouped, &rows);
    Ok(format!(
        "    -- stale groups, from the base tables\n{}",
        super::super::print::indented(&groups, 1)
    ))
}

fn renamed(node: &NodeRef, grouped: &Grouped<'_>, from: &str, more: &[String]) -> String {
    let columns = columns_of(node, "").into_iter();
    let columns = columns
        .zip(grouped.input_names())
        .map(|(column, name)| format!("{column} AS {name}"));
    format!(
        "    SELECT {}\n    FROM {from} AS rows_of_groups",
        listed(columns.chain(more.iter().cloned())),
        from = from.replace('\n', "\n    "),
    )
}
