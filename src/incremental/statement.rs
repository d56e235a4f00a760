//! The whole statement, from its parts.

use std::collections::BTreeMap;

use super::bag;
use super::foreseen::foreseen;
use super::general;
use super::groups::{Grouped, Parts};
use super::keyed::Keyed;
use super::keys::{RowKey, row_key};
use super::logs::{Changed, ChangedTable, pending};
use super::names::Names;
use super::program::{Shape, StateTable, Target, common_outputs};
use super::rows::KeyedRows;
use super::terms::{Writer, as_columns};
use crate::definition::{Expression, Refusal};

/// What the statements of one fast refresh have in common.
#[derive(Debug)]
pub(super) struct Compiler<'a> {
    shape: &'a Shape,
    tables: &'a BTreeMap<u32, ChangedTable>,
    columns: &'a [String],
    names: &'a Names,
    target: &'a Target,
    outputs: Vec<Expression>,
    grouped: Option<Grouped<'a>>,
    key: Option<RowKey>,
    rows: Option<KeyedRows<'a>>,
    /// What is grouped, where it is no sum of joins.
    over: Option<&'a general::Input>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        shape: &'a Shape,
        tables: &'a BTreeMap<u32, ChangedTable>,
        columns: &'a [String],
        names: &'a Names,
        target: &'a Target,
    ) -> Self {
        let grouped = shape
            .grouping
            .as_ref()
            .map(|grouping| Grouped::new(grouping, &shape.blocks, columns, names, target));
        let key = match shape.blocks.as_slice() {
            [block] if grouped.is_none() => row_key(block),
            _ => None,
        };
        let rows = match (&grouped, &key) {
            (Some(grouped), _) => grouped.keyed_rows(target),
            (None, Some(key)) => Some(KeyedRows {
                view: target.view_text(),
                columns,
                outputs: &shape.blocks[0].outputs,
                key: key.outputs.iter().map(|output| (*output, false)).collect(),
                names,
            }),
            (None, None) => None,
        };
        Self {
            shape,
            tables,
            columns,
            names,
            target,
            outputs: match &grouped {
                Some(grouped) => grouped.output_expressions(),
                None => as_columns(&common_outputs(&shape.blocks)),
            },
            grouped,
            key,
            rows,
            over: None,
        }
    }

    /// With the rows of other operators for what is grouped.
    pub(super) fn over(self, input: &'a general::Input) -> Self {
        Self {
            over: Some(input),
            ..self
        }
    }

    /// The statement for changes of any tables, or of some only.
    pub(super) fn statement(&self, changed: Changed<'_>) -> Result<String, Refusal> {
        let writer = Writer {
            tables: self.tables,
            weight: &self.names.weight,
            changed,
        };
        let mut parts = Vec::new();
        parts.extend(foreseen(self.tables, changed));
        let from = match (&self.grouped, &self.key, &self.rows) {
            (Some(grouped), ..) => match self.over {
                Some(over) => over.parts(grouped, self.tables, changed, self.rows.as_ref())?,
                None => grouped.parts(&writer, self.rows.as_ref()),
            },
            (None, Some(key), Some(rows)) => Keyed {
                block: &self.shape.blocks[0],
                key,
                rows,
            }
            .parts(&writer)?,
            (None, ..) => Parts::plain(bag::row_changes(&writer, &self.shape.blocks, self.columns)),
        };
        let missing;
        let mut updated = "0::int8";
        parts.extend(from.list);
        if let Some(written) = from.written {
            missing = written.missing.to_owned();
            updated = written.updated;
        } else if let Some(rows) = &self.rows {
            if !parts
                .iter()
                .any(|(head, _)| head.starts_with("found_rows AS"))
            {
                parts.push((
                    "found_rows AS MATERIALIZED".to_owned(),
                    rows.found_rows(from.knows_before),
                ));
            }
            parts.extend(rows.apply());
            missing = rows.missing(from.knows_before);
            updated = rows.updated();
        } else {
            parts.push((
                "net_rows AS".to_owned(),
                bag::net_rows(&self.outputs, self.columns, self.names, "row_changes")?,
            ));
            parts.extend(bag::apply(
                &self.outputs,
                self.columns,
                self.names,
                self.target,
            ));
            missing = bag::missing(self.names);
        }
        Ok(assembled(
            &parts,
            self.tables,
            changed,
            updated,
            &format!("{missing}{}", from.missing),
            from.unforeseen.as_deref(),
        ))
    }

    pub(super) fn state_table(&self) -> Result<Option<StateTable>, Refusal> {
        let Some(grouped) = &self.grouped else {
            return Ok(None);
        };
        let all_rows = match self.over {
            Some(over) => Some(over.all_rows(grouped, self.tables)?),
            None => None,
        };
        Ok(grouped.state_table(all_rows.as_deref()))
    }

    /// The rows of the materialized view, told from the state table if there is one.
    pub(super) fn outputs_of_state(&self) -> Option<String> {
        self.grouped.as_ref().and_then(Grouped::outputs_of_state)
    }

    /// The index by which stored rows are found.
    pub(super) fn row_index(&self) -> Option<String> {
        match &self.rows {
            Some(rows) => rows.index(),
            None => Some(format!(
                "CREATE INDEX ON {} (({}));",
                self.target.view_text(),
                bag::row_hash(&self.outputs, self.columns, "")
            )),
        }
    }

    /// How a change of a table is dealt with, in words.
    pub(super) fn strategy(&self, oid: u32) -> &'static str {
        let scans = self.shape.blocks.iter().flat_map(|block| &block.scans);
        let is_alone =
            self.shape.blocks.iter().all(|block| {
                block.scans.len() == 1 || block.scans.iter().all(|scan| scan.oid != oid)
            });
        let occurrences = scans.filter(|scan| scan.oid == oid).count();
        if self.key.is_some() && occurrences == 1 {
            "rows of its changed keys are computed as they are now"
        } else if is_alone {
            "its changes are taken as they are"
        } else {
            "its changes are joined with the other tables as they are now"
        }
    }
}

