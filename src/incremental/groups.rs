//! Grouping: signed partial sums per group, merged into the stored ones; the rows of groups follow from these.

use super::blocks::Block;
use super::merge::Input;
use super::names::Names;
use super::partials::{Partial, Partials, Told};
use super::print::sql;
use super::program::{Grouping, Target};
use super::rows::KeyedRows;
use super::stored::{Storage, ViewColumns, shown_keys};
use super::terms::Writer;
use super::{added_up, recompute};
use crate::definition::{AggregateCall, AggregateFunction, Expression, Kind};

/// A grouping, and where its groups are kept.
#[derive(Debug)]
pub(super) struct Grouped<'a> {
    grouping: &'a Grouping,
    pub(super) names: &'a Names,
    /// The materialized view's columns.
    columns: &'a [String],
    /// The sum of blocks that gives the keys and what the partial values are computed from.
    pub(super) inputs: Vec<Block>,
    pub(super) keys: Vec<(String, Expression)>,
    pub(super) partials: Vec<Partial>,
    told: Vec<Told>,
    pub(super) storage: Storage,
}

/// Parts of a statement that lead to rows, and what the rest of it has to know of them.
#[derive(Debug)]
pub(super) struct Parts {
    /// Their heads and bodies.
    pub(super) list: Vec<(String, String)>,
    /// Whether the rows come with whether they were there before.
    pub(super) knows_before: bool,
    /// What to add to the number of rows that should have been there.
    pub(super) missing: String,
    /// When the statement can't be sure to be enough and has done nothing.
    pub(super) unforeseen: Option<String>,
    /// Where the rows are written already.
    pub(super) written: Option<Written>,
}

/// What became of the rows.
#[derive(Debug)]
pub(super) struct Written {
    /// The number of those updated.
    pub(super) updated: &'static str,
    /// The number of those that should have been there.
    pub(super) missing: &'static str,
}

impl Parts {
    /// Parts that need no word about them.
    pub(super) fn plain(list: Vec<(String, String)>) -> Self {
        Self {
            list,
            knows_before: false,
            missing: String::new(),
            unforeseen: None,
            written: None,
        }
    }
}

impl<'a> Grouped<'a> {
    pub(super) fn new(
        grouping: &'a Grouping,
        blocks: &[Block],
        columns: &'a [String],
        names: &'a Names,
        target: &Target,
    ) -> Self {
        let (inputs, partials, told) = inputs(grouping, blocks);
        let keys = grouping
            .keys
            .iter()
            .enumerate()
            .map(|(number, key)| (format!("key_{}", number + 1), key.clone()))
            .collect();
        let view = target.view_text();
        let storage = match ViewColumns::of(grouping, &partials, &told, columns, &view) {
            Some(view) => Storage::View(view),
            None => Storage::State(target.in_module(&format!("state${}", target.mv_id))),
        };
        Self {
            grouping,
            names,
            columns,
            inputs,
            keys,
            partials,
            told,
            storage,
        }
    }

    /// What the rows of the materialized view consist of.
    pub(super) fn output_expressions(&self) -> Vec<Expression> {
        self.grouping
            .outputs
            .iter()
            .enumerate()
            .map(|(position, output)| output.as_column(position))
            .collect()
    }

