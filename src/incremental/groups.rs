//! Grouping: signed partial sums per group, merged into the stored ones; rows before and after come from both.

use super::blocks::Block;
use super::identity::identity;
use super::partials::{Partial, PartialKind, Partials, Told};
use super::print::sql;
use super::program::{Grouping, Names, StateTable, Target};
use super::recompute;
use super::terms::Writer;
use crate::definition::{AggregateCall, AggregateFunction, Expression};
use crate::sql::identifier;

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
    state: String,
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

    fn input_names(&self) -> Vec<String> {
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

    fn key_hash(&self, prefix: &str) -> String {
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

    fn net_input(&self) -> String {
        let described = self
            .keys
            .iter()
            .map(|(name, key)| (name, key))
            .chain(self.partials.iter().map(|p| (&p.name, &p.over)));
        let mut by = Vec::new();
        for (name, expression) in described {
            // aggregated types all have an identity
            by.extend(identity(expression, name).unwrap_or_else(|| vec![name.clone()]));
        }
        let weight = &self.names.weight;
        let values: Vec<String> = self
            .keys
            .iter()
            .map(|(name, key)| (name, key))
            .chain(self.partials.iter().map(|p| (&p.name, &p.over)))
            .map(|(name, expression)| {
                let is_grouped =
                    identity(expression, name).is_none_or(|terms| terms.contains(name));
                if is_grouped {
                    name.clone()
                } else {
                    format!("(array_agg({name}))[1] AS {name}")
                }
            })
            .collect();
        let group_by = if by.is_empty() {
            String::new()
        } else {
            format!("\n    GROUP BY {}", by.join(", "))
        };
        let list: String = values.iter().map(|value| format!("{value}, ")).collect();
        format!(
            "    SELECT {list}sum({weight})::int8 AS {weight}\n    FROM input_changes{group_by}\n    HAVING sum({weight}) <> 0"
        )
    }

    // Δ group = signed partial sums; of extrema what came and what went, apart
    fn group_changes(&self, from: &str) -> String {
        let weight = &self.names.weight;
        let mut columns = vec![format!(
            "{}coalesce(sum({weight}), 0)::int8 AS row_count",
            self.key_list("")
        )];
        for partial in &self.partials {
            let name = &partial.name;
            let data_type = partial.data_type();
            match partial.kind {
                PartialKind::Count => columns.push(format!(
                    "coalesce(sum({weight}) FILTER (WHERE {name}), 0)::int8 AS {name}"
                )),
                PartialKind::Sum => {
                    let finite = if partial.may_be_infinite() {
                        format!(" FILTER (WHERE {name} NOT IN ({NOT_FINITE}))")
                    } else {
                        String::new()
                    };
                    columns.push(format!("coalesce(sum({weight} * {name}::{data_type}){finite}, 0)::{data_type} AS {name}"));
                    if partial.may_be_infinite() {
                        columns.push(format!("coalesce(bool_or({name} IN ({NOT_FINITE})), false) AS {name}_not_finite"));
                    }
                    if partial.has_digits_to_watch() {
                        columns.push(format!(
                            "max(scale({name})) FILTER (WHERE {weight} < 0) AS {name}_digits_gone"
                        ));
                    }
                }
                PartialKind::Min | PartialKind::Max => {
                    let function = extremum(partial.kind);
                    columns.push(format!(
                        "{function}({name}) FILTER (WHERE {weight} > 0) AS {name}"
                    ));
                    columns.push(format!(
                        "{function}({name}) FILTER (WHERE {weight} < 0) AS {name}_gone"
                    ));
                }
            }
        }
        let keys = self.key_list("");
        let group_by = if self.keys.is_empty() {
            String::new()
        } else {
            format!("\n    GROUP BY {}", keys.trim_end_matches(", "))
        };
        format!(
            "    -- by how much counts and sums of each group change\n    SELECT {}\n    FROM {from}{group_by}",
            columns.join(",\n           ")
        )
    }

    fn merged_groups(&self) -> String {
        let address = &self.names.address;
        let mut columns = vec![
            format!("{}stored.ctid AS {address}", self.key_list("change.")),
            "coalesce(stored.row_count, 0) + change.row_count AS row_count".to_owned(),
        ];
        let mut stale = Vec::new();
        for partial in &self.partials {
            let name = &partial.name;
            columns.push(match partial.kind {
                PartialKind::Count | PartialKind::Sum => {
                    format!("coalesce(stored.{name}, 0) + change.{name} AS {name}")
                }
                PartialKind::Min => format!("least(stored.{name}, change.{name}) AS {name}"),
                PartialKind::Max => format!("greatest(stored.{name}, change.{name}) AS {name}"),
            });
            match partial.kind {
                PartialKind::Min => stale.push(format!("change.{name}_gone <= stored.{name}")),
                PartialKind::Max => stale.push(format!("change.{name}_gone >= stored.{name}")),
                PartialKind::Sum if partial.may_be_infinite() => {
                    stale.push(format!(
                        "change.{name}_not_finite OR stored.{name} IN ({NOT_FINITE})"
                    ));
                    if partial.has_digits_to_watch() {
                        stale.push(format!(
                            "change.{name}_digits_gone >= greatest(scale(stored.{name}), 1)"
                        ));
                    }
                }
                PartialKind::Count | PartialKind::Sum => {}
            }
        }
        if !stale.is_empty() {
            columns.push(format!(
                "coalesce({}, false) AS {}",
                or_of_nullable(&stale),
                self.names.stale
            ));
        }
        format!(
            "    -- the groups with their new counts and sums{}\n    SELECT {}\n    FROM group_changes AS change\n    LEFT JOIN ONLY {} AS stored ON {}",
            if stale.is_empty() {
                ""
            } else {
                "; stale where what was taken away may have been the value itself"
            },
            columns.join(",\n           "),
            self.state,
            self.same_group("stored.", "change."),
        )
    }

    fn groups_name(&self) -> &'static str {
        if self.may_be_stale() {
            "new_groups"
        } else {
            "merged_groups"
        }
    }

    /// A group is there as long as it has rows; that of a query without GROUP BY always.
    fn is_there(&self, prefix: &str) -> String {
        if self.keys.is_empty() {
            "true".to_owned()
        } else {
            format!("{prefix}row_count > 0")
        }
    }

    fn state_columns(&self) -> Vec<String> {
        let partials = self.partials.iter().map(|partial| partial.name.clone());
        ["row_count".to_owned()]
            .into_iter()
            .chain(partials)
            .collect()
    }

    fn state_parts(&self) -> Vec<(String, String)> {
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
            fill: format!(
                "INSERT INTO {} ({keys}{})\n{}",
                self.state,
                self.state_columns().join(", "),
                recompute::groups_now(self, &self.input_names(), &[], &|_, _| Vec::new()),
            ),
        }
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

/// Values of numeric that a sum can't lose again.
const NOT_FINITE: &str = "'NaN', 'Infinity', '-Infinity'";

fn extremum(kind: PartialKind) -> &'static str {
    if kind == PartialKind::Min {
        "min"
    } else {
        "max"
    }
}

fn or_of_nullable(conditions: &[String]) -> String {
    conditions
        .iter()
        .map(|condition| format!("({condition})"))
        .collect::<Vec<_>>()
        .join(" OR ")
}

fn column_definition(name: &str, expression: &Expression, data_type: &str) -> String {
    match &expression.collation {
        Some(collation) if expression.data_type.is_collatable() => {
            format!("{} {data_type} COLLATE {collation}", identifier(name))
        }
        _ => format!("{} {data_type}", identifier(name)),
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
