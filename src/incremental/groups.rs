//! Grouping: signed partial sums per group, merged into the stored ones; the rows of groups follow from these.

use super::blocks::Block;
use super::logs::Changed;
use super::merge::Input;
use super::names::Names;
use super::partials::{Partial, Partials, Told};
use super::program::{Grouping, Target};
use super::rows::KeyedRows;
use super::stored::{Storage, ViewColumns, shown_keys};
use super::terms::Writer;
use super::{added_up, recompute};
use crate::definition::{AggregateCall, AggregateFunction, Expression, Operator};

/// A grouping, and where its groups are kept.
#[derive(Debug)]
pub(super) struct Grouped<'a> {
    pub(super) grouping: &'a Grouping,
    pub(super) names: &'a Names,
    /// The materialized view's columns.
    pub(super) columns: &'a [String],
    /// The sum of blocks that gives the keys and what the partial values are computed from; none where other operators give it.
    pub(super) inputs: Vec<Block>,
    pub(super) keys: Vec<(String, Expression)>,
    pub(super) partials: Vec<Partial>,
    pub(super) told: Vec<Told>,
    pub(super) storage: Storage,
    /// The state table's place among those of the materialized view, from 1 on, and its name.
    pub(super) number: usize,
    pub(super) state_name: String,
    /// What the parts of its statement are called by before their names; the grouping at the root has none.
    pub(super) prefix: String,
    /// Whether the statement itself computes groups anew wherever it must.
    is_own_master: bool,
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

/// Groups that have to be computed anew, and the parts that they need.
pub(super) type Recomputed = (Vec<(String, String)>, String);

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
            None => Storage::State(target.in_module(&target.state_name(1))),
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
            number: 1,
            state_name: target.state_name(1),
            prefix: String::new(),
            is_own_master: false,
        }
    }

    /// One below other operators: what is kept of it is in the state table of this number.
    pub(super) fn below(self, number: usize, target: &Target) -> Self {
        Self {
            storage: Storage::State(target.in_module(&target.state_name(number))),
            number,
            state_name: target.state_name(number),
            prefix: format!("kept_{number}_"),
            is_own_master: true,
            ..self
        }
    }

    /// The name of a part of the statement.
    pub(super) fn part(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
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

    pub(super) fn is_additive(&self) -> bool {
        self.partials.iter().all(Partial::is_additive)
    }

    /// Whether a statement itself computes groups anew. NaN and the like are rare: then the statement that knows all does it.
    pub(super) fn recomputes(&self, changed: Changed<'_>) -> bool {
        let has_other = !self.is_own_master && self.is_additive() && changed.is_foreseen();
        self.may_be_stale() && !has_other
    }

    /// The parts of the statement from the difference of the input to the rows (`target_rows`, or `found_rows` where the
    /// groups are kept in them, or signed `row_changes` where rows have no key).
    pub(super) fn parts(&self, writer: &Writer<'_>, rows: Option<&KeyedRows<'_>>) -> Parts {
        let mut parts = Vec::new();
        let mut input = Input::Net;
        let needs_no_net = self
            .inputs
            .iter()
            .all(|block| added_up::needs_no_net(block, writer));
        let is_direct = self.is_additive() && needs_no_net;
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
        let mut recomputed = String::new();
        if self.recomputes(writer.changed) {
            recomputed = recompute::recomputed_groups(self, &self.input_names());
        }
        self.parts_over(parts, input, writer.changed, (Vec::new(), recomputed), rows)
    }

    /// The same from parts that end with `input_changes`; `recomputed` are the groups that have to be computed anew, and the
    /// parts that they need.
    pub(super) fn parts_over(
        &self,
        mut parts: Vec<(String, String)>,
        input: Input,
        changed: Changed<'_>,
        recomputed: Recomputed,
        rows: Option<&KeyedRows<'_>>,
    ) -> Parts {
        if let Some(rows) = rows.filter(|_| self.is_straight(changed)) {
            let from = self.net_part(&mut parts);
            let in_order = self.group_changes(&from, input) + &self.order_of_stored();
            parts.push(("group_changes AS MATERIALIZED".to_owned(), in_order));
            let (written_by, written) = self.straight_parts(rows);
            parts.extend(written_by);
            return Parts {
                unforeseen: Some("NOT (SELECT is_so FROM workable)".to_owned()),
                written: Some(written),
                ..Parts::plain(parts)
            };
        }
        let unforeseen = self.group_parts(&mut parts, input, changed, recomputed);
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

    /// The part with the rows to be grouped, those that cancel left out where that matters; its name.
    fn net_part(&self, parts: &mut Vec<(String, String)>) -> String {
        if self.is_additive() {
            return self.part("input_changes");
        }
        // a pair of equal rows that cancel must not look like one that came and one that went
        let net = self.part("net_input_changes");
        parts.push((format!("{net} AS"), self.net_input()));
        net
    }

    /// The parts from `input_changes` to the changed groups; when these can't be told and so are none.
    pub(super) fn group_parts(
        &self,
        parts: &mut Vec<(String, String)>,
        input: Input,
        changed: Changed<'_>,
        recomputed: Recomputed,
    ) -> Option<String> {
        let from = self.net_part(parts);
        parts.push((
            format!("{} AS", self.part("group_changes")),
            self.group_changes(&from, input),
        ));
        parts.push((
            format!("{} AS MATERIALIZED", self.part("merged_groups")),
            self.merged_groups(),
        ));
        if !self.may_be_stale() {
            return None;
        }
        let new_groups = self.part("new_groups");
        if !self.recomputes(changed) {
            parts.push((
                format!("{new_groups} AS"),
                recompute::groups_if_none_is_stale(self),
            ));
            return Some(recompute::any_is_stale(self));
        }
        parts.extend(recomputed.0);
        parts.push((
            format!("{} AS MATERIALIZED", self.part("recomputed_groups")),
            recomputed.1,
        ));
        parts.push((
            format!("{new_groups} AS MATERIALIZED"),
            recompute::new_groups(self),
        ));
        None
    }

    pub(super) fn groups_name(&self) -> String {
        self.part(if self.may_be_stale() {
            "new_groups"
        } else {
            "merged_groups"
        })
    }

    /// A group is there as long as it has rows; that of a query without GROUP BY always.
    pub(super) fn has_rows(&self, prefix: &str) -> String {
        if self.keys.is_empty() {
            "true".to_owned()
        } else {
            format!("{prefix}row_count > 0")
        }
    }

    pub(super) fn missing(&self) -> String {
        let without = if self.keys.is_empty() {
            format!(" OR {} IS NULL", self.names.address)
        } else {
            String::new()
        };
        format!(
            "\n        + (SELECT count(*) FROM {} WHERE row_count < 0{without})",
            self.part("merged_groups")
        )
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

/// The keys and what partial values are computed from, over rows of any kind.
pub(super) fn input_of(grouping: &Grouping, input: &Operator) -> Operator {
    let (_, partials, _) = inputs(grouping, &[]);
    let over = partials.into_iter().map(|partial| partial.over);
    Operator::Project {
        input: Box::new(input.clone()),
        outputs: grouping.keys.iter().cloned().chain(over).collect(),
    }
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
