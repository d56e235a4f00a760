//! The signed difference of a join, as a sum of joins.

use std::collections::BTreeMap;

use super::blocks::Block;
use super::logs::{Changed, ChangedTable, Reading};
use super::names::free_name;
use super::print::sql;
use super::together::{Together, is_within};
use crate::definition::{Expression, Relation};
use crate::sql::identifier;

/// Up to so many tables all combinations of changes are joined with new states only, which indexes drive best; beyond,
/// the combinations (2ⁿ - 1) would be too many to plan.
const MOST_FOR_COMBINATIONS: usize = 5;

/// In which state a table takes part in a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    New,
    Change,
    Old,
}

/// The terms of a block's difference, with their signs, if the scans given may have changed.
pub(super) fn terms(scans: usize, changeable: &[usize]) -> Vec<(Vec<State>, i32)> {
    let place = |scan: usize| changeable.iter().position(|other| *other == scan);
    if changeable.len() <= MOST_FOR_COMBINATIONS {
        // Δ(A⋈B) = ΔA⋈B + A⋈ΔB − ΔA⋈ΔB; in general the sum over all non-empty sets T of tables of (−1)^(|T|+1) times
        // the join of the changes of T with the new states of the others, since old = new − Δ
        return (1..1_u32 << changeable.len())
            .map(|set| {
                let states = (0..scans).map(|scan| match place(scan) {
                    Some(place) if set >> place & 1 == 1 => State::Change,
                    _ => State::New,
                });
                let sign = if set.count_ones() % 2 == 1 { 1 } else { -1 };
                (states.collect(), sign)
            })
            .collect();
    }
    // Δ(A⋈B⋈…) = ΔA⋈B_old⋈… + A_new⋈ΔB⋈C_old⋈… + …
    changeable
        .iter()
        .map(|changed| {
            let states = (0..scans).map(|scan| match scan.cmp(changed) {
                std::cmp::Ordering::Equal => State::Change,
                std::cmp::Ordering::Greater if place(scan).is_some() => State::Old,
                _ => State::New,
            });
            (states.collect(), 1)
        })
        .collect()
}

/// Further conditions on a block, whose columns are printed by the function given.
pub(super) type Conditions<'a> = &'a dyn Fn(&Block, &dyn Fn(usize) -> String) -> Vec<String>;

/// How a block is written in a statement.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) tables: &'a BTreeMap<u32, ChangedTable>,
    pub(super) weight: &'a str,
    pub(super) changed: Changed<'a>,
}

