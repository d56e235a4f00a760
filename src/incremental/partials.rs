//! What is kept of a group so that its aggregates can be told after any change.

use std::collections::BTreeSet;

use super::stored::Shown;
use crate::definition::{AggregateCall, AggregateFunction, Expression, Kind, TypeName};

/// A column of the state table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Partial {
    pub(super) name: String,
    pub(super) kind: PartialKind,
    /// What it is computed from, over the grouped rows: a condition for counts, else a value (NULL where not wanted).
    pub(super) over: Expression,
}

/// How a partial value changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartialKind {
    /// The number of rows for which a condition is true.
    Count,
    /// The sum of the values that are not NULL, 0 if there are none.
    Sum,
    /// The smallest (or largest) value.
    Min,
    /// The largest value.
    Max,
}

/// A number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// All rows of the group.
    Rows,
    /// A count, by its position.
    Partial(usize),
}

/// How one aggregate is told from the partial values, by their positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// A count as it is.
    Count(Counted),
    /// The second where the first is not 0.
    Sum(Counted, usize),
    /// The second divided by the first where that is not 0.
    Avg(Counted, usize),
    /// A sum, or an average, of values with different numbers of digits, which decide how it is shown: the count of values, the
    /// sum with all digits, the counts of values with so many digits (the most first), and the fewest digits.
    OfScales {
        count: Counted,
        sum: usize,
        scales: Vec<(i32, usize)>,
        fewest: i32,
        is_average: bool,
    },
    /// As it is.
    Extremum(usize),
    /// Counts of true and of false.
    BoolAnd(usize, usize),
    /// Counts of true and of false.
    BoolOr(usize, usize),
}

/// Partial values, each once.
#[derive(Debug, Default)]
pub(super) struct Partials {
    pub(super) all: Vec<Partial>,
}

impl Partials {
    /// Notes what an aggregate needs.
    pub(super) fn told_by(&mut self, call: &AggregateCall) -> Told {
        let Some(argument) = &call.argument else {
            return match &call.filter {
                None => Told::Count(Counted::Rows),
                Some(filter) => Told::Count(Counted::Partial(self.note(
                    "count",
                    PartialKind::Count,
                    filter.clone(),
                ))),
            };
        };
        match call.function {
            AggregateFunction::Count => Told::Count(self.not_null(argument, call.filter.as_ref())),
            AggregateFunction::Sum | AggregateFunction::Avg => {
                let count = self.not_null(argument, call.filter.as_ref());
                if let Some(scales) = several_scales(argument) {
                    return self.of_scales(call, argument, count, &scales);
                }
                let sum = self.note(
                    "sum",
                    PartialKind::Sum,
                    filtered_value(argument, call.filter.as_ref()),
                );
                if call.function == AggregateFunction::Sum {
                    Told::Sum(count, sum)
                } else {
                    Told::Avg(count, sum)
                }
            }
            AggregateFunction::Min => Told::Extremum(self.note(
                "min",
                PartialKind::Min,
                filtered_value(argument, call.filter.as_ref()),
            )),
            AggregateFunction::Max => Told::Extremum(self.note(
                "max",
                PartialKind::Max,
                filtered_value(argument, call.filter.as_ref()),
            )),
            AggregateFunction::BoolAnd | AggregateFunction::BoolOr => {
                let of = |word| filtered_condition(test(argument, word), call.filter.as_ref());
                let is_true = self.note("count", PartialKind::Count, of("IS TRUE"));
                let is_false = self.note("count", PartialKind::Count, of("IS FALSE"));
                if call.function == AggregateFunction::BoolAnd {
                    Told::BoolAnd(is_true, is_false)
                } else {
                    Told::BoolOr(is_true, is_false)
                }
            }
        }
    }

