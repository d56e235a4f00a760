//! The changes of groups, and the groups they lead to.

use super::groups::Grouped;
use super::identity::identity;
use super::partials::PartialKind;

impl Grouped<'_> {
    pub(super) fn net_input(&self) -> String {
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
    pub(super) fn group_changes(&self, from: &str) -> String {
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

    pub(super) fn merged_groups(&self) -> String {
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
