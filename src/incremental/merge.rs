//! The changes of groups, and the groups they lead to.

use super::groups::Grouped;
use super::identity::{any_of_same, identity};
use super::partials::{Partial, PartialKind};
use super::stored::same_key;

impl Grouped<'_> {
    pub(super) fn net_input(&self) -> String {
        let described = || {
            self.keys
                .iter()
                .map(|(name, key)| (name, key))
                .chain(self.partials.iter().map(|p| (&p.name, &p.over)))
        };
        let mut by = Vec::new();
        let mut values = Vec::new();
        for (name, expression) in described() {
            // aggregated types all have an identity
            let terms = identity(expression, name).unwrap_or_else(|| vec![name.clone()]);
            values.push(if terms.contains(name) {
                name.clone()
            } else {
                format!("{} AS {name}", any_of_same(expression, name))
            });
            by.extend(terms);
        }
        let weight = &self.names.weight;
        let group_by = grouped_by(&by);
        let list: String = values.iter().map(|value| format!("{value}, ")).collect();
        format!(
            "    SELECT {list}sum({weight})::int8 AS {weight}\n    FROM {}{group_by}\n    HAVING sum({weight}) <> 0",
            self.part("input_changes"),
        )
    }

    // Δ group = signed partial sums; of extrema what came and what went, apart
    pub(super) fn group_changes(&self, from: &str, input: Input) -> String {
        let name = self.names.weight.as_str();
        let added: Vec<Vec<(String, String)>> = self
            .partials
            .iter()
            .map(|partial| match input {
                Input::AddedUp => re_added(partial),
                Input::Images => weighted(partial, &partial.name, Weight::Sign(name)),
                Input::Net => weighted(partial, &partial.name, Weight::Any(name)),
            })
            .collect();
        let rows = format!("coalesce(sum({name}), 0)::int8");
        let mut columns = vec![format!("{}{rows} AS row_count", self.key_list(""))];
        let sums = added.iter().flatten();
        columns.extend(sums.map(|(name, sum)| format!("{sum} AS {name}")));
        let having = if self.keys.is_empty() {
            // without changes nothing, as with GROUP BY: a statement that was not foreseen must not even compute anew
            "\n    HAVING count(*) > 0".to_owned()
        } else if self.partials.iter().all(Partial::is_additive) {
            let mut changes = vec![format!("sum({name}) <> 0")];
            changes.extend(added.iter().flat_map(|sums| is_change(sums)));
            format!("\n    HAVING {}", changes.join(" OR "))
        } else {
            String::new()
        };
        format!(
            "    -- by how much counts and sums of each group change\n    SELECT {}\n    FROM {from}{}{having}",
            columns.join(",\n           "),
            grouped_by(&self.key_names()),
        )
    }

    /// Whether the parts on groups also have the values before: needed where a change of a group may change no row.
    pub(super) fn keeps_before(&self) -> bool {
        !self.is_in_view() || !self.partials.iter().all(Partial::is_additive)
    }

    /// The columns with the values before.
    pub(super) fn before_list(&self, prefix: &str) -> String {
        if !self.keeps_before() {
            return String::new();
        }
        let names = self.state_columns();
        let before = names.iter().map(|name| format!(", {prefix}{name}_before"));
        before.collect()
    }

    pub(super) fn merged_groups(&self) -> String {
        let address = &self.names.address;
        let count = format!("stored.{}", self.stored_count());
        let mut columns = vec![
            format!("{}stored.ctid AS {address}", self.key_list("change.")),
            format!("coalesce({count}, 0) + change.row_count AS row_count"),
        ];
        let mut stale = Vec::new();
        for (position, partial) in self.partials.iter().enumerate() {
            let name = &partial.name;
            let stored = format!("stored.{}", self.stored_partial(position));
            columns.push(match partial.kind {
                PartialKind::Count | PartialKind::Sum => {
                    format!("coalesce({stored}, 0) + change.{name} AS {name}")
                }
                PartialKind::Min => format!("least({stored}, change.{name}) AS {name}"),
                PartialKind::Max => format!("greatest({stored}, change.{name}) AS {name}"),
            });
            match partial.kind {
                PartialKind::Min => stale.push(format!("change.{name}_gone <= {stored}")),
                PartialKind::Max => stale.push(format!("change.{name}_gone >= {stored}")),
                PartialKind::Sum if partial.may_be_infinite() => {
                    // with one of these in it, a sum is one of them
                    stale.push(format!(
                        "change.{name} IN ({NOT_FINITE}) OR {stored} IN ({NOT_FINITE})"
                    ));
                    if partial.has_digits_to_watch() {
                        stale.push(format!(
                            "change.{name}_digits_gone >= greatest(scale({stored}), 1)"
                        ));
                    }
                }
                PartialKind::Count | PartialKind::Sum => {}
            }
        }
        if self.keeps_before() {
            let stored = (0..self.partials.len()).map(|partial| {
                (
                    self.partials[partial].name.clone(),
                    format!("stored.{}", self.stored_partial(partial)),
                )
            });
            columns.extend(
                [("row_count".to_owned(), count)]
                    .into_iter()
                    .chain(stored)
                    .map(|(name, stored)| format!("{stored} AS {name}_before")),
            );
        }
        if !stale.is_empty() {
            columns.push(format!(
                "coalesce({}, false) AS {}",
                or_of_nullable(&stale),
                self.names.stale
            ));
        }
        format!(
            "    -- the groups with their new counts and sums{}\n    SELECT {}\n    FROM {} AS change\n    LEFT JOIN ONLY {} AS stored ON {}",
            if stale.is_empty() {
                ""
            } else {
                "; stale where what was taken away may have been the value itself"
            },
            columns.join(",\n           "),
            self.part("group_changes"),
            self.stored_table(),
            same_key("stored.", &self.stored_keys(), "change.", &self.key_names()),
        )
    }
}

