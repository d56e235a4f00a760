//! Rows of any operators as the input of a grouping of which counts and sums are kept.

use std::collections::BTreeMap;

use super::super::blocks::Block;
use super::super::groups::{Grouped, Parts};
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
        let mut writer = Writer::new(tables, &grouped.names.weight, Changed(None));
        let rows = writer.now(&self.node, None)?;
        if !writer.take_parts().is_empty() {
            return Err(Refusal::unknown("rows that are read in several steps"));
        }
        Ok(self.renamed(grouped, &in_parentheses(&rows), &[]))
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
        let mut writer = Writer::new(tables, weight, changed);
        let difference = writer.delta(&self.node)?;
        parts.extend(writer.take_parts());
        let text = self.renamed(
            grouped,
            &identifier(&difference),
            std::slice::from_ref(weight),
        );
        parts.push((
            "input_changes AS".to_owned(),
            format!("    -- difference of the rows that are grouped\n{text}"),
        ));
        let mut recomputed = String::new();
        let mut before = Vec::new();
        if grouped.recomputes(changed) {
            recomputed = self.recomputed(grouped, &mut writer)?;
            before = writer.take_parts();
        }
        Ok(grouped.parts_over(
            parts,
            merge::Input::Net,
            changed,
            (before, recomputed),
            rows,
        ))
    }

    /// The groups that have to be computed anew, from rows as they are now.
    fn recomputed(
        &self,
        grouped: &Grouped<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<String, Refusal> {
        let stale = &grouped.names.stale;
        let rows = if grouped.keys.is_empty() {
            let all = in_parentheses(&writer.now(&self.node, None)?);
            format!(
                "SELECT *\nFROM {all} AS everything\nWHERE EXISTS (SELECT FROM merged_groups WHERE {stale})"
            )
        } else {
            let names = grouped.key_names();
            let body = format!(
                "SELECT {}\nFROM merged_groups\nWHERE {stale}",
                listed(names.clone())
            );
            let columns = names.into_iter().zip(&self.node.columns).enumerate();
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
            writer.now(&self.node, Some(&keys))?
        };
        let rows = self.renamed(grouped, &in_parentheses(&rows), &[]);
        let groups = groups_over(grouped, &rows);
        Ok(format!(
            "    -- stale groups, from the base tables\n{}",
            super::super::print::indented(&groups, 1)
        ))
    }

    fn renamed(&self, grouped: &Grouped<'_>, from: &str, more: &[String]) -> String {
        let columns = columns_of(&self.node, "").into_iter();
        let columns = columns
            .zip(grouped.input_names())
            .map(|(column, name)| format!("{column} AS {name}"));
        format!(
            "    SELECT {}\n    FROM {from} AS rows_of_groups",
            listed(columns.chain(more.iter().cloned())),
            from = from.replace('\n', "\n    "),
        )
    }

    /// How changes come to the groups, in words, followed by how the groups are maintained.
    pub(in super::super) fn plan(
        &self,
        tables: &BTreeMap<u32, ChangedTable>,
        grouping: Vec<(String, String)>,
    ) -> Plan {
        let lookups = Lookups::of(&self.node);
        let mut clauses = grouping;
        describe(&self.node, &mut clauses);
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
