//! Where the values of a group are kept, and how stored rows are found by a key.

use super::groups::Grouped;
use super::partials::{Partial, Told};
use super::program::Grouping;
use crate::definition::Kind;

/// Where counts, sums and extrema of the groups are kept.
#[derive(Debug, Clone)]
pub(super) enum Storage {
    /// In a table beside the materialized view, whose columns are called as in the statement.
    State(String),
    /// In the materialized view itself, whose columns show all of them.
    View(ViewColumns),
}

/// The columns of a materialized view that show what is kept of its groups.
#[derive(Debug, Clone)]
pub(super) struct ViewColumns {
    table: String,
    keys: Vec<String>,
    row_count: String,
    partials: Vec<String>,
}

impl ViewColumns {
    /// The columns, if every group is shown, with its key, its number of rows and every partial value.
    pub(super) fn of(
        grouping: &Grouping,
        partials: &[Partial],
        told: &[Told],
        columns: &[String],
        table: &str,
    ) -> Option<Self> {
        if !grouping.conditions.is_empty() {
            return None;
        }
        let keys = shown_keys(grouping)?;
        // for each output that is an aggregate as it is: which
        let shown =
            grouping
                .outputs
                .iter()
                .zip(columns)
                .filter_map(|(output, column)| match output.kind {
                    Kind::Column(position) => {
                        let aggregate = position.checked_sub(grouping.keys.len())?;
                        Some((&told[aggregate], column))
                    }
                    _ => None,
                });
        let mut row_count = None;
        let mut found: Vec<Option<String>> = vec![None; partials.len()];
        for (told, column) in shown {
            match told.shows() {
                Shown::Rows => row_count = Some(column.clone()),
                Shown::Partial(position) => found[position] = Some(column.clone()),
                Shown::Neither => {}
            }
        }
        Some(Self {
            table: table.to_owned(),
            keys: keys.into_iter().map(|key| columns[key].clone()).collect(),
            row_count: row_count?,
            partials: found.into_iter().collect::<Option<_>>()?,
        })
    }
}

/// What an aggregate shown as it is tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Rows,
    Partial(usize),
    Neither,
}

/// For each key the position of an output that shows it as it is.
pub(super) fn shown_keys(grouping: &Grouping) -> Option<Vec<usize>> {
    (0..grouping.keys.len())
        .map(|key| {
            grouping
                .outputs
                .iter()
                .position(|output| matches!(output.kind, Kind::Column(shown) if shown == key))
        })
        .collect()
}

impl Grouped<'_> {
    pub(super) fn is_in_view(&self) -> bool {
        matches!(self.storage, Storage::View(_))
    }

    pub(super) fn stored_table(&self) -> &str {
        match &self.storage {
            Storage::State(table) => table,
            Storage::View(view) => &view.table,
        }
    }

    pub(super) fn stored_count(&self) -> &str {
        match &self.storage {
            Storage::State(_) => "row_count",
            Storage::View(view) => &view.row_count,
        }
    }

    pub(super) fn stored_partial(&self, position: usize) -> &str {
        match &self.storage {
            Storage::State(_) => &self.partials[position].name,
            Storage::View(view) => &view.partials[position],
        }
    }

    pub(super) fn stored_keys(&self) -> Vec<Key> {
        self.keys
            .iter()
            .enumerate()
            .map(|(position, (name, key))| Key {
                name: match &self.storage {
                    Storage::State(_) => name.clone(),
                    Storage::View(view) => view.keys[position].clone(),
                },
                is_nullable: key.is_nullable,
            })
            .collect()
    }
}

/// A column by which stored rows are found.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) is_nullable: bool,
}

/// That `left` and `right` hold the same key, by columns in the same order.
pub(super) fn same_key(left: &str, keys: &[Key], right: &str, names: &[String]) -> String {
    if keys.is_empty() {
        return "true".to_owned();
    }
    let mut conditions = Vec::new();
    if keys.iter().any(|key| key.is_nullable) {
        // IS NOT DISTINCT FROM can use neither index nor hash
        let own: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
        conditions.push(format!(
            "{} = {}",
            key_hash(left, &own),
            key_hash(right, names)
        ));
    }
    conditions.extend(keys.iter().zip(names).map(|(key, name)| {
        let operator = if key.is_nullable {
            "IS NOT DISTINCT FROM"
        } else {
            "="
        };
        format!("{left}{} {operator} {right}{name}", key.name)
    }));
    conditions.join(" AND ")
}

/// The hash by which keys that may be NULL are found.
pub(super) fn key_hash(prefix: &str, names: &[String]) -> String {
    let fields: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    format!("hash_record_extended(ROW({}), 0)", fields.join(", "))
}

/// The index by which rows are found; none for a single row.
pub(super) fn key_index(table: &str, keys: &[Key], is_unique: bool) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let names: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
    Some(if keys.iter().any(|key| key.is_nullable) {
        format!("CREATE INDEX ON {table} (({}));", key_hash("", &names))
    } else {
        let unique = if is_unique { "UNIQUE " } else { "" };
        format!("CREATE {unique}INDEX ON {table} ({});", names.join(", "))
    })
}
