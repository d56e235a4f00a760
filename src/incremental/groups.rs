//! Grouping: signed partial sums per group, merged into the stored ones; rows before and after come from both.

use super::blocks::Block;
use super::partials::{Partial, Partials, Told};
use super::print::sql;
use super::program::{Grouping, Names, Target};
use super::recompute;
use super::terms::Writer;
use crate::definition::{AggregateCall, AggregateFunction, Expression};

/// A grouping with its state.
#[derive(Debug)]
pub(super) struct Grouped<'a> {
    grouping: &'a Grouping,
    pub(super) names: &'a Names,
    /// The sum of blocks that gives the keys and what the partial values are computed from.
    pub(super) inputs: Vec<Block>,
    pub(super) keys: Vec<(String, Expression)>,
    pub(super) partials: Vec<Partial>,
    told: Vec<Told>,
    pub(super) state: String,
}

impl<'a> Grouped<'a> {
    pub(super) fn new(
        grouping: &'a Grouping,
        blocks: &[Block],
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
        Self {
            grouping,
            names,
            inputs,
            keys,
            partials,
            told,
            state: target.in_module(&format!("state${}", target.mv_id)),
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

    pub(super) fn input_names(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|(name, _)| name.clone());
        keys.chain(self.partials.iter().map(|partial| partial.name.clone()))
            .collect()
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

    /// `left` and `right` hold the same group.
    pub(super) fn same_group(&self, left: &str, right: &str) -> String {
        if self.keys.is_empty() {
            return "true".to_owned();
        }
        let has_null = self.keys.iter().any(|(_, key)| key.is_nullable);
        let mut conditions = Vec::new();
        if has_null {
            // IS NOT DISTINCT FROM can use neither index nor hash
            conditions.push(format!(
                "{} = {}",
                self.key_hash(left),
                self.key_hash(right)
            ));
        }
        conditions.extend(self.keys.iter().map(|(name, key)| {
            let operator = if key.is_nullable {
                "IS NOT DISTINCT FROM"
            } else {
                "="
            };
            format!("{left}{name} {operator} {right}{name}")
        }));
        conditions.join(" AND ")
    }

    pub(super) fn key_hash(&self, prefix: &str) -> String {
        let fields: Vec<String> = self
            .keys
            .iter()
            .map(|(name, _)| format!("{prefix}{name}"))
            .collect();
        format!("hash_record_extended(ROW({}), 0)", fields.join(", "))
    }

    /// The parts of the statement from the difference of the input to the difference of the rows.
    pub(super) fn parts(&self, writer: &Writer<'_>, columns: &[String]) -> Vec<(String, String)> {
        let mut parts = vec![(
            "input_changes AS".to_owned(),
            format!(
                "    -- difference of the rows that are grouped\n{}",
                writer.difference(&self.inputs, &self.input_names())
            ),
        )];
        let mut from = "input_changes";
        if self.may_be_stale() {
            // a pair of equal rows that cancel must not look like one that came and one that went
            parts.push(("net_input_changes AS".to_owned(), self.net_input()));
            from = "net_input_changes";
        }
        parts.push(("group_changes AS".to_owned(), self.group_changes(from)));
        parts.push((
            "merged_groups AS MATERIALIZED".to_owned(),
            self.merged_groups(),
        ));
        if self.may_be_stale() {
            parts.push((
                "recomputed_groups AS MATERIALIZED".to_owned(),
                recompute::recomputed_groups(self, &self.input_names()),
            ));
            parts.push((
                "new_groups AS MATERIALIZED".to_owned(),
                recompute::new_groups(self),
            ));
        }
        parts.extend(self.state_parts());
        parts.push(("row_changes AS".to_owned(), self.row_changes(columns)));
        parts
    }

    pub(super) fn groups_name(&self) -> &'static str {
        if self.may_be_stale() {
            "new_groups"
        } else {
            "merged_groups"
        }
    }

    /// A group is there as long as it has rows; that of a query without GROUP BY always.
    pub(super) fn is_there(&self, prefix: &str) -> String {
        if self.keys.is_empty() {
            "true".to_owned()
        } else {
            format!("{prefix}row_count > 0")
        }
    }

    // rows before = the query's expressions over stored groups, rows after = over new ones
    fn row_changes(&self, columns: &[String]) -> String {
        let (groups, weight) = (self.groups_name(), &self.names.weight);
        let select = |prefix: &str, sign: &str, from: &str, there: &str| {
            let column = |position: usize| self.group_column(position, prefix);
            let outputs: String = self
                .grouping
                .outputs
                .iter()
                .zip(columns)
                .map(|(output, name)| format!("{} AS {name}, ", sql(output, &column)))
                .collect();
            let mut conditions = vec![there.to_owned()];
            conditions.extend(
                self.grouping
                    .conditions
                    .iter()
                    .map(|condition| sql(condition, &column)),
            );
            format!(
                "    SELECT {outputs}{sign}1 AS {weight}\n    FROM {from}\n    WHERE {}",
                conditions.join(" AND ")
            )
        };
        let before = format!(
            "{groups} AS changed JOIN ONLY {} AS stored ON stored.ctid = changed.{}",
            self.state, self.names.address
        );
        format!(
            "    -- the rows of changed groups: minus as they were, plus as they are\n{}\n    UNION ALL\n{}",
            select("stored.", "-", &before, &self.is_there("stored.")),
            select(
                "changed.",
                "",
                &format!("{groups} AS changed"),
                &self.is_there("changed.")
            ),
        )
    }

    fn group_column(&self, position: usize, prefix: &str) -> String {
        if let Some((name, _)) = self.keys.get(position) {
            return format!("{prefix}{name}");
        }
        let partial = |number: usize| format!("{prefix}{}", self.partials[number].name);
        let value =
            self.told[position - self.keys.len()].value(&format!("{prefix}row_count"), &partial);
        format!("({value})")
    }

    /// What to add to the number of rows that should have been there.
    pub(super) fn missing(&self) -> String {
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