/// Values of numeric that a sum can't lose again.
pub(super) const NOT_FINITE: &str = "'NaN', 'Infinity', '-Infinity'";

/// What rows are added up by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Images as they are logged.
    Images,
    /// Rows with any weights.
    Net,
    /// Rows that hold sums already.
    AddedUp,
}

/// The column with the weights.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weight<'a> {
    /// Any numbers.
    Any(&'a str),
    /// As they are logged, 1 and -1.
    Sign(&'a str),
}

impl Weight<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Any(name) | Self::Sign(name) => name,
        }
    }

    fn times(&self, value: &str) -> String {
        match self {
            Self::Any(name) => format!("{name} * {value}"),
            // much cheaper than a product of numeric
            Self::Sign(name) => format!("CASE WHEN {name} > 0 THEN {value} ELSE -({value}) END"),
        }
    }
}

/// A partial value over weighted rows in which it is computed from `input`: columns and their expressions.
pub(super) fn weighted(
    partial: &Partial,
    input: &str,
    weight: Weight<'_>,
) -> Vec<(String, String)> {
    let name = &partial.name;
    let data_type = partial.data_type();
    let mut columns = Vec::new();
    match partial.kind {
        PartialKind::Count => columns.push((
            name.clone(),
            format!(
                "coalesce(sum({weight}) FILTER (WHERE {input}), 0)::int8",
                weight = weight.name()
            ),
        )),
        PartialKind::Sum => {
            let signed = weight.times(&format!("{input}::{data_type}"));
            columns.push((
                name.clone(),
                format!("coalesce(sum({signed}), 0)::{data_type}"),
            ));
            if partial.has_digits_to_watch() {
                columns.push((
                    format!("{name}_digits_gone"),
                    format!(
                        "max(scale({input})) FILTER (WHERE {weight} < 0)",
                        weight = weight.name()
                    ),
                ));
            }
        }
        PartialKind::Min | PartialKind::Max => {
            let function = extremum(partial.kind);
            columns.push((
                name.clone(),
                format!(
                    "{function}({input}) FILTER (WHERE {weight} > 0)",
                    weight = weight.name()
                ),
            ));
            columns.push((
                format!("{name}_gone"),
                format!(
                    "{function}({input}) FILTER (WHERE {weight} < 0)",
                    weight = weight.name()
                ),
            ));
        }
    }
    columns
}

/// The same over rows in which it is added up already.
fn re_added(partial: &Partial) -> Vec<(String, String)> {
    let name = &partial.name;
    let sum = format!("coalesce(sum({name}), 0)::{}", partial.data_type());
    vec![(name.clone(), sum)]
}

/// That one of the columns of an additive partial value says that something changed.
pub(super) fn is_change(columns: &[(String, String)]) -> Vec<String> {
    let sums = columns.iter();
    sums.map(|(_, sum)| format!("{sum} <> 0")).collect()
}

pub(super) fn grouped_by(keys: &[String]) -> String {
    if keys.is_empty() {
        String::new()
    } else {
        format!("\n    GROUP BY {}", keys.join(", "))
    }
}

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
