//! The net change of each base table since the watermark.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::Block;
use super::identity::{identity, is_identical_if_equal};
use super::naming::free_name;
use super::program::{LoggedTable, Target};
use crate::definition::{Expression, Kind, Refusal, Relation};
use crate::sql::identifier;

/// Parts of the statement that might be the changes of a table by their names.
const OTHER_PARTS: &[&str] = &[
    "group_changes",
    "input_changes",
    "net_input_changes",
    "numbered_changes",
    "row_changes",
];

/// A base table, what is read of it, and the name of its changes.
#[derive(Debug, Clone)]
pub(super) struct ChangedTable {
    pub(super) relation: Relation,
    /// Positions of the columns that the query reads.
    pub(super) columns: BTreeSet<usize>,
    /// The name of the part of the statement that holds its changes.
    pub(super) changes: String,
    /// The quoted name of its log.
    pub(super) log: String,
}

impl ChangedTable {
    pub(super) fn logged(&self) -> LoggedTable {
        let columns = self
            .columns
            .iter()
            .map(|position| self.relation.columns[*position].name.clone());
        LoggedTable {
            oid: self.relation.oid,
            columns: columns.collect(),
        }
    }
}

/// Every base table of the blocks, by oid.
pub(super) fn changed_tables(
    blocks: &[Block],
    target: &Target,
) -> Result<BTreeMap<u32, ChangedTable>, Refusal> {
    let mut tables: BTreeMap<u32, ChangedTable> = BTreeMap::new();
    for block in blocks {
        for relation in &block.scans {
            if tables.contains_key(&relation.oid) {
                continue;
            }
            let changes = free_name(&relation.name, "_changes", |name| {
                !OTHER_PARTS.contains(&name) && tables.values().all(|table| table.changes != name)
            });
            let log_id = target.logs.get(&relation.oid).ok_or_else(|| {
                Refusal::new(
                    format!("{}.{}", relation.schema, relation.name),
                    "it has no materialized view log",
                )
            })?;
            let table = ChangedTable {
                relation: relation.clone(),
                columns: BTreeSet::new(),
                changes,
                log: target.in_module(&format!("log${log_id}")),
            };
            tables.insert(relation.oid, table);
        }
        for position in block
            .outputs
            .iter()
            .chain(&block.conditions)
            .flat_map(Expression::columns)
        {
            let (scan, column) = block.origin(position);
            if let Some(table) = tables.get_mut(&block.scans[scan].oid) {
                table.columns.insert(column);
            }
        }
    }
    Ok(tables)
}

/// The pending rows of a log: of transactions that the watermark had not seen.
pub(super) fn pending() -> &'static str {
    "xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)"
}

/// Δ scan = the logged images with their weights; those that cancel are left out.
pub(super) fn changes_of(table: &ChangedTable, weight: &str) -> String {
    let columns: Vec<(Expression, String, String)> = table
        .columns
        .iter()
        .map(|position| {
            let column = &table.relation.columns[*position];
            let expression = Expression {
                kind: Kind::Column(*position),
                data_type: column.data_type.clone(),
                collation: column.collation.clone(),
                scale: column.scale(),
                is_nullable: true,
            };
            (
                expression,
                format!("c{}", column.attnum),
                identifier(&column.name),
            )
        })
        .collect();
    // where a type can't be compared byte for byte, images that cancel stay in: they add up to nothing later
    let is_comparable = columns
        .iter()
        .all(|(column, _, _)| is_identical_if_equal(column));
    let keys: Option<Vec<Vec<String>>> = columns
        .iter()
        .map(|(column, text, _)| identity(column, text))
        .collect();
    let outputs = columns
        .iter()
        .map(|(_, text, name)| format!("{text} AS {name}, "))
        .collect::<String>();
    let comment = format!(
        "-- net change of {}.{} since the watermark",
        table.relation.schema, table.relation.name
    );
    let comment = comment.replace(['\n', '\r'], " ");
    match keys {
        Some(keys) if is_comparable && !keys.is_empty() => format!(
            "    {comment}\n    SELECT {outputs}sum(weight)::int8 AS {weight}\n    FROM {}\n    WHERE {}\n    GROUP BY {}\n    HAVING sum(weight) <> 0",
            table.log,
            pending(),
            keys.concat().join(", "),
        ),
        Some(keys) if keys.is_empty() => format!(
            "    {comment}\n    SELECT sum(weight)::int8 AS {weight}\n    FROM {}\n    WHERE {}\n    HAVING sum(weight) <> 0",
            table.log,
            pending(),
        ),
        _ => format!(
            "    {comment}\n    SELECT {outputs}weight::int8 AS {weight}\n    FROM {}\n    WHERE {} AND weight <> 0",
            table.log,
            pending(),
        ),
    }
}
