//! Whether the pending rows that a statement was made for are all that there is to do; else it does nothing.

use std::collections::BTreeMap;

use super::logs::{Changed, ChangedTable, pending};

/// For up to so many pending rows of one table a statement counts them itself.
pub(super) const FEW: i32 = 200;

/// The parts that say so, `foreseen` as `is_so`, and hold what is pending where it was not counted before.
pub(super) fn foreseen(
    tables: &BTreeMap<u32, ChangedTable>,
    changed: Changed<'_>,
) -> Vec<(String, String)> {
    let (these, others): (Vec<_>, Vec<_>) = tables.iter().partition(|(oid, _)| changed.may(**oid));
    let others = others
        .into_iter()
        .map(|(_, table)| format!("NOT EXISTS (SELECT FROM {} WHERE {})", table.log, pending()));
    let these = these.into_iter().map(|(_, table)| table);
    match changed {
        Changed::Any => Vec::new(),
        Changed::Only(_) => vec![part("foreseen", as_counted(these, others))],
        Changed::Few(_) => {
            let pending = these.map(few_pending).collect();
            vec![
                part("pending_changes", pending),
                part("foreseen", are_few()),
            ]
        }
    }
}

fn part(name: &str, text: String) -> (String, String) {
    (format!("{name} AS MATERIALIZED"), text)
}

fn as_counted<'a>(
    these: impl Iterator<Item = &'a ChangedTable>,
    others: impl Iterator<Item = String>,
) -> String {
    let these = these.map(|table| {
        format!(
            "(SELECT count(*) < {limit} AND count(*) FILTER (WHERE weight = 0) = 0\n             FROM (SELECT weight FROM {} WHERE {} LIMIT {limit}) AS pending)",
            table.log,
            pending(),
            limit = table.limit,
        )
    });
    let all: Vec<String> = these.chain(others).collect();
    format!(
        "    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew\n    SELECT pg_current_snapshot()::text = snapshot::text OR (\n        {}\n    ) AS is_so",
        all.join("\n        AND ")
    )
}

fn few_pending(table: &ChangedTable) -> String {
    let columns: String = table
        .columns
        .iter()
        .map(|position| format!("{}, ", table.logged_column(*position)))
        .collect();
    format!(
        "    -- what is pending, or more than are few; in order, and so by index, as the log may be a long one by then\n    SELECT {columns}weight FROM {}\n    WHERE {}\n    ORDER BY xid LIMIT {}",
        table.log,
        pending(),
        FEW + 1,
    )
}

fn are_few() -> String {
    format!(
        "    -- whether these are all, and can be understood\n    SELECT count(*) AS pending_rows,\n           count(*) <= coalesce(least($2, {FEW}), {FEW}) AND count(*) FILTER (WHERE weight = 0) = 0 AS is_so\n    FROM pending_changes",
    )
}
