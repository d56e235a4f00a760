//! The state table: what it looks like, how it is filled, and how a refresh changes it.

use super::groups::Grouped;
use super::partials::PartialKind;
use super::program::StateTable;
use super::recompute;
use crate::definition::Expression;
use crate::sql::identifier;

impl Grouped<'_> {
    pub(super) fn state_columns(&self) -> Vec<String> {
        let partials = self.partials.iter().map(|partial| partial.name.clone());
        ["row_count".to_owned()]
            .into_iter()
            .chain(partials)
            .collect()
    }

    pub(super) fn state_parts(&self) -> Vec<(String, String)> {
        let (groups, state, address) = (self.groups_name(), &self.state, &self.names.address);
        let columns = self.state_columns();
        let settings: Vec<String> = columns
            .iter()
            .map(|name| format!("{name} = changed.{name}"))
            .collect();
        let values = columns.join(", ");
        vec![
            (
                "deleted_groups AS".to_owned(),
                format!(
                    "    DELETE FROM ONLY {state} AS stored USING {groups} AS changed\n    WHERE stored.ctid = changed.{address} AND NOT ({})",
                    self.is_there("changed."),
                ),
            ),
            (
                "updated_groups AS".to_owned(),
                format!(
                    "    UPDATE ONLY {state} AS stored SET {}\n    FROM {groups} AS changed\n    WHERE stored.ctid = changed.{address} AND {}",
                    settings.join(", "),
                    self.is_there("changed."),
                ),
            ),
            (
                "inserted_groups AS".to_owned(),
                format!(
                    "    INSERT INTO {state} ({keys}{values})\n    SELECT {keys}{values} FROM {groups} WHERE {address} IS NULL AND {}",
                    self.is_there(""),
                    keys = self.key_list(""),
                ),
            ),
        ]
    }

    /// The table that keeps the groups.
    pub(super) fn state_table(&self) -> StateTable {
        let mut columns: Vec<String> = self
            .keys
            .iter()
            .map(|(name, key)| column_definition(name, key, &key.data_type.to_string()))
            .collect();
        columns.push("row_count int8 NOT NULL".to_owned());
        columns.extend(self.partials.iter().map(|partial| match partial.kind {
            PartialKind::Count | PartialKind::Sum => {
                format!("{} {} NOT NULL", partial.name, partial.data_type())
            }
            PartialKind::Min | PartialKind::Max => column_definition(
                &partial.name,
                &partial.over,
                &partial.data_type().to_string(),
            ),
        }));
        let has_null = self.keys.iter().any(|(_, key)| key.is_nullable);
        let keys = self.key_list("");
        let index = match (self.keys.is_empty(), has_null) {
            (true, _) => String::new(),
            (false, true) => format!(
                "\nCREATE INDEX ON {} (({}));",
                self.state,
                self.key_hash("")
            ),
            (false, false) => format!(
                "\nCREATE UNIQUE INDEX ON {} ({});",
                self.state,
                keys.trim_end_matches(", ")
            ),
        };
        StateTable {
            create: format!(
                "CREATE TABLE {} (\n    {}\n);{index}",
                self.state,
                columns.join(",\n    ")
            ),
            columns: self
                .keys
                .iter()
                .map(|(name, _)| name.clone())
                .chain(self.state_columns())
                .collect(),
            rows: recompute::groups_now(self, &self.input_names(), &[], &|_, _| Vec::new()),
        }
    }
}

fn column_definition(name: &str, expression: &Expression, data_type: &str) -> String {
    match &expression.collation {
        Some(collation) if expression.data_type.is_collatable() => {
            format!("{} {data_type} COLLATE {collation}", identifier(name))
        }
        _ => format!("{} {data_type}", identifier(name)),
    }
}