    /// The rows by the keys of the groups, if these are shown.
    pub(super) fn keyed_rows(&self, target: &Target) -> Option<KeyedRows<'a>> {
        let shown = shown_keys(self.grouping)?;
        let keys = shown.into_iter().zip(&self.keys);
        Some(KeyedRows {
            view: target.view_text(),
            columns: self.columns,
            outputs: &self.grouping.outputs,
            key: keys
                .map(|(output, (_, key))| (output, key.is_nullable))
                .collect(),
            names: self.names,
        })
    }

    pub(super) fn input_names(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|(name, _)| name.clone());
        keys.chain(self.partials.iter().map(|partial| partial.name.clone()))
            .collect()
    }

    pub(super) fn key_names(&self) -> Vec<String> {
        self.keys.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn key_list(&self, prefix: &str) -> String {
        self.keys
            .iter()
            .map(|(name, _)| format!("{prefix}{name}, "))
            .collect()
    }

    pub(super) fn may_be_stale(&self) -> bool {
        self.partials.iter().any(Partial::may_be_stale)
    }

    /// The parts of the statement from the difference of the input to the rows (`target_rows`, or `found_rows` where the
    /// groups are kept in them, or signed `row_changes` where rows have no key).
    pub(super) fn parts(&self, writer: &Writer<'_>, rows: Option<&KeyedRows<'_>>) -> Parts {
        let mut parts = Vec::new();
        let is_additive = self.partials.iter().all(Partial::is_additive);
        let mut input = Input::Net;
        let needs_no_net = self
            .inputs
            .iter()
            .all(|block| added_up::needs_no_net(block, writer));
        let is_direct = is_additive && needs_no_net;
        let added_up = (!is_direct)
            .then(|| added_up::input(self, writer))
            .flatten();
        if let Some(added_up) = added_up {
            parts.extend(added_up);
            input = Input::AddedUp;
        } else {
            if is_direct {
                input = Input::Images;
            }
            parts.extend(writer.changes(|_| needs_no_net, &self.inputs));
            parts.push((
                "input_changes AS".to_owned(),
                format!(
                    "    -- difference of the rows that are grouped\n{}",
                    writer.difference(&self.inputs, &self.input_names())
                ),
            ));
        }
        let mut from = "input_changes";
        if !is_additive {
            // a pair of equal rows that cancel must not look like one that came and one that went
            parts.push(("net_input_changes AS".to_owned(), self.net_input()));
            from = "net_input_changes";
        }
        if let Some(rows) = rows.filter(|_| self.is_straight(writer)) {
            let changes = self.group_changes(from, input) + &self.order_of_stored();
            parts.push(("group_changes AS MATERIALIZED".to_owned(), changes));
            let (written_by, written) = self.straight_parts(rows);
            parts.extend(written_by);
            return Parts {
                unforeseen: Some("NOT (SELECT is_so FROM workable)".to_owned()),
                written: Some(written),
                ..Parts::plain(parts)
            };
        }
        parts.push((
            "group_changes AS".to_owned(),
            self.group_changes(from, input),
        ));
        parts.push((
            "merged_groups AS MATERIALIZED".to_owned(),
            self.merged_groups(),
        ));
        let mut unforeseen = None;
        if self.may_be_stale() {
            // NaN and the like are rare: then the statement that knows all does it
            if is_additive && writer.changed.is_foreseen() {
                parts.push((
                    "new_groups AS".to_owned(),
                    recompute::groups_if_none_is_stale(self),
                ));
                unforeseen = Some(recompute::any_is_stale(self));
            } else {
                parts.push((
                    "recomputed_groups AS MATERIALIZED".to_owned(),
                    recompute::recomputed_groups(self, &self.input_names()),
                ));
                parts.push((
                    "new_groups AS MATERIALIZED".to_owned(),
                    recompute::new_groups(self),
                ));
            }
        }
        if self.is_in_view() {
            parts.push(("found_rows AS".to_owned(), self.found_rows()));
        } else {
            parts.extend(self.state_parts());
            parts.push(if rows.is_some() {
                ("target_rows AS".to_owned(), self.target_rows())
            } else {
                ("row_changes AS".to_owned(), self.row_changes())
            });
        }
        Parts {
            list: parts,
            knows_before: !self.is_in_view() && rows.is_some(),
            missing: self.missing(),
            unforeseen,
            written: None,
        }
    }

    pub(super) fn groups_name(&self) -> &'static str {
        if self.may_be_stale() {
            "new_groups"
        } else {
            "merged_groups"
        }
    }

    /// A group is there as long as it has rows; that of a query without GROUP BY always.
    pub(super) fn has_rows(&self, prefix: &str) -> String {
        if self.keys.is_empty() {
            "true".to_owned()
        } else {
            format!("{prefix}row_count > 0")
        }
    }

    // groups that are kept in the rows: where they are stored is known
    fn found_rows(&self) -> String {
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
    fn target_rows(&self) -> String {
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

    fn row_changes(&self) -> String {
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
    fn is_shown(&self, suffix: &str) -> String {
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
    fn outputs(&self, suffix: &str) -> Vec<String> {
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

    fn missing(&self) -> String {
        let without = if self.keys.is_empty() {
            format!(" OR {} IS NULL", self.names.address)
        } else {
            String::new()
        };
        format!("\n        + (SELECT count(*) FROM merged_groups WHERE row_count < 0{without})")
    }
}

/// The blocks that give keys and what partial values are computed from; the partial values; how aggregates are told.
pub(super) fn inputs(
    grouping: &Grouping,
    blocks: &[Block],
) -> (Vec<Block>, Vec<Partial>, Vec<Told>) {
    let mut partials = Partials::default();
    let told = grouping
        .aggregates
        .iter()
        .map(|call| partials.told_by(call))
        .collect();
    let over = partials.all.iter().map(|partial| partial.over.clone());
    let outputs: Vec<Expression> = grouping.keys.iter().cloned().chain(over).collect();
    let blocks = blocks
        .iter()
        .map(|block| block.computing(&outputs))
        .collect();
    (blocks, partials.all, told)
}

/// How an aggregate is maintained, in words.
pub(super) fn how(call: &AggregateCall) -> &'static str {
    let is_numeric = call
        .argument
        .as_ref()
        .is_some_and(|argument| argument.data_type.is("numeric"));
    match call.function {
        AggregateFunction::Min | AggregateFunction::Max => {
            "merged; the group is computed anew when its extremum goes"
        }
        AggregateFunction::Sum | AggregateFunction::Avg if is_numeric => {
            "added up; the group is computed anew when NaN, an infinity, or the value with the most digits goes"
        }
        AggregateFunction::Sum | AggregateFunction::Avg => "added up",
        AggregateFunction::Count | AggregateFunction::BoolAnd | AggregateFunction::BoolOr => {
            "counted"
        }
    }
}
