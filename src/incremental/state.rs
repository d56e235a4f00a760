//! The state table: what it looks like, how it is filled, and how a refresh changes it.

use super::groups::Grouped;
use super::partials::PartialKind;
use super::program::StateTable;
use super::recompute;
use super::stored::{key_index, same_key};
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
        let (groups, state, address) =
            (self.groups_name(), self.stored_table(), &self.names.address);
        let columns = self.state_columns();
        let settings: Vec<String> = columns
            .iter()
            .map(|name| format!("{name} = changed.{name}"))
            .collect();
        let values = columns.join(", ");
        vec![
            (
                format!("{} AS", self.part("deleted_groups")),
                format!(
                    "    DELETE FROM ONLY {state} AS stored USING {groups} AS changed\n    WHERE stored.ctid = changed.{address} AND NOT ({})",
                    self.has_rows("changed."),
                ),
            ),
            (
                format!("{} AS", self.part("updated_groups")),
                format!(
                    "    UPDATE ONLY {state} AS stored SET {}\n    FROM {groups} AS changed\n    WHERE stored.ctid = changed.{address} AND {}",
                    settings.join(", "),
                    self.has_rows("changed."),
                ),
            ),
            (
                format!("{} AS", self.part("inserted_groups")),
                format!(
                    "    INSERT INTO {state} ({keys}{values})\n    SELECT {keys}{values} FROM {groups} WHERE {address} IS NULL AND {}",
                    self.has_rows(""),
                    keys = self.key_list(""),
                ),
            ),
        ]
    }

    /// The table that keeps the groups, where the materialized view itself does not.
    ///
    /// `all_rows` are the rows that are grouped, where they are no sum of blocks.
    pub(super) fn state_table(&self, all_rows: Option<&str>) -> Option<StateTable> {
        if self.is_in_view() {
            return None;
        }
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
        let table = self.stored_table();
        let index = key_index(table, &self.stored_keys(), true);
        let index = index.map_or_else(String::new, |index| format!("\n{index}"));
        // room on every page, as groups are updated again and again and none of what changes is indexed
        Some(StateTable {
            create: format!(
                "CREATE TABLE {table} (\n    {}\n) WITH (fillfactor = 80);{index}",
                columns.join(",\n    ")
            ),
            columns: self
                .keys
                .iter()
                .map(|(name, _)| name.clone())
                .chain(self.state_columns())
                .collect(),
            rows: match all_rows {
                Some(rows) => recompute::groups_over(self, rows),
                None => recompute::all_groups(self, &self.input_names()),
            },
            difference: self.state_difference(),
            table: self.state_name.clone(),
        })
    }

    /// The rows of the materialized view, told from the rows of the state table.
    pub(super) fn outputs_of_state(&self) -> Option<String> {
        let outputs = format!(
            "SELECT {}\nFROM fresh_state_{} AS changed\nWHERE {}",
            self.outputs("").join(", "),
            self.number,
            self.is_shown(""),
        );
        (!self.is_in_view()).then_some(outputs)
    }

    // Rows of one key that a hand has put there twice are told apart by their number, so that one of them goes.
    fn state_difference(&self) -> String {
        let keys = self.key_names().join(", ");
        let is_unique = self.keys.iter().all(|(_, key)| !key.is_nullable);
        let (occurrence, first) = if is_unique {
            (String::new(), "")
        } else {
            (
                format!(", row_number() OVER (PARTITION BY {keys}) AS occurrence"),
                " AND stored.occurrence = 1",
            )
        };
        let columns = |prefix: &str| -> String {
            let names = self.key_names().into_iter().chain(self.state_columns());
            let names: Vec<String> = names.map(|name| format!("{prefix}{name}")).collect();
            names.join(", ")
        };
        format!(
            "SELECT stored.ctid AS state_address, fresh.row_count IS NOT NULL AS is_fresh, {fresh}\nFROM fresh_state_{number} AS fresh\nFULL JOIN (SELECT ctid, {all}{occurrence} FROM ONLY {table}) AS stored\n    ON {same}{first}\nWHERE (ROW({fresh})::record *= ROW({stored})::record) IS NOT TRUE",
            number = self.number,
            fresh = columns("fresh."),
            stored = columns("stored."),
            all = columns(""),
            table = self.stored_table(),
            same = same_key("fresh.", &self.stored_keys(), "stored.", &self.key_names()),
        )
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
