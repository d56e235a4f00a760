//! The rows of groups: the query's expressions over what is known of them, after and before.

use super::groups::Grouped;
use super::partials::Told;
use super::print::sql;
use crate::definition::{Expression, Kind};

impl Grouped<'_> {
    // groups that are kept in the rows: where they are stored is known
    pub(super) fn found_rows(&self) -> String {
        let values = |suffix: &str| {
            let column = |position: usize| self.group_column(position, suffix);
            let outputs = self.grouping.outputs.iter();
            outputs
                .map(|output| sql(output, &column))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let differs = if self.keeps_before() {
            format!(
                "\n    WHERE NOT {there} OR changed.{} IS NULL OR ROW({})::record *<> ROW({})::record",
                self.names.address,
                values(""),
                values("_before"),
                there = self.has_rows("changed."),
            )
        } else {
            String::new()
        };
        format!(
            "    -- the rows of changed groups\n    SELECT {}, changed.{}, {} AS {}\n    FROM {} AS changed{differs}",
            self.outputs("").join(", "),
            self.names.address,
            self.has_rows("changed."),
            self.names.there,
            self.groups_name(),
        )
    }

    // rows before = the query's expressions over stored groups, rows after = over new ones
    pub(super) fn target_rows(&self) -> String {
        let (there, before) = (self.is_shown(""), self.is_shown("_before"));
        let values = |suffix: &str| -> String {
            let column = |position: usize| self.group_column(position, suffix);
            let outputs = self.grouping.outputs.iter();
            outputs
                .map(|output| sql(output, &column))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!(
            "    -- the rows of changed groups that differ from before\n    SELECT {}, {there} AS {}, {before} AS {}\n    FROM {} AS changed\n    WHERE {there} <> {before} OR ({there} AND ROW({})::record *<> ROW({})::record)",
            self.outputs("").join(", "),
            self.names.there,
            self.names.before,
            self.groups_name(),
            values(""),
            values("_before"),
        )
    }

    pub(super) fn row_changes(&self) -> String {
        let (groups, weight) = (self.groups_name(), &self.names.weight);
        let select = |suffix: &str, sign: &str| {
            format!(
                "    SELECT {}, {sign}1 AS {weight}\n    FROM {groups} AS changed\n    WHERE {}",
                self.outputs(suffix).join(", "),
                self.is_shown(suffix),
            )
        };
        format!(
            "    -- the rows of changed groups: minus as they were, plus as they are\n{}\n    UNION ALL\n{}",
            select("_before", "-"),
            select("", ""),
        )
    }

    /// Whether the row of a group is there, after (or, with a suffix, before).
    pub(super) fn is_shown(&self, suffix: &str) -> String {
        let mut conditions = Vec::new();
        if !suffix.is_empty() {
            conditions.push(format!("changed.{} IS NOT NULL", self.names.address));
        } else if !self.keys.is_empty() {
            conditions.push("changed.row_count > 0".to_owned());
        }
        let having = &self.grouping.conditions;
        let column = |position: usize| self.group_column(position, suffix);
        conditions.extend(
            having
                .iter()
                .map(|condition| format!("coalesce({}, false)", sql(condition, &column))),
        );
        if conditions.is_empty() {
            "true".to_owned()
        } else {
            format!("({})", conditions.join(" AND "))
        }
    }

    /// The columns of the rows over the columns of groups, after (or, with a suffix, before).
    pub(super) fn outputs(&self, suffix: &str) -> Vec<String> {
        let column = |position: usize| self.group_column(position, suffix);
        let outputs = self.grouping.outputs.iter().zip(self.columns);
        outputs
            .map(|(output, name)| format!("{} AS {name}", sql(output, &column)))
            .collect()
    }

    fn group_column(&self, position: usize, suffix: &str) -> String {
        self.column_of(position, "changed.", suffix)
    }

    /// A column of the groups over their columns in the statement.
    pub(super) fn column_of(&self, position: usize, prefix: &str, suffix: &str) -> String {
        if let Some((name, _)) = self.keys.get(position) {
            return format!("{prefix}{name}");
        }
        let partial = |number: usize| format!("{prefix}{}{suffix}", self.partials[number].name);
        let rows = format!("{prefix}row_count{suffix}");
        format!("({})", self.told(position).value(&rows, &partial))
    }

    /// How the aggregate is told that is this column of the groups.
    pub(super) fn told(&self, position: usize) -> &Told {
        &self.told[position - self.keys.len()]
    }

    /// The materialized view's columns, with what they show.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&String, &Expression)> {
        self.columns.iter().zip(&self.grouping.outputs)
    }

    /// Those that are no keys as they are.
    pub(super) fn shown_values(&self) -> impl Iterator<Item = (&String, &Expression)> {
        self.shown().filter(|(_, output)| {
            !matches!(output.kind, Kind::Column(position) if position < self.keys.len())
        })
    }
}
