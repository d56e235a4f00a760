//! Groups computed anew from the base tables, where partial values can't be carried on.

use super::blocks::Block;
use super::groups::Grouped;
use super::partials::PartialKind;
use super::print::sql;
use super::terms::{Conditions, Writer};

/// The groups of the query as it is now, with more in FROM and WHERE of every block: keys, number of rows, partial values.
pub(super) fn groups_now(
    grouped: &Grouped<'_>,
    names: &[String],
    more: &[String],
    conditions: Conditions<'_>,
) -> String {
    let blocks: Vec<String> = grouped
        .inputs
        .iter()
        .map(|block| rows_now(block, names, more, conditions))
        .collect();
    let partials: String = grouped
        .partials
        .iter()
        .map(|partial| format!(", {} AS {}", partial.computed(&partial.name), partial.name))
        .collect();
    let keys = grouped.key_list("");
    let group_by = if grouped.keys.is_empty() {
        String::new()
    } else {
        format!("\nGROUP BY {}", keys.trim_end_matches(", "))
    };
    format!(
        "SELECT {keys}count(*) AS row_count{partials}\nFROM (\n{}\n) AS input_rows{group_by}",
        blocks.join("\n    UNION ALL\n")
    )
}

fn rows_now(
    block: &Block,
    names: &[String],
    more: &[String],
    conditions: Conditions<'_>,
) -> String {
    Writer::now(block, names, more, conditions)
}

/// The stale groups as they are now.
pub(super) fn recomputed_groups(grouped: &Grouped<'_>, names: &[String]) -> String {
    let stale_groups = &grouped.names.stale_groups;
    let stale = format!(
        "(SELECT {} FROM merged_groups WHERE {}) AS {stale_groups}",
        select_list(grouped),
        grouped.names.stale
    );
    let matched = |block: &Block, column: &dyn Fn(usize) -> String| {
        let keys = grouped.keys.iter().zip(&block.outputs);
        keys.map(|((name, _), output)| {
            let operator = if output.is_nullable {
                "IS NOT DISTINCT FROM"
            } else {
                "="
            };
            format!("{} {operator} {stale_groups}.{name}", sql(output, column))
        })
        .collect()
    };
    let text = groups_now(grouped, names, &[stale], &matched);
    format!(
        "    -- stale groups, from the base tables\n{}",
        super::print::indented(&text, 1)
    )
}

fn select_list(grouped: &Grouped<'_>) -> String {
    grouped.key_list("").trim_end_matches(", ").to_owned()
}

/// All changed groups, stale ones as recomputed.
pub(super) fn new_groups(grouped: &Grouped<'_>) -> String {
    let (stale, address) = (&grouped.names.stale, &grouped.names.address);
    let merged: String = grouped
        .partials
        .iter()
        .map(|partial| format!(", {}", partial.name))
        .collect();
    let recomputed: String = grouped
        .partials
        .iter()
        .map(|partial| match partial.kind {
            // no row of a group left: nothing was recomputed for it
            PartialKind::Count | PartialKind::Sum => {
                format!(", coalesce(recomputed.{}, 0)", partial.name)
            }
            PartialKind::Min | PartialKind::Max => format!(", recomputed.{}", partial.name),
        })
        .collect();
    format!(
        "    SELECT {}{address}, row_count{merged}\n    FROM merged_groups WHERE NOT {stale}\n    UNION ALL\n    SELECT {}merged.{address}, coalesce(recomputed.row_count, 0){recomputed}\n    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON {}\n    WHERE merged.{stale}",
        grouped.key_list(""),
        grouped.key_list("merged."),
        grouped.same_group("merged.", "recomputed."),
    )
}
