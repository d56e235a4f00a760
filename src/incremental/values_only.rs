//! Changes of a joined table on which it does not depend which rows there are: of the rows that show them only these values are
//! computed, without the tables that decide nothing then.
//!
//! A row of the key k is there if all conditions hold for the rows that k determines. Where the columns of the changed table
//! that the key and the conditions read are what they were, so is which rows are there: those that are stored.

use super::blocks::Block;
use super::keys::{RowKey, determines_all};
use super::logs::ChangedTable;
use super::rows::KeyedRows;
use super::terms::{Writer, aliases};
use super::together::is_within;
use crate::definition::{Expression, Kind};
use crate::sql::identifier;

/// The part of a join that gives the values which show columns of one of its tables.
#[derive(Debug)]
pub(super) struct ValuesOnly {
    /// Some of the scans; its outputs are the key and the values.
    block: Block,
    /// The changed scan among them.
    scan: usize,
    /// The positions of the outputs in the whole.
    outputs: Vec<usize>,
    /// Which of them are values.
    values: Vec<usize>,
}

impl ValuesOnly {
    /// If that is less than the whole; `deciding` are the columns of the scan that the key and the conditions read.
    pub(super) fn of(block: &Block, key: &RowKey, scan: usize, deciding: &[usize]) -> Option<Self> {
        let shows_others = |output: &Expression| {
            let mut origins = output.columns().into_iter().map(|at| block.origin(at));
            origins.any(|(other, column)| other == scan && !deciding.contains(&column))
        };
        let values: Vec<usize> = (0..block.outputs.len())
            .filter(|output| shows_others(&block.outputs[*output]))
            .collect();
        let outputs: Vec<usize> = key.outputs.iter().chain(&values).copied().collect();
        if values.is_empty() || values.iter().any(|value| key.outputs.contains(value)) {
            return None;
        }
        let columns = outputs.iter().flat_map(|at| block.outputs[*at].columns());
        let roots: Vec<usize> = key.roots.iter().map(|root| root.scan).collect();
        let needed = columns
            .map(|column| block.origin(column).0)
            .chain(roots.iter().copied())
            .chain([scan])
            .fold(0_u32, |set, scan| set | 1 << scan);
        let all = (1_u32 << block.scans.len()) - 1;
        let mut sets: Vec<u32> = (needed..all).filter(|set| set & needed == needed).collect();
        sets.sort_by_key(|set| (set.count_ones(), *set));
        sets.into_iter().find_map(|set| {
            let kept: Vec<usize> = (0..block.scans.len())
                .filter(|scan| set >> scan & 1 == 1)
                .collect();
            let part = part(block, &kept, &outputs);
            let place = |scan: usize| kept.iter().position(|other| *other == scan);
            let roots: Option<Vec<usize>> = roots.iter().map(|root| place(*root)).collect();
            determines_all(&part, &roots?).then_some(Self {
                block: part,
                scan: place(scan)?,
                outputs: outputs.clone(),
                values: values.clone(),
            })
        })
    }

    /// Stored rows whose values are no longer these, as they have to be: for `found_rows`. `own` are the columns of a unique
    /// key of the changed table, by which `value_keys` says where only values may have changed.
    pub(super) fn found_rows(&self, rows: &KeyedRows<'_>, own: &[String]) -> String {
        let (there, address) = (&rows.names.there, &rows.names.address);
        let touched = &rows.names.touched;
        let names: Vec<String> = self
            .outputs
            .iter()
            .map(|output| rows.columns[*output].clone())
            .collect();
        let same = |block: &Block, _: &dyn Fn(usize) -> String| {
            let alias = &aliases(&block.scans)[self.scan];
            own.iter()
                .map(|name| format!("{alias}.{name} = {touched}.{name}"))
                .collect()
        };
        let keys = [format!("value_keys AS {touched}")];
        let now = Writer::now(&self.block, &names, &keys, &same);
        let listed: Vec<String> = rows
            .columns
            .iter()
            .enumerate()
            .map(|(position, column)| {
                let is_value = self.values.contains(&position);
                format!("{}.{column}", if is_value { "fresh" } else { "stored" })
            })
            .collect();
        format!(
            "    -- those that stay, of which values are not stored like this\n    SELECT {}, true AS {there}, stored.ctid AS {address}\n    FROM (\n{}\n    ) AS fresh\n    JOIN ONLY {} AS stored ON {}\n    WHERE {}",
            listed.join(", "),
            super::print::indented(&now, 1),
            rows.view,
            rows.same_key("fresh."),
            rows.differ(&self.values, "fresh."),
        )
    }
}

/// The parts that tell images that decide something from others: `touched_keys`, `gone_images` and `value_keys`.
pub(super) fn told_apart(
    table: &ChangedTable,
    own: &[String],
    deciding: &[usize],
    writer: &Writer<'_>,
) -> Vec<(String, String)> {
    let weight = writer.weight;
    let own = own.join(", ");
    let name = |column: &usize| identifier(&table.relation.columns[*column].name);
    let decided: Vec<String> = deciding.iter().map(name).collect();
    let decided = decided.join(", ");
    vec![
        (
            "logged_images AS MATERIALIZED".to_owned(),
            table.images_by(deciding, weight, writer.reading()),
        ),
        (
            "touched_keys AS".to_owned(),
            format!(
                "    -- keys of rows on which it depends which rows there are\n    SELECT DISTINCT {own} FROM logged_images WHERE {weight} <> 0"
            ),
        ),
        (
            "gone_images AS".to_owned(),
            format!(
                "    -- what is no more\n    SELECT {decided} FROM logged_images WHERE {weight} < 0"
            ),
        ),
        (
            "value_keys AS".to_owned(),
            format!(
                "    -- keys of rows of which only other columns can have changed\n    SELECT {own} FROM logged_images GROUP BY {own} HAVING bool_and({weight} = 0)"
            ),
        ),
    ]
}

/// A block with some of the scans, the conditions on these alone, and some of the outputs.
fn part(block: &Block, scans: &[usize], outputs: &[usize]) -> Block {
    let chosen = scans.iter().map(|scan| block.scans[*scan].clone());
    let alone = Block {
        scans: chosen.collect(),
        conditions: Vec::new(),
        outputs: Vec::new(),
    };
    let moved = |expression: &Expression| {
        expression.rewritten(&mut |inner| match inner.kind {
            Kind::Column(position) => {
                let (scan, column) = block.origin(position);
                let place = scans.iter().position(|other| *other == scan)?;
                Some(inner.as_column(alone.position(place, column)))
            }
            _ => None,
        })
    };
    let conditions = block.conditions.iter();
    let conditions = conditions.filter(|one| is_within(block, &one.columns(), scans));
    Block {
        conditions: conditions.map(moved).collect(),
        outputs: outputs
            .iter()
            .map(|at| moved(&block.outputs[*at]))
            .collect(),
        ..alone.clone()
    }
}
