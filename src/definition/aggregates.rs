//! Aggregates whose exactness under additions and removals can be argued.

use super::{Expression, Kind, TypeName};

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
    /// What it consists of.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        self.argument.iter().chain(&self.filter).collect()
    }

    /// Its value, with what is known of it; its kind is to be replaced.
    #[must_use]
    pub fn value(&self) -> Expression {
        let mut value = Expression::new(Kind::Aggregate(0), self.result.clone());
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

impl AggregateFunction {
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