    /// A sum of values of different scales: all of them with the most digits, and how many have how many.
    fn of_scales(
        &mut self,
        call: &AggregateCall,
        argument: &Expression,
        count: Counted,
        scales: &BTreeSet<i32>,
    ) -> Told {
        let filter = call.filter.as_ref();
        let fewest = scales.first().copied().unwrap_or_default();
        let most = scales.last().copied().unwrap_or_default();
        let sum = self.note(
            "sum",
            PartialKind::Sum,
            filtered_value(&rounded(argument, most), filter),
        );
        let counted = scales.iter().rev().filter(|scale| **scale != fewest);
        let counted = counted.map(|scale| {
            let condition = filtered_condition(has_scale(argument, *scale), filter);
            let position = self.note("count", PartialKind::Count, condition);
            (*scale, position)
        });
        Told::OfScales {
            count,
            sum,
            scales: counted.collect(),
            fewest,
            is_average: call.function == AggregateFunction::Avg,
        }
    }

    fn not_null(&mut self, argument: &Expression, filter: Option<&Expression>) -> Counted {
        if filter.is_none() && !argument.is_nullable {
            return Counted::Rows;
        }
        let condition = all_of(filter.cloned().into_iter().chain(argument.is_there()));
        Counted::Partial(self.note("count", PartialKind::Count, condition))
    }

    fn note(&mut self, word: &str, kind: PartialKind, over: Expression) -> usize {
        self.all
            .iter()
            .position(|partial| partial.kind == kind && partial.over == over)
            .unwrap_or_else(|| {
                let name = format!("{word}_{}", self.all.len() + 1);
                self.all.push(Partial { name, kind, over });
                self.all.len() - 1
            })
    }
}

impl Partial {
    /// The type of its column.
    pub(super) fn data_type(&self) -> TypeName {
        match self.kind {
            PartialKind::Count => TypeName::built_in("int8"),
            PartialKind::Sum
                if self.over.data_type.is("int2") || self.over.data_type.is("int4") =>
            {
                TypeName::built_in("int8")
            }
            PartialKind::Sum => TypeName::built_in("numeric"),
            PartialKind::Min | PartialKind::Max => self.over.data_type.clone(),
        }
    }

    /// Whether NaN and infinities may be in a sum, from which they could not be taken away again.
    pub(super) fn may_be_infinite(&self) -> bool {
        self.kind == PartialKind::Sum && self.over.data_type.is("numeric")
    }

    /// Whether values of a sum have different numbers of digits: the longest decides how the sum is shown.
    pub(super) fn has_digits_to_watch(&self) -> bool {
        self.may_be_infinite() && self.over.scale.is_none()
    }

    /// Whether it is added up without any pairs of values that cancel doing harm.
    pub(super) fn is_additive(&self) -> bool {
        matches!(self.kind, PartialKind::Count | PartialKind::Sum) && !self.has_digits_to_watch()
    }

    /// Whether it may have to be computed anew from the base tables.
    pub(super) fn may_be_stale(&self) -> bool {
        self.may_be_infinite() || matches!(self.kind, PartialKind::Min | PartialKind::Max)
    }

    /// It from the rows of a query with its own input as column `input`, as they are now.
    pub(super) fn computed(&self, input: &str) -> String {
        let data_type = self.data_type();
        match self.kind {
            PartialKind::Count => format!("count(*) FILTER (WHERE {input})"),
            PartialKind::Sum => format!("coalesce(sum({input}), 0)::{data_type}"),
            PartialKind::Min => format!("min({input})"),
            PartialKind::Max => format!("max({input})"),
        }
    }
}

impl Told {
    /// What it shows if it stands in the select list as it is.
    pub(super) fn shows(&self) -> Shown {
        match *self {
            Self::Count(Counted::Rows) => Shown::Rows,
            // a sum of nothing is NULL, and taken for 0
            Self::Count(Counted::Partial(position))
            | Self::Sum(_, position)
            | Self::Extremum(position) => Shown::Partial(position),
            Self::Avg(..) | Self::OfScales { .. } | Self::BoolAnd(..) | Self::BoolOr(..) => {
                Shown::Neither
            }
        }
    }

