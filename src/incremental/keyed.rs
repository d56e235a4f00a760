//! Joins whose rows have a key: what the rows of touched keys have to be.

use super::bag;
use super::blocks::Block;
use super::groups::Parts;
use super::keys::{Root, RowKey, key_of};
use super::logs::ChangedTable;
use super::print::sql;
use super::rows::KeyedRows;
use super::terms::{Writer, aliases, column_printer, qualified, where_clause};
use super::values_only::{ValuesOnly, told_apart};
use crate::definition::{Expression, Refusal};
use crate::sql::identifier;

/// A join whose rows have a key.
#[derive(Debug)]
pub(super) struct Keyed<'a> {
    pub(super) block: &'a Block,
    pub(super) key: &'a RowKey,
    pub(super) rows: &'a KeyedRows<'a>,
}

impl Keyed<'_> {
    /// The parts of the statement that lead to `target_rows`.
    pub(super) fn parts(&self, writer: &Writer<'_>) -> Result<Parts, Refusal> {
        if let Some(only) = writer.changed.alone()
            && let [scan] = writer.changeable(self.block)[..]
        {
            let table = &writer.tables[&only];
            if let [root] = self.key.roots.as_slice()
                && root.scan == scan
            {
                return Ok(self.by_own_key(table, root, writer));
            }
            if let Some(parts) = self.by_key_of(table, scan, writer) {
                return Ok(parts);
            }
        }
        self.by_difference(writer)
    }

    fn key_columns(&self) -> Vec<&String> {
        let positions = self.key.outputs.iter();
        positions
            .map(|position| &self.rows.columns[*position])
            .collect()
    }

    // the key of the rows is that of the table: its rows as they are now, or nothing
    fn by_own_key(&self, table: &ChangedTable, root: &Root, writer: &Writer<'_>) -> Parts {
        let (touched, there) = (&self.rows.names.touched, &self.rows.names.there);
        let keys: Vec<(String, &String)> = root
            .columns
            .iter()
            .zip(&root.outputs)
            .map(|(column, output)| (table.logged_column(*column), &self.rows.columns[*output]))
            .collect();
        let listed: Vec<String> = self
            .rows
            .columns
            .iter()
            .map(|column| {
                if keys.iter().any(|(_, key)| *key == column) {
                    format!("{touched}.{column}")
                } else {
                    format!("now.{column}")
                }
            })
            .collect();
        let same: Vec<String> = keys
            .iter()
            .map(|(_, key)| format!("now.{key} = {touched}.{key}"))
            .collect();
        let now = Writer::now(self.block, self.rows.columns, &[], &|_, _| Vec::new());
        let now = now.replacen("SELECT ", &format!("SELECT true AS {there}, "), 1);
        Parts::plain(vec![
            (
                "touched_keys AS".to_owned(),
                touched_keys(table, &keys, &root.columns, writer),
            ),
            (
                "target_rows AS".to_owned(),
                format!(
                    "    -- their rows as they are now, or that there are none\n    SELECT {}, coalesce(now.{there}, false) AS {there}\n    FROM touched_keys AS {touched}\n    LEFT JOIN (\n{}\n    ) AS now ON {}",
                    listed.join(", "),
                    super::print::indented(&now, 1),
                    same.join(" AND "),
                ),
            ),
        ])
    }

    // the rows joined with touched rows of the table, as they are now; and keys of rows that were joined with images which are
    // no more, even if only the columns are compared that decide which rows those are
    fn by_key_of(&self, table: &ChangedTable, scan: usize, writer: &Writer<'_>) -> Option<Parts> {
        let own = key_of(&table.relation, &|column| table.columns.contains(&column))?;
        let deciding = self.deciding_columns(scan, &own);
        if !table.are_identical_if_equal(&deciding) {
            return None;
        }
        let (touched, there) = (&self.rows.names.touched, &self.rows.names.there);
        let name = |column: usize| identifier(&table.relation.columns[column].name);
        let own_names: Vec<String> = own.iter().map(|column| name(*column)).collect();
        let keys: Vec<(String, &String)> = own
            .iter()
            .zip(&own_names)
            .map(|(column, name)| (table.logged_column(*column), name))
            .collect();
        let aliases = aliases(&self.block.scans);
        let same = |_: &Block, _: &dyn Fn(usize) -> String| {
            let own = own_names.iter();
            own.map(|name| format!("{}.{name} = {touched}.{name}", aliases[scan]))
                .collect()
        };
        let now = Writer::now(
            self.block,
            self.rows.columns,
            &[format!("touched_keys AS {touched}")],
            &same,
        );
        let key_columns = self.key_columns();
        let gone: Vec<String> = self
            .rows
            .columns
            .iter()
            .map(|column| {
                if key_columns.contains(&column) {
                    format!("gone.{column}")
                } else {
                    "NULL".to_owned()
                }
            })
            .collect();
        let same_key: Vec<String> = key_columns
            .iter()
            .map(|key| format!("new_rows.{key} = gone.{key}"))
            .collect();
        let values_only = ValuesOnly::of(self.block, self.key, scan, &deciding);
        let mut parts = match &values_only {
            Some(_) => told_apart(table, &own_names, &deciding, writer),
            None => vec![
                (
                    "touched_keys AS".to_owned(),
                    touched_keys(table, &keys, &own, writer),
                ),
                (
                    "gone_images AS".to_owned(),
                    table.gone_images(&deciding, writer.reading()),
                ),
            ],
        };
        parts.extend([
            (
                "new_rows AS MATERIALIZED".to_owned(),
                format!("    -- the rows that touched ones are in now\n{now}"),
            ),
            (
                "target_rows AS".to_owned(),
                format!(
                    "    SELECT {}, true AS {there} FROM new_rows\n    UNION ALL\n    SELECT {}, false\n    FROM (\n{}\n    ) AS gone\n    WHERE NOT EXISTS (SELECT FROM new_rows WHERE {})",
                    self.rows.columns.join(", "),
                    gone.join(", "),
                    super::print::indented(&self.gone_keys(scan), 1),
                    same_key.join(" AND "),
                ),
            ),
        ]);
        if let Some(values_only) = values_only {
            parts.push((
                "found_rows AS MATERIALIZED".to_owned(),
                format!(
                    "{}\n    UNION ALL\n{}",
                    self.rows.found_rows(false),
                    values_only.found_rows(self.rows, &own_names),
                ),
            ));
        }
        Some(Parts::plain(parts))
    }

    /// The columns of a scan on which it depends which rows there are, and under which keys.
    fn deciding_columns(&self, scan: usize, own: &[usize]) -> Vec<usize> {
        let keys = self.key.outputs.iter();
        let keys = keys.map(|position| &self.block.outputs[*position]);
        let mut columns = own.to_vec();
        for position in keys
            .chain(&self.block.conditions)
            .flat_map(Expression::columns)
        {
            let (other, column) = self.block.origin(position);
            if other == scan {
                columns.push(column);
            }
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    fn gone_keys(&self, scan: usize) -> String {
        let aliases = aliases(&self.block.scans);
        let column = column_printer(self.block, &aliases);
        let positions = self.key.outputs.iter();
        let listed: Vec<String> = positions
            .map(|position| {
                let output = sql(&self.block.outputs[*position], &column);
                format!("{output} AS {}", self.rows.columns[*position])
            })
            .collect();
        let from: Vec<String> = self
            .block
            .scans
            .iter()
            .zip(&aliases)
            .enumerate()
            .map(|(number, (relation, alias))| {
                if number == scan {
                    format!("gone_images AS {alias}")
                } else {
                    format!("{} AS {alias}", qualified(relation))
                }
            })
            .collect();
        let conditions: Vec<String> = self
            .block
            .conditions
            .iter()
            .map(|condition| sql(condition, &column))
            .collect();
        format!(
            "    SELECT {}\n    FROM {}{}",
            listed.join(", "),
            from.join(", "),
            where_clause(&conditions)
        )
    }

    // by the signed difference of whole rows: of one key at most one goes and one comes
    fn by_difference(&self, writer: &Writer<'_>) -> Result<Parts, Refusal> {
        let blocks = std::slice::from_ref(self.block);
        let weight = &self.rows.names.weight;
        let mut parts = bag::row_changes(writer, blocks, self.rows.columns);
        parts.push((
            "net_rows AS".to_owned(),
            bag::net_rows(
                &self.block.outputs,
                self.rows.columns,
                self.rows.names,
                "row_changes",
            )?,
        ));
        let keys: Vec<&str> = self.key_columns().into_iter().map(String::as_str).collect();
        let keys = keys.join(", ");
        parts.push((
            "target_rows AS".to_owned(),
            format!(
                "    -- by keys: the row that there is now, if any\n    SELECT DISTINCT ON ({keys}) {}, {weight} > 0 AS {}, bool_or({weight} < 0) OVER (PARTITION BY {keys}) AS {}\n    FROM net_rows\n    ORDER BY {keys}, {weight} DESC",
                self.rows.columns.join(", "),
                self.rows.names.there,
                self.rows.names.before,
            ),
        ));
        Ok(Parts {
            knows_before: true,
            ..Parts::plain(parts)
        })
    }
}

fn touched_keys(
    table: &ChangedTable,
    keys: &[(String, &String)],
    columns: &[usize],
    writer: &Writer<'_>,
) -> String {
    let listed: Vec<String> = keys
        .iter()
        .map(|(logged, name)| format!("{logged} AS {name}"))
        .collect();
    format!(
        "    -- keys of changed rows of {}\n    SELECT DISTINCT {}\n    FROM {}",
        qualified(&table.relation).replace(['\n', '\r'], " "),
        listed.join(", "),
        table.pending_rows(writer.reading(), columns),
    )
}