/// The statement of parts, with the outcome of what they do.
pub(super) fn assembled(
    parts: &[(String, String)],
    tables: &BTreeMap<u32, ChangedTable>,
    changed: Changed<'_>,
    updated: &str,
    missing: &str,
    unforeseen: Option<&str>,
) -> String {
    let written: Vec<String> = parts
        .iter()
        .map(|(head, body)| format!("{head} (\n{body}\n)"))
        .collect();
    let last = if changed.is_foreseen() {
        let stale = unforeseen.map(|stale| format!(" OR {stale}"));
        let pending = match changed {
            Changed::Few(_) => "\n       (SELECT pending_rows FROM foreseen) AS pending_rows,",
            Changed::Any | Changed::Only(_) => "",
        };
        format!(
            "false AS must_complete,{pending}\n       -- nothing was done, as this is not all there is to do\n       NOT (SELECT is_so FROM foreseen){} AS unforeseen",
            stale.unwrap_or_default()
        )
    } else {
        format!(
            "-- a log that says: something happened that is not in it\n       {} AS must_complete",
            markers(tables)
        )
    };
    format!(
        "WITH {}\nSELECT pg_current_snapshot() AS snapshot,\n       (SELECT count(*) FROM inserted_rows) AS rows_inserted,\n       {updated} AS rows_updated,\n       (SELECT count(*) FROM deleted_rows) AS rows_deleted,\n       -- rows that should have been there\n       ({missing})::int8 AS rows_missing,\n       {last}",
        written.join(", "),
    )
}

fn markers(tables: &BTreeMap<u32, ChangedTable>) -> String {
    let markers: Vec<String> = tables
        .values()
        .map(|table| {
            format!(
                "EXISTS (SELECT FROM {} WHERE {} AND weight = 0)",
                table.log,
                pending()
            )
        })
        .collect();
    markers.join("\n       OR ")
}
