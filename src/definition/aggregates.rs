//! Aggregates whose exactness under additions and removals can be argued.

use super::other_aggregates::is_float;
use super::read_expression::merged_collation;
use super::{Expression, Kind, Refusal, TypeName};

/// An aggregate in a query.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateCall {
    /// Which one.
    pub function: AggregateFunction,
    /// What it is over; none for `count(*)`.
    pub argument: Option<Expression>,
    /// Its FILTER.
    pub filter: Option<Expression>,
    /// The type of its value.
    pub result: TypeName,
    /// What else there is to it, if the general strategy alone knows it; then `function` and `argument` mean nothing.
    pub other: Option<OtherAggregate>,
}

/// An aggregate of any function.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherAggregate {
    /// Its name as written, with its schema where that is not `pg_catalog`.
    pub name: String,
    /// What it is over.
    pub arguments: Vec<Expression>,
    /// Whether equal values count once.
    pub is_distinct: bool,
    /// In which order it takes them, with the direction as written.
    pub order: Vec<(Expression, String)>,
    /// Whether that order is what it is over (`WITHIN GROUP`).
    pub is_within_group: bool,
}

/// The aggregates that this version maintains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateFunction {
    /// `count(*)` and `count(x)`.
    Count,
    /// `sum` of integers and `numeric`.
    Sum,
    /// `avg` of integers and `numeric`.
    Avg,
    /// `min` of a type whose equality is identity.
    Min,
    /// `max` of a type whose equality is identity.
    Max,
    /// `bool_and`, `every`.
    BoolAnd,
    /// `bool_or`.
    BoolOr,
}

impl AggregateCall {
    /// `count(*)`.
    pub(crate) fn of_rows() -> Self {
        Self {
            function: AggregateFunction::Count,
            argument: None,
            filter: None,
            result: TypeName::built_in("int8"),
            other: None,
        }
    }

    /// What it consists of.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        let other = self.other.iter().flat_map(|other| {
            let order = other.order.iter().map(|(value, _)| value);
            other.arguments.iter().chain(order)
        });
        self.argument
            .iter()
            .chain(&self.filter)
            .chain(other)
            .collect()
    }

    /// The same over other values.
    pub(crate) fn moved(&self, to: &mut impl FnMut(&Expression) -> Expression) -> Self {
        Self {
            function: self.function,
            argument: self.argument.as_ref().map(&mut *to),
            filter: self.filter.as_ref().map(&mut *to),
            result: self.result.clone(),
            other: self.other.as_ref().map(|other| OtherAggregate {
                arguments: other.arguments.iter().map(&mut *to).collect(),
                order: other
                    .order
                    .iter()
                    .map(|(value, direction)| (to(value), direction.clone()))
                    .collect(),
                ..other.clone()
            }),
        }
    }

    /// Whether it is 0, and not NULL, over no rows at all.
    pub(crate) fn counts(&self) -> Result<bool, Refusal> {
        match &self.other {
            None => Ok(self.function == AggregateFunction::Count),
            Some(other) if other.name.contains('.') => Err(Refusal::new(
                format!("{}(…) in a subquery", other.name),
                "what it gives over no rows at all is not known",
            )),
            Some(other) => Ok(matches!(other.name.as_str(), "count" | "regr_count")),
        }
    }

    /// Whether the query itself has several values for it, which differ in their last digits.
    pub(crate) fn is_inexact(&self) -> bool {
        self.other.as_ref().is_some_and(OtherAggregate::is_inexact)
    }

    /// The name of its function, without a schema.
    pub(crate) fn word(&self) -> &str {
        match &self.other {
            Some(other) => other
                .name
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .trim_matches('"'),
            None => self.function.word(),
        }
    }

    /// Its value, with what is known of it; its kind is to be replaced.
    #[must_use]
    pub fn value(&self) -> Expression {
        let mut value = Expression::new(Kind::Aggregate(0), self.result.clone());
        if let Some(other) = &self.other {
            let order = other.order.iter().map(|(value, _)| value);
            let order = order.filter(|_| other.is_within_group);
            let parts = other.arguments.iter().chain(order);
            let parts: Vec<&Expression> = parts
                .filter(|part| part.data_type.is_collatable())
                .collect();
            if value.data_type.is_collatable() && !parts.is_empty() {
                value.collation = merged_collation(&parts);
            }
            return value;
        }
        match (self.function, &self.argument) {
            (AggregateFunction::Count, _) => value.is_nullable = false,
            (AggregateFunction::Min | AggregateFunction::Max, Some(argument)) => {
                value.collation.clone_from(&argument.collation);
                value.scale = argument.scale;
            }
            (AggregateFunction::Sum, Some(argument)) => value.scale = argument.scale,
            _ => {}
        }
        value
    }
}

impl OtherAggregate {
    /// Whether it adds up floating-point numbers in no order at all.
    pub(super) fn is_inexact(&self) -> bool {
        matches!(self.name.as_str(), "sum" | "avg")
            && !self.is_distinct
            && !self.is_within_group
            && self.order.is_empty()
            && matches!(&self.arguments[..], [value] if is_float(value))
    }
}

impl AggregateFunction {
    /// Its name in `pg_catalog`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::BoolAnd => "bool_and",
            Self::BoolOr => "bool_or",
        }
    }

    /// By its name in `pg_catalog`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "bool_and" | "every" => Self::BoolAnd,
            "bool_or" => Self::BoolOr,
            _ => return None,
        })
    }
}
