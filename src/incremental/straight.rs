//! Changes of groups added straight to the rows that show them, where nothing has to be known of the rows before.

use super::groups::{Grouped, Written};
use super::logs::Changed;
use super::merge::NOT_FINITE;
use super::print::sql;
use super::rows::KeyedRows;
use super::stored::same_key;

impl Grouped<'_> {
    /// Whether changes of one table can be added to the rows as they are stored.
    pub(super) fn is_straight(&self, changed: Changed<'_>) -> bool {
        changed.is_foreseen() && self.is_in_view() && !self.keys.is_empty() && self.is_additive()
    }

    /// Neighbours in the index, and often in the table, one after the other: where sorting costs less than that saves.
    pub(super) fn order_of_stored(&self) -> String {
        match self.keys.first() {
            Some((name, key)) if !key.is_nullable && key.data_type.sorts_cheaply() => {
                format!("\n    ORDER BY {name}")
            }
            _ => String::new(),
        }
    }

    /// The parts that write, after `group_changes`. A sum of NaN or infinities stays what it is, whatever is added; only if
    /// such a value comes or goes is there more to do, which is left to the statement that knows all. So is a
    /// materialized view on which a unique index of others could see passing duplicates.
    pub(super) fn straight_parts(&self, rows: &KeyedRows<'_>) -> (Vec<(String, String)>, Written) {
        let view = self.stored_table();
        let count = format!("stored.{}", self.stored_count());
        let same = same_key("stored.", &self.stored_keys(), "change.", &self.key_names());
        let infinite: String = self
            .partials
            .iter()
            .filter(|partial| partial.may_be_infinite())
            .map(|partial| format!(" OR {} IN ({NOT_FINITE})", partial.name))
            .collect();
        let workable = "(SELECT is_so FROM workable)";
        let settings: Vec<String> = self
            .shown_values()
            .map(|(column, value)| {
                let text = sql(value, &|position| self.added_column(position));
                format!("{column} = {text}")
            })
            .collect();
        let outputs: Vec<String> = self
            .shown()
            .map(|(_, value)| sql(value, &|position| self.column_of(position, "change.", "")))
            .collect();
        let columns: Vec<&str> = self.shown().map(|(column, _)| column.as_str()).collect();
        let parts = vec![
            (
                "in_place AS MATERIALIZED".to_owned(),
                rows.in_place("group_changes"),
            ),
            (
                "workable AS MATERIALIZED".to_owned(),
                format!(
                    "    -- whether that is all there is to do\n    SELECT (SELECT is_so FROM in_place) AND NOT coalesce(bool_or(false{infinite}), false) AS is_so, count(*) AS group_count\n    FROM group_changes"
                ),
            ),
            (
                "deleted_rows AS".to_owned(),
                format!(
                    "    DELETE FROM ONLY {view} AS stored USING group_changes AS change\n    WHERE {same} AND change.row_count < 0 AND {count} + change.row_count = 0 AND {workable}\n    RETURNING 1"
                ),
            ),
            (
                "updated_rows AS".to_owned(),
                format!(
                    "    UPDATE ONLY {view} AS stored SET {}\n    FROM group_changes AS change\n    WHERE {same} AND {count} + change.row_count > 0 AND {workable}\n    RETURNING 1",
                    settings.join(", ")
                ),
            ),
            (
                "inserted_rows AS".to_owned(),
                format!(
                    "    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate\n    INSERT INTO {view} ({})\n    SELECT {}\n    FROM group_changes AS change\n    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions\n    WHERE change.row_count > 0 AND {workable}\n        AND NOT EXISTS (SELECT FROM ONLY {view} AS stored WHERE {same})\n    RETURNING 1",
                    columns.join(", "),
                    outputs.join(", "),
                ),
            ),
        ];
        let written = Written {
            updated: "(SELECT count(*) FROM updated_rows)",
            // each group is one of the three
            missing: "(SELECT group_count FROM workable) - (SELECT count(*) FROM deleted_rows)\n        - (SELECT count(*) FROM updated_rows) - (SELECT count(*) FROM inserted_rows)",
        };
        (parts, written)
    }

    /// A column of the groups with its change added.
    fn added_column(&self, position: usize) -> String {
        if position < self.keys.len() {
            return format!("change.{}", self.keys[position].0);
        }
        let rows = format!("(stored.{} + change.row_count)", self.stored_count());
        let partial = |number: usize| {
            format!(
                "(coalesce(stored.{}, 0) + change.{})",
                self.stored_partial(number),
                self.partials[number].name
            )
        };
        let value = self.told(position).value(&rows, &partial);
        format!("({value})")
    }
}