    /// The aggregate's value, with partial values printed by `partial` and the number of rows given.
    pub(super) fn value(&self, rows: &str, partial: &dyn Fn(usize) -> String) -> String {
        let counted = |count: Counted| match count {
            Counted::Rows => rows.to_owned(),
            Counted::Partial(position) => partial(position),
        };
        match *self {
            Self::OfScales {
                count,
                sum,
                ref scales,
                fewest,
                is_average,
            } => {
                let branches: String = scales
                    .iter()
                    .map(|(scale, position)| {
                        format!(
                            "WHEN {} > 0 THEN round({}, {scale}) ",
                            partial(*position),
                            partial(sum)
                        )
                    })
                    .collect();
                let sum = format!("CASE {branches}ELSE round({}, {fewest}) END", partial(sum));
                let count = counted(count);
                if is_average {
                    format!("CASE WHEN {count} > 0 THEN ({sum}) / {count}::numeric END")
                } else {
                    format!("CASE WHEN {count} > 0 THEN {sum} END")
                }
            }
            Self::Count(count) => counted(count),
            Self::Sum(count, sum) => {
                format!("CASE WHEN {} > 0 THEN {} END", counted(count), partial(sum))
            }
            // exactly what the server does: numeric.c, int8_avg and numeric_avg
            Self::Avg(count, sum) => {
                format!(
                    "CASE WHEN {0} > 0 THEN {1}::numeric / {0}::numeric END",
                    counted(count),
                    partial(sum)
                )
            }
            Self::Extremum(value) => partial(value),
            Self::BoolAnd(is_true, is_false) => {
                format!(
                    "CASE WHEN {} > 0 THEN false WHEN {} > 0 THEN true END",
                    partial(is_false),
                    partial(is_true)
                )
            }
            Self::BoolOr(is_true, is_false) => {
                format!(
                    "CASE WHEN {} > 0 THEN true WHEN {} > 0 THEN false END",
                    partial(is_true),
                    partial(is_false)
                )
            }
        }
    }
}

/// The scales of values that have different ones, if those are known and few.
fn several_scales(value: &Expression) -> Option<BTreeSet<i32>> {
    const MOST: usize = 4;
    let scales = value.scales().filter(|_| value.data_type.is("numeric"))?;
    (2..=MOST).contains(&scales.len()).then_some(scales)
}

fn rounded(value: &Expression, scale: i32) -> Expression {
    Expression {
        scale: Some(scale),
        kind: Kind::Call {
            name: "round".to_owned(),
            arguments: vec![value.clone(), number(scale)],
        },
        ..value.clone()
    }
}

/// Not true of NaN and infinities, which have no digits.
fn has_scale(value: &Expression, scale: i32) -> Expression {
    let of_value = Expression::new(
        Kind::Call {
            name: "scale".to_owned(),
            arguments: vec![value.clone()],
        },
        TypeName::built_in("int4"),
    );
    Expression::boolean(Kind::Operator {
        left: Some(Box::new(of_value)),
        operator: "=".to_owned(),
        right: Box::new(number(scale)),
    })
}

fn number(value: i32) -> Expression {
    Expression::new(Kind::Literal(value.to_string()), TypeName::built_in("int4"))
}

fn test(operand: &Expression, test: &'static str) -> Expression {
    Expression::boolean(Kind::Test {
        operand: Box::new(operand.clone()),
        test,
    })
}

fn filtered_condition(condition: Expression, filter: Option<&Expression>) -> Expression {
    all_of(filter.cloned().into_iter().chain([condition]))
}

/// That all of these hold, of which there is at least one.
fn all_of(conditions: impl Iterator<Item = Expression>) -> Expression {
    let mut operands: Vec<Expression> = conditions.collect();
    if operands.len() == 1 {
        return operands.remove(0);
    }
    Expression::boolean(Kind::Logical {
        word: "AND",
        operands,
    })
}

fn filtered_value(value: &Expression, filter: Option<&Expression>) -> Expression {
    match filter {
        None => value.clone(),
        Some(filter) => Expression {
            kind: Kind::Case {
                subject: None,
                branches: vec![(filter.clone(), value.clone())],
                otherwise: None,
            },
            is_nullable: true,
            ..value.clone()
        },
    }
}
