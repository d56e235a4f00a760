//! Rows with a key applied to the stored rows: only those that differ are written, in place where that is possible.

use super::identity::is_identical_if_equal;
use super::names::Names;
use super::stored::{Key, key_index, same_key};
use crate::definition::Expression;

/// The rows of a materialized view that have a key.
#[derive(Debug)]
pub(super) struct KeyedRows<'a> {
    /// The materialized view.
    pub(super) view: String,
    /// Its columns.
    pub(super) columns: &'a [String],
    /// What they consist of.
    pub(super) outputs: &'a [Expression],
    /// Which of them are the key, and whether each may be NULL.
    pub(super) key: Vec<(usize, bool)>,
    pub(super) names: &'a Names,
}

impl KeyedRows<'_> {
    pub(super) fn key_names(&self) -> Vec<String> {
        self.key
            .iter()
            .map(|(position, _)| self.columns[*position].clone())
            .collect()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.key
            .iter()
            .map(|(position, is_nullable)| Key {
                name: self.columns[*position].clone(),
                is_nullable: *is_nullable,
            })
            .collect()
    }

    /// Not a unique one: it must never stand in the way of a complete refresh, should the key be one no longer.
    pub(super) fn index(&self) -> Option<String> {
        key_index(&self.view, &self.keys(), false)
    }

    fn values(&self) -> Vec<&String> {
        let is_key = |position: usize| self.key.iter().any(|(key, _)| *key == position);
        let columns = self.columns.iter().enumerate();
        columns
            .filter(|(position, _)| !is_key(*position))
            .map(|(_, column)| column)
            .collect()
    }

    fn list(&self, prefix: &str) -> String {
        listed(self.columns.iter(), prefix)
    }

    /// The rows of `target_rows` that are not stored so, with where they are stored.
    pub(super) fn found_rows(&self, knows_before: bool) -> String {
        let (there, before) = (&self.names.there, &self.names.before);
        let mut differs = vec![format!("target.{there} <> (stored.ctid IS NOT NULL)")];
        if knows_before {
            differs.push(format!("target.{before} <> (stored.ctid IS NOT NULL)"));
        }
        let values = self.values();
        if !values.is_empty() {
            let all: Vec<usize> = (0..self.columns.len()).collect();
            let differ = self.differ(&all, "target.");
            differs.push(format!("(target.{there} AND ({differ}))"));
        }
        format!(
            "    -- those that are not stored like this\n    SELECT {}, target.{there}{}, stored.ctid AS {}\n    FROM target_rows AS target\n    LEFT JOIN ONLY {} AS stored ON {}\n    WHERE {}",
            self.list("target."),
            if knows_before {
                format!(", target.{before}")
            } else {
                String::new()
            },
            self.names.address,
            self.view,
            self.same_key("target."),
            differs.join(" OR "),
        )
    }

    /// That a stored row has the key of another, whose columns have this prefix.
    pub(super) fn same_key(&self, prefix: &str) -> String {
        same_key("stored.", &self.keys(), prefix, &self.key_names())
    }

    /// That a stored row has not the values of another at these positions, byte for byte: by column where equal values are the
    /// same bytes anyway, which is cheaper.
    pub(super) fn differ(&self, positions: &[usize], prefix: &str) -> String {
        let is_key = |position: usize| self.key.iter().any(|(key, _)| *key == position);
        let values = positions
            .iter()
            .copied()
            .filter(|position| !is_key(*position));
        let (plain, other): (Vec<usize>, Vec<usize>) =
            values.partition(|position| is_identical_if_equal(&self.outputs[*position]));
        let mut tests: Vec<String> = plain
            .iter()
            .map(|position| &self.columns[*position])
            .map(|column| format!("stored.{column} IS DISTINCT FROM {prefix}{column}"))
            .collect();
        if !other.is_empty() {
            let columns = || other.iter().map(|position| &self.columns[*position]);
            tests.push(format!(
                "ROW({})::record *<> ROW({})::record",
                listed(columns(), "stored."),
                listed(columns(), prefix),
            ));
        }
        tests.join(" OR ")
    }

    /// The parts of the statement that write what `found_rows` says.
    pub(super) fn apply(&self) -> Vec<(String, String)> {
        let (view, there, address) = (&self.view, &self.names.there, &self.names.address);
        let values = self.values();
        let (or_moved, insert_moved) = if values.is_empty() {
            (format!("NOT entry.{there}"), String::new())
        } else {
            (
                format!("(NOT entry.{there} OR NOT (SELECT is_so FROM in_place))"),
                " OR NOT (SELECT is_so FROM in_place)".to_owned(),
            )
        };
        let mut parts = Vec::new();
        if !values.is_empty() {
            parts.push((
                "in_place AS MATERIALIZED".to_owned(),
                self.in_place("found_rows"),
            ));
        }
        parts.push((
            "deleted_rows AS".to_owned(),
            format!(
                "    DELETE FROM ONLY {view} AS stored USING found_rows AS entry\n    WHERE stored.ctid = entry.{address} AND {or_moved}\n    RETURNING 1"
            ),
        ));
        if !values.is_empty() {
            let settings: Vec<String> = values
                .iter()
                .map(|column| format!("{column} = entry.{column}"))
                .collect();
            parts.push((
                "updated_rows AS".to_owned(),
                format!(
                    "    UPDATE ONLY {view} AS stored SET {}\n    FROM found_rows AS entry\n    WHERE stored.ctid = entry.{address} AND entry.{there} AND (SELECT is_so FROM in_place)\n    RETURNING 1",
                    settings.join(", ")
                ),
            ));
        }
        parts.push((
            "inserted_rows AS".to_owned(),
            format!(
                "    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate\n    INSERT INTO {view} ({})\n    SELECT {}\n    FROM found_rows AS entry\n    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions\n    WHERE entry.{there} AND (entry.{address} IS NULL{insert_moved})\n    RETURNING 1",
                self.list(""),
                self.list("entry."),
            ),
        ));
        parts
    }

    // A unique index over the whole key sees none, as no two rows have the same key at any time. Neither does any where one
    // row changes, and then it is not looked for.
    pub(super) fn in_place(&self, changes: &str) -> String {
        let numbers: Vec<String> = self
            .key
            .iter()
            .map(|(position, _)| (position + 1).to_string())
            .collect();
        format!(
            "    -- whether rows can be updated one by one: no unique index of others can see passing duplicates\n    SELECT (SELECT count(*) FROM (SELECT FROM {changes} LIMIT 2) AS first_two) < 2 OR NOT EXISTS (\n        SELECT FROM pg_index\n        WHERE indrelid = '{}'::regclass AND (indisunique OR indisexclusion)\n            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{{{}}}'\n    ) AS is_so",
            self.view.replace('\'', "''"),
            numbers.join(","),
        )
    }

    pub(super) fn updated(&self) -> &'static str {
        if self.values().is_empty() {
            "0::int8"
        } else {
            "(SELECT count(*) FROM updated_rows)"
        }
    }

    /// The number of rows that were found and could not be written, or were not what they should have been.
    pub(super) fn missing(&self, knows_before: bool) -> String {
        let (before, address) = (&self.names.before, &self.names.address);
        let surprising = if knows_before {
            format!(
                "\n        + (SELECT count(*) FROM found_rows WHERE {before} <> ({address} IS NOT NULL))"
            )
        } else {
            String::new()
        };
        format!(
            "(SELECT count(*) FROM found_rows WHERE {address} IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - {}{surprising}",
            self.updated()
        )
    }
}

fn listed<'a>(columns: impl Iterator<Item = &'a String>, prefix: &str) -> String {
    columns
        .map(|column| format!("{prefix}{column}"))
        .collect::<Vec<_>>()
        .join(", ")
}
