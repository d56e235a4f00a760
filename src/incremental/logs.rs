//! The pending changes of each base table, and their net.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::Block;
use super::identity::{identity, is_identical_if_equal};
use super::names::{free_name, is_part};
use super::program::{LoggedTable, Target};
use crate::definition::{Expression, Kind, Refusal, Relation};
use crate::sql::identifier;

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
    /// The variable that says how many pending rows there are at most.
    pub(super) limit: String,
    /// The variable that says whether there are no others in the log, where that makes a difference: where they are joined.
    pub(super) all: Option<String>,
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

    /// A column as the log calls it.
    pub(super) fn logged_column(&self, position: usize) -> String {
        format!("c{}", self.relation.columns[position].attnum)
    }

    /// A column as an expression.
    fn expression(&self, position: usize) -> Expression {
        let column = &self.relation.columns[position];
        Expression {
            kind: Kind::Column(position),
            data_type: column.data_type.clone(),
            collation: column.collation.clone(),
            scale: column.scale(),
            is_nullable: true,
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
                !is_part(name) && tables.values().all(|table| table.changes != name)
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
                limit: String::new(),
                all: None,
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
    for (table, number) in tables.values_mut().zip(1..) {
        table.limit = limit(number);
        let joins = |block: &&Block| {
            block.scans.len() > 1
                && block
                    .scans
                    .iter()
                    .any(|scan| scan.oid == table.relation.oid)
        };
        table.all = blocks.iter().find(joins).map(|_| all(number));
    }
    Ok(tables)
}

/// The variable that says how many pending rows of a table, by its place among all, there are at most.
pub(super) fn limit(number: usize) -> String {
    format!("at_most_{number}")
}

/// The variable that says whether a log, by the place of its table among all, has no other rows than pending ones.
pub(super) fn all(number: usize) -> String {
    format!("all_{number}")
}

/// The pending rows of a log: of transactions that the watermark had not seen.
pub(super) fn pending() -> &'static str {
    "xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)"
}

/// The same, but without a condition where the log is known to have no others: by the condition the planner would expect a
/// fraction only. (Of transactions that the watermark has seen no more rows come.)
pub(super) fn pending_if_not(all: &str) -> String {
    format!("({all} OR {})", pending())
}

/// Which base tables have changed, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Changed<'a> {
    /// Any.
    Any,
    /// Only these, of whose pending rows the statement is told how many they are.
    Only(&'a BTreeSet<u32>),
    /// Only this one, by few rows, which the statement counts itself.
    Few(u32),
}

impl Changed<'_> {
    /// Whether a table may have changed.
    pub(super) fn may(self, oid: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only.contains(&oid),
            Self::Few(only) => only == oid,
        }
    }

    /// The only table that has.
    pub(super) fn alone(self) -> Option<u32> {
        match self {
            Self::Only(only) if only.len() == 1 => only.first().copied(),
            Self::Few(only) => Some(only),
            Self::Any | Self::Only(_) => None,
        }
    }

    /// Whether it is known; then what else there is makes the statement do nothing.
    pub(super) fn is_foreseen(self) -> bool {
        !matches!(self, Self::Any)
    }

    /// Which of the pending rows are read.
    pub(super) fn reading(self) -> Reading {
        match self {
            Self::Any => Reading::All,
            Self::Only(_) => Reading::Foreseen,
            Self::Few(_) => Reading::Few,
        }
    }
}

/// Which of the pending rows a statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// All of them.
    All,
    /// All of them, if there are no others than were foreseen; else none. The limit cuts nothing off: it tells the
    /// planner how many there are at most.
    Foreseen,
    /// All of them, which are the part `pending_changes`, if there are few and no others; else none.
    Few,
}

