//! Groups computed anew from the base tables, where partial values can't be carried on.

use super::blocks::Block;
use super::groups::Grouped;
use super::partials::PartialKind;
use super::print::sql;
use super::stored::{Key, key_hash, same_key};
use super::terms::{Conditions, Writer};

/// The groups of the query as it is now: keys, number of rows, partial values.
pub(super) fn all_groups(grouped: &Grouped<'_>, names: &[String]) -> String {
    let all: Conditions<'_> = &|_, _| Vec::new();
    groups_of(grouped, names, &[(String::new(), all)])
}

/// The same of some rows: for each arm a further item of FROM and the conditions by which rows belong to it.
fn groups_of(grouped: &Grouped<'_>, names: &[String], arms: &[(String, Conditions<'_>)]) -> String {
    let mut blocks = Vec::new();
    for block in &grouped.inputs {
        for (more, conditions) in arms {
            let more: Vec<String> = Some(more.clone())
                .filter(|more| !more.is_empty())
                .into_iter()
                .collect();
            blocks.push(Writer::now(block, names, &more, *conditions));
        }
    }
    groups_over(grouped, &blocks.join("\n    UNION ALL\n"))
}

/// The groups of rows that have the keys and what the partial values are computed from.
pub(super) fn groups_over(grouped: &Grouped<'_>, rows: &str) -> String {
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
        "SELECT {keys}count(*) AS row_count{partials}\nFROM (\n{rows}\n) AS input_rows{group_by}"
    )
}

/// The stale groups as they are now.
pub(super) fn recomputed_groups(grouped: &Grouped<'_>, names: &[String]) -> String {
    let text = groups_now_by(grouped, names);
    format!(
        "    -- stale groups, from the base tables\n{}",
        super::print::indented(&text, 1)
    )
}

// Keys are compared with =, which an index can answer. Stale groups with NULL in their key, if there are any, in an arm of
// their own, by hash.
fn groups_now_by(grouped: &Grouped<'_>, names: &[String]) -> String {
    let stale_groups = &grouped.names.stale_groups;
    let stale = |condition: &str| {
        format!(
            "(SELECT {} FROM {} WHERE {}{condition}) AS {stale_groups}",
            grouped.key_list("").trim_end_matches(", "),
            grouped.part("merged_groups"),
            grouped.names.stale,
        )
    };
    let by_value = |block: &Block, column: &dyn Fn(usize) -> String| {
        let keys = grouped.keys.iter().zip(&block.outputs);
        keys.map(|((name, _), output)| format!("{} = {stale_groups}.{name}", sql(output, column)))
            .collect()
    };
    let by_hash =
        |block: &Block, column: &dyn Fn(usize) -> String| {
            let keys: Vec<String> = block.outputs[..grouped.keys.len()]
                .iter()
                .map(|output| sql(output, column))
                .collect();
            let mut conditions = vec![format!(
                "{} = {}",
                key_hash("", &keys),
                key_hash(&format!("{stale_groups}."), &grouped.key_names())
            )];
            conditions.extend(grouped.keys.iter().zip(&keys).map(|((name, _), key)| {
                format!("{key} IS NOT DISTINCT FROM {stale_groups}.{name}")
            }));
            conditions
        };
    let nullable: Vec<String> = grouped
        .keys
        .iter()
        .filter(|(_, key)| key.is_nullable)
        .map(|(name, _)| format!("{name} IS NULL"))
        .collect();
    let mut arms: Vec<(String, Conditions<'_>)> = vec![(stale(""), &by_value)];
    if !nullable.is_empty() {
        let has_null = format!(" AND ({})", nullable.join(" OR "));
        arms.push((stale(&has_null), &by_hash));
    }
    groups_of(grouped, names, &arms)
}

/// All changed groups, stale ones as recomputed.
pub(super) fn new_groups(grouped: &Grouped<'_>) -> String {
    let (stale, address) = (&grouped.names.stale, &grouped.names.address);
    let groups = grouped.part("merged_groups");
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
    let keys: Vec<Key> = grouped
        .keys
        .iter()
        .map(|(name, key)| Key {
            name: name.clone(),
            is_nullable: key.is_nullable,
        })
        .collect();
    format!(
        "    SELECT {}{address}, row_count{merged}{}\n    FROM {groups} WHERE NOT {stale}\n    UNION ALL\n    SELECT {}merged.{address}, coalesce(recomputed.row_count, 0){recomputed}{}\n    FROM {groups} AS merged LEFT JOIN {} AS recomputed ON {}\n    WHERE merged.{stale}",
        grouped.key_list(""),
        grouped.before_list(""),
        grouped.key_list("merged."),
        grouped.before_list("merged."),
        grouped.part("recomputed_groups"),
        same_key("merged.", &keys, "recomputed.", &grouped.key_names()),
    )
}

/// That a group can't be told from what was kept of it.
pub(super) fn any_is_stale(grouped: &Grouped<'_>) -> String {
    format!(
        "(SELECT coalesce(bool_or({}), false) FROM {})",
        grouped.names.stale,
        grouped.part("merged_groups"),
    )
}

/// All changed groups, or none if any is stale.
pub(super) fn groups_if_none_is_stale(grouped: &Grouped<'_>) -> String {
    let partials: String = grouped
        .partials
        .iter()
        .map(|partial| format!(", {}", partial.name))
        .collect();
    format!(
        "    SELECT {}{}, row_count{partials}{}\n    FROM {}\n    WHERE NOT {}",
        grouped.key_list(""),
        grouped.names.address,
        grouped.before_list(""),
        grouped.part("merged_groups"),
        any_is_stale(grouped),
    )
}
