//! Changes of tables that a unique key joins, joined before anything else.
//!
//! The planner has no statistics of them. Where it takes few rows to be left of what it joins first, it looks through all
//! changes of the other table for each: 10,000 changes times 10,000. Together they are never more than the changes of one.

use std::collections::BTreeMap;

use super::blocks::Block;
use super::keys::are_linked_by_key;
use super::names::free_name;
use super::print::sql;
use super::terms::{State, column_printer, where_clause};
use crate::definition::Expression;
use crate::sql::identifier;

/// A subquery of a block's term that joins the changes of some scans.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) scans: Vec<usize>,
    alias: String,
    /// Its columns' names, by their positions in the block.
    columns: BTreeMap<usize, String>,
}

impl Together {
    /// Where changes of several scans, but not of all, take part and keys join them.
    pub(super) fn all(
        block: &Block,
        states: &[State],
        aliases: &[String],
        weight: &str,
    ) -> Vec<Self> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for scan in (0..states.len()).filter(|scan| states[*scan] == State::Change) {
            let is_linked = |group: &Vec<usize>| {
                let mut others = group.iter();
                others.any(|other| are_linked_by_key(block, *other, scan))
            };
            let (linked, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_linked);
            groups = apart;
            groups.push(linked.into_iter().flatten().chain([scan]).collect());
        }
        groups.retain(|group| group.len() > 1 && group.len() < states.len());
        let mut all: Vec<Self> = Vec::new();
        for mut scans in groups {
            scans.sort_unstable();
            let is_free = |name: &str| {
                let name = identifier(name);
                !aliases.contains(&name) && all.iter().all(|other| other.alias != name)
            };
            all.push(Self {
                alias: identifier(&free_name("changed_together", "", is_free)),
                columns: columns(block, &scans, weight),
                scans,
            });
        }
        all
    }

    /// A column of the block as it stands outside of the subquery.
    pub(super) fn column(&self, position: usize) -> Option<String> {
        let name = self.columns.get(&position)?;
        Some(format!("{}.{name}", self.alias))
    }

    /// The product of the changes' weights.
    pub(super) fn weight(&self, weight: &str) -> String {
        format!("{}.{weight}", self.alias)
    }

    /// As it stands in FROM; `changes` says where the changes of a scan are read.
    pub(super) fn text(
        &self,
        block: &Block,
        aliases: &[String],
        weight: &str,
        changes: &dyn Fn(usize) -> String,
    ) -> String {
        let column = column_printer(block, aliases);
        let listed = self.columns.iter().map(|(position, name)| {
            let text = column(*position);
            if text.rsplit('.').next() == Some(name) {
                text
            } else {
                format!("{text} AS {name}")
            }
        });
        let weights = self.scans.iter();
        let weights = weights.map(|scan| format!("{}.{weight}", aliases[*scan]));
        let product = weights.collect::<Vec<_>>().join(" * ");
        let listed: Vec<String> = listed.chain([format!("{product} AS {weight}")]).collect();
        let from = self.scans.iter();
        let from = from.map(|scan| format!("{} AS {}", changes(*scan), aliases[*scan]));
        let conditions: Vec<String> = block
            .conditions
            .iter()
            .filter(|condition| is_within(block, &condition.columns(), &self.scans))
            .map(|condition| sql(condition, &column))
            .collect();
        format!(
            "(\n        -- OFFSET keeps the planner from joining others first\n        SELECT {}\n        FROM {}\n    {}\n        OFFSET 0\n    ) AS {}",
            listed.join(", "),
            from.collect::<Vec<_>>().join(", "),
            where_clause(&conditions).trim_start_matches('\n'),
            self.alias,
        )
    }
}

/// Whether a condition on these columns is one on these scans alone.
pub(super) fn is_within(block: &Block, columns: &[usize], scans: &[usize]) -> bool {
    !columns.is_empty()
        && columns
            .iter()
            .all(|position| scans.contains(&block.origin(*position).0))
}

/// The columns of these scans that are read of them together, by names that the weight has not.
fn columns(block: &Block, scans: &[usize], weight: &str) -> BTreeMap<usize, String> {
    let outside = block
        .conditions
        .iter()
        .map(Expression::columns)
        .filter(|columns| !is_within(block, columns, scans));
    let outputs = block.outputs.iter().map(Expression::columns);
    let mut names: BTreeMap<usize, String> = BTreeMap::new();
    for position in outside.chain(outputs).flatten() {
        let (scan, column) = block.origin(position);
        if !scans.contains(&scan) || names.contains_key(&position) {
            continue;
        }
        let wanted = &block.scans[scan].columns[column].name;
        let is_free = |name: &str| {
            let name = identifier(name);
            name != weight && names.values().all(|other| *other != name)
        };
        let name = identifier(&free_name(wanted, "", is_free));
        names.insert(position, name);
    }
    names
}