impl ChangedTable {
    /// An item of FROM: these columns (as the log calls them) and `weight` of the pending rows.
    pub(super) fn pending_rows(&self, reading: Reading, columns: &[usize]) -> String {
        match reading {
            Reading::All => format!("{}\n    WHERE {}", self.log, pending()),
            Reading::Few => "pending_changes\n    WHERE (SELECT is_so FROM foreseen)".to_owned(),
            Reading::Foreseen => {
                let condition = match &self.all {
                    Some(all) => pending_if_not(all),
                    None => pending().to_owned(),
                };
                let listed: String = columns
                    .iter()
                    .map(|position| format!("{}, ", self.logged_column(*position)))
                    .collect();
                format!(
                    "(\n        SELECT {listed}weight FROM {}\n        WHERE {condition} AND (SELECT is_so FROM foreseen)\n        LIMIT {}\n    ) AS pending",
                    self.log, self.limit,
                )
            }
        }
    }

    fn all_columns(&self) -> Vec<usize> {
        self.columns.iter().copied().collect()
    }

    fn comment(&self, what: &str) -> String {
        let comment = format!(
            "-- {what} of {}.{} since the watermark",
            self.relation.schema, self.relation.name
        );
        comment.replace(['\n', '\r'], " ")
    }

    /// The logged images with their weights, as they are.
    pub(super) fn images(&self, weight: &str, reading: Reading) -> String {
        let columns = self.all_columns();
        let marker = match reading {
            Reading::All => " AND weight <> 0",
            Reading::Foreseen | Reading::Few => "",
        };
        format!(
            "    {}\n    SELECT {}weight::int4 AS {weight}\n    FROM {}{marker}",
            self.comment("changes"),
            self.outputs(&columns),
            self.pending_rows(reading, &columns),
        )
    }

    fn outputs(&self, columns: &[usize]) -> String {
        columns
            .iter()
            .map(|position| {
                format!(
                    "{} AS {}, ",
                    self.logged_column(*position),
                    identifier(&self.relation.columns[*position].name)
                )
            })
            .collect()
    }

    /// Δ scan = the logged images with their weights; those that cancel are left out.
    pub(super) fn net_changes(&self, weight: &str, reading: Reading) -> String {
        let columns = self.all_columns();
        // where a type can't be compared byte for byte, images that cancel stay in: they add up to nothing later
        let is_comparable = columns
            .iter()
            .all(|position| is_identical_if_equal(&self.expression(*position)));
        if !is_comparable {
            return self.images(weight, reading);
        }
        format!(
            "    {}\n    SELECT {}sum(weight)::int8 AS {weight}\n    FROM {}{}\n    HAVING sum(weight) <> 0",
            self.comment("net change"),
            self.outputs(&columns),
            self.pending_rows(reading, &columns),
            self.grouped_by(&columns),
        )
    }

    /// The logged images by these columns: how many more (or, negative, fewer) of each there are now, also where as many.
    pub(super) fn images_by(&self, columns: &[usize], weight: &str, reading: Reading) -> String {
        format!(
            "    {}\n    SELECT {}sum(weight)::int8 AS {weight}\n    FROM {}{}",
            self.comment("images, by the columns on which it depends which rows there are,"),
            self.outputs(columns),
            self.pending_rows(reading, columns),
            self.grouped_by(columns),
        )
    }

    /// Old images of which there are fewer now, told apart by these columns only.
    pub(super) fn gone_images(&self, columns: &[usize], reading: Reading) -> String {
        format!(
            "    -- what is no more\n    SELECT {}\n    FROM {}{}\n    HAVING sum(weight) < 0",
            self.outputs(columns).trim_end_matches(", "),
            self.pending_rows(reading, columns),
            self.grouped_by(columns),
        )
    }

    /// Whether images can be told apart by these columns with GROUP BY.
    pub(super) fn are_identical_if_equal(&self, columns: &[usize]) -> bool {
        columns
            .iter()
            .all(|position| is_identical_if_equal(&self.expression(*position)))
    }

    fn grouped_by(&self, columns: &[usize]) -> String {
        let keys: Vec<String> = columns
            .iter()
            .flat_map(|position| {
                let text = self.logged_column(*position);
                identity(&self.expression(*position), &text).unwrap_or_else(|| vec![text])
            })
            .collect();
        if keys.is_empty() {
            String::new()
        } else {
            format!("\n    GROUP BY {}", keys.join(", "))
        }
    }
}
