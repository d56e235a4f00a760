//! The relational operators of which a query is made. A bag (multiset) goes in and out of each.

use super::{AggregateCall, Expression, Relation};

/// One operator over its inputs. Expressions refer to the columns of the input by position.
#[derive(Debug, Clone, PartialEq)]
pub enum Operator {
    /// The rows of a base table, all its columns.
    Scan(Relation),
    /// All combinations of the inputs' rows; columns of the first input first. An inner join is a filter over it.
    Join(Vec<Operator>),
    /// The rows for which the condition is true.
    Filter {
        /// What it filters.
        input: Box<Operator>,
        /// A boolean over the input's columns.
        condition: Expression,
    },
    /// Each row computed from one row of the input.
    Project {
        /// What it computes from.
        input: Box<Operator>,
        /// The columns.
        outputs: Vec<Expression>,
    },
    /// The rows of all inputs, which agree in their columns.
    UnionAll(Vec<Operator>),
    /// One row per distinct key: the key, then the aggregates. Without keys exactly one row.
    Aggregate {
        /// What is grouped.
        input: Box<Operator>,
        /// The key, over the input's columns. Equal keys are the same bytes.
        keys: Vec<Expression>,
        /// What is aggregated in each group.
        aggregates: Vec<AggregateCall>,
    },
}

impl Operator {
    /// How many columns it gives.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Scan(relation) => relation.columns.len(),
            Self::Join(inputs) => inputs.iter().map(Self::width).sum(),
            Self::Filter { input, .. } => input.width(),
            Self::Project { outputs, .. } => outputs.len(),
            Self::UnionAll(inputs) => inputs.first().map_or(0, Self::width),
            Self::Aggregate {
                keys, aggregates, ..
            } => keys.len() + aggregates.len(),
        }
    }

    /// Whether there is an aggregate anywhere in it.
    #[must_use]
    pub fn is_aggregated(&self) -> bool {
        match self {
            Self::Scan(_) => false,
            Self::Aggregate { .. } => true,
            Self::Filter { input, .. } | Self::Project { input, .. } => input.is_aggregated(),
            Self::Join(inputs) | Self::UnionAll(inputs) => inputs.iter().any(Self::is_aggregated),
        }
    }
}
