//! Changes of one table, added up before they are joined with the others: as many rows as there are different join and
//! group keys, however often a row was changed.

use std::collections::BTreeSet;

use super::blocks::Block;
use super::groups::Grouped;
use super::keys::finds_one_of_others;
use super::logs::{ChangedTable, Reading};
use super::merge::{Weight, grouped_by, is_change, weighted};
use super::names::free_name;
use super::partials::Partial;
use super::print::sql;
use super::terms::{Writer, aliases, column_printer, qualified, where_clause};
use crate::definition::Expression;
use crate::sql::identifier;

/// Whether images as they were logged are as good as net changes, as all is added up in the end: they are joined with
/// nothing, or each with one row at most of one other table, which costs less than to add them up before.
pub(super) fn needs_no_net(block: &Block, writer: &Writer<'_>) -> bool {
    match (block.scans.len(), &writer.changeable(block)[..]) {
        (1, _) => true,
        (2, [scan]) => writer.changed.is_foreseen() && finds_one_of_others(block, *scan),
        _ => false,
    }
}

/// The parts that give `input_changes`, if all that is added up comes from the one table that has changed.
pub(super) fn input(grouped: &Grouped<'_>, writer: &Writer<'_>) -> Option<Vec<(String, String)>> {
    let table = &writer.tables[&writer.changed.alone()?];
    let [block] = grouped.inputs.as_slice() else {
        return None;
    };
    let [scan] = writer.changeable(block)[..] else {
        return None;
    };
    if block.scans.len() == 1 || !grouped.partials.iter().all(Partial::is_additive) {
        return None;
    }
    let (keys, values) = block.outputs.split_at(grouped.keys.len());
    let of_table = |expression: &Expression| -> Vec<Option<usize>> {
        let columns = expression.columns();
        let origins = columns.into_iter().map(|position| block.origin(position));
        origins
            .map(|(other, column)| (other == scan).then_some(column))
            .collect()
    };
    if values
        .iter()
        .flat_map(of_table)
        .any(|column| column.is_none())
    {
        return None;
    }
    let joined: BTreeSet<usize> = keys
        .iter()
        .chain(&block.conditions)
        .flat_map(of_table)
        .flatten()
        .collect();
    let joined: Vec<usize> = joined.into_iter().collect();
    if !table.are_identical_if_equal(&joined) {
        return None;
    }
    let is_column = |name: &str| {
        let mut columns = table.relation.columns.iter();
        columns.any(|column| column.name == name)
    };
    let logged = |position: usize| table.logged_column(block.origin(position).1);
    let sums: Vec<(String, String)> = grouped
        .partials
        .iter()
        .zip(values)
        .flat_map(|(partial, value)| {
            weighted(partial, &sql(value, &logged), Weight::Sign("weight"))
        })
        .collect();
    let summed: Vec<(String, String)> = sums
        .iter()
        .map(|(name, sum)| (free_name(name, "", |name| !is_column(name)), sum.clone()))
        .collect();
    let weight = &grouped.names.weight;
    let aliases = aliases(&block.scans);
    let column = column_printer(block, &aliases);
    let mut listed: Vec<String> = keys
        .iter()
        .zip(&grouped.keys)
        .map(|(key, (name, _))| format!("{} AS {name}", sql(key, &column)))
        .collect();
    listed.extend(
        sums.iter()
            .zip(&summed)
            .map(|((name, _), (own, _))| format!("{}.{own} AS {name}", aliases[scan])),
    );
    listed.push(format!("{}.{weight} AS {weight}", aliases[scan]));
    let from: Vec<String> = block
        .scans
        .iter()
        .zip(&aliases)
        .enumerate()
        .map(|(number, (relation, alias))| {
            let source = if number == scan {
                identifier(&table.changes)
            } else {
                qualified(relation)
            };
            format!("{source} AS {alias}")
        })
        .collect();
    let conditions: Vec<String> = block
        .conditions
        .iter()
        .map(|condition| sql(condition, &column))
        .collect();
    Some(vec![
        (
            format!("{} AS", identifier(&table.changes)),
            changes(table, &joined, &summed, weight),
        ),
        (
            "input_changes AS".to_owned(),
            format!(
                "    -- by group\n    SELECT {}\n    FROM {}{}",
                listed.join(", "),
                from.join(", "),
                where_clause(&conditions)
            ),
        ),
    ])
}

fn changes(
    table: &ChangedTable,
    joined: &[usize],
    sums: &[(String, String)],
    weight: &str,
) -> String {
    let mut columns: Vec<String> = joined
        .iter()
        .map(|position| {
            format!(
                "{} AS {}",
                table.logged_column(*position),
                identifier(&table.relation.columns[*position].name)
            )
        })
        .collect();
    columns.extend(sums.iter().map(|(name, sum)| format!("{sum} AS {name}")));
    columns.push(format!("coalesce(sum(weight), 0)::int8 AS {weight}"));
    let keys: Vec<String> = joined
        .iter()
        .map(|position| table.logged_column(*position))
        .collect();
    let mut is_changed = vec!["sum(weight) <> 0".to_owned()];
    is_changed.extend(is_change(sums));
    format!(
        "    -- changes of {}, added up by what they are joined and grouped by\n    SELECT {}\n    FROM {}{}\n    HAVING {}",
        qualified(&table.relation).replace(['\n', '\r'], " "),
        columns.join(",\n           "),
        table.pending_rows(
            Reading::Foreseen,
            &table.columns.iter().copied().collect::<Vec<_>>()
        ),
        grouped_by(&keys),
        is_changed.join(" OR "),
    )
}