impl Writer<'_> {
    /// Which of the pending rows are read.
    pub(super) fn reading(&self) -> Reading {
        self.changed.reading()
    }

    /// The parts with the changes of tables: net ones, or images as logged where every block of a table allows it.
    pub(super) fn changes(
        &self,
        may_be_raw: impl Fn(&Block) -> bool,
        blocks: &[Block],
    ) -> Vec<(String, String)> {
        let changed = self
            .tables
            .iter()
            .filter(|(oid, _)| self.changed.may(**oid));
        changed
            .map(|(oid, table)| {
                let name = identifier(&table.changes);
                let reads = |block: &&Block| block.scans.iter().any(|scan| scan.oid == *oid);
                if blocks.iter().filter(reads).all(&may_be_raw) {
                    return (
                        format!("{name} AS"),
                        table.images(self.weight, self.reading()),
                    );
                }
                let net = table.net_changes(self.weight, self.reading());
                (format!("{name} AS MATERIALIZED"), net)
            })
            .collect()
    }

    /// The difference of a sum of blocks: columns by these names, and the weight.
    pub(super) fn difference(&self, blocks: &[Block], names: &[String]) -> String {
        let mut parts = Vec::new();
        for block in blocks {
            for (states, sign) in terms(block.scans.len(), &self.changeable(block)) {
                parts.push(self.term(block, &states, sign, names));
            }
        }
        parts.join("\n    UNION ALL\n")
    }

    /// The scans of tables that may have changed.
    pub(super) fn changeable(&self, block: &Block) -> Vec<usize> {
        (0..block.scans.len())
            .filter(|scan| self.changed.may(block.scans[*scan].oid))
            .collect()
    }

    fn term(&self, block: &Block, states: &[State], sign: i32, names: &[String]) -> String {
        let aliases = aliases(&block.scans);
        let together = Together::all(block, states, &aliases, self.weight);
        let mut from = Vec::new();
        let mut factors = Vec::new();
        let mut conditions = Vec::new();
        for (scan, state) in states.iter().enumerate() {
            let table = &self.tables[&block.scans[scan].oid];
            if together.iter().all(|group| !group.scans.contains(&scan)) {
                from.push(format!(
                    "{} AS {}",
                    self.source(table, *state),
                    aliases[scan]
                ));
                if *state != State::New {
                    factors.push(format!("{}.{}", aliases[scan], self.weight));
                }
            }
            if *state == State::Change && block.scans.len() > 1 && self.changed.alone().is_none() {
                // asked once before anything else is read
                conditions.push(format!(
                    "EXISTS (SELECT FROM {})",
                    identifier(&table.changes)
                ));
            }
        }
        for group in &together {
            let changes = |scan: usize| identifier(&self.tables[&block.scans[scan].oid].changes);
            from.push(group.text(block, &aliases, self.weight, &changes));
            factors.push(group.weight(self.weight));
        }
        let alone = column_printer(block, &aliases);
        let column = |position: usize| {
            let shared = together.iter().find_map(|group| group.column(position));
            shared.unwrap_or_else(|| alone(position))
        };
        let is_left = |condition: &&Expression| {
            let columns = condition.columns();
            let mut groups = together.iter();
            groups.all(|group| !is_within(block, &columns, &group.scans))
        };
        let left = block.conditions.iter().filter(is_left);
        conditions.extend(left.map(|condition| sql(condition, &column)));
        let product = factors.join(" * ");
        let weight = if sign < 0 {
            format!("-({product})")
        } else {
            product
        };
        format!(
            "    SELECT {}{weight} AS {}\n    FROM {}{}",
            outputs(block, names, &column),
            self.weight,
            from.join(", "),
            where_clause(&conditions),
        )
    }

    fn source(&self, table: &ChangedTable, state: State) -> String {
        let stored = qualified(&table.relation);
        let changes = identifier(&table.changes);
        match state {
            State::New => stored,
            State::Change => changes,
            // old = new − Δ
            State::Old => {
                let columns: String = table
                    .columns
                    .iter()
                    .map(|position| {
                        format!("{}, ", identifier(&table.relation.columns[*position].name))
                    })
                    .collect();
                format!(
                    "(SELECT {columns}1 AS {0} FROM {stored} UNION ALL SELECT {columns}-{0} FROM {changes})",
                    self.weight
                )
            }
        }
    }

    /// The rows of a block as they are now, with further items of FROM and conditions.
    pub(super) fn now(
        block: &Block,
        names: &[String],
        more: &[String],
        more_conditions: Conditions<'_>,
    ) -> String {
        let aliases = aliases(&block.scans);
        let column = column_printer(block, &aliases);
        let mut from: Vec<String> = block
            .scans
            .iter()
            .zip(&aliases)
            .map(|(relation, alias)| format!("{} AS {alias}", qualified(relation)))
            .collect();
        from.extend_from_slice(more);
        let mut conditions: Vec<String> = block
            .conditions
            .iter()
            .map(|condition| sql(condition, &column))
            .collect();
        conditions.extend(more_conditions(block, &column));
        let listed = outputs(block, names, &column);
        format!(
            "    SELECT {}\n    FROM {}{}",
            listed.trim_end_matches(", "),
            from.join(", "),
            where_clause(&conditions)
        )
    }
}

fn outputs(block: &Block, names: &[String], column: &dyn Fn(usize) -> String) -> String {
    block
        .outputs
        .iter()
        .zip(names)
        .map(|(output, name)| format!("{} AS {name}, ", sql(output, column)))
        .collect()
}

pub(super) fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!("\n    WHERE {}", conditions.join(" AND "))
    }
}

pub(super) fn column_printer<'a>(
    block: &'a Block,
    aliases: &'a [String],
) -> impl Fn(usize) -> String + 'a {
    move |position| {
        let (scan, column) = block.origin(position);
        format!(
            "{}.{}",
            aliases[scan],
            identifier(&block.scans[scan].columns[column].name)
        )
    }
}

/// Each scan by the name of its table, numbered where a table occurs again.
pub(super) fn aliases(scans: &[Relation]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for scan in scans {
        let name = free_name(&scan.name, "", |name| {
            taken.iter().all(|other| other != name)
        });
        taken.push(name);
    }
    taken.iter().map(|name| identifier(name)).collect()
}

/// A relation's name with its schema.
pub(super) fn qualified(relation: &Relation) -> String {
    format!(
        "{}.{}",
        identifier(&relation.schema),
        identifier(&relation.name)
    )
}

/// The columns that outputs give, for whoever reads them by name.
pub(super) fn as_columns(outputs: &[Expression]) -> Vec<Expression> {
    outputs
        .iter()
        .enumerate()
        .map(|(position, output)| output.as_column(position))
        .collect()
}
