//! Window functions as the operators have them.

use super::{AggregateCall, Expression};

/// A function over the rows of a partition, for each of them.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowCall {
    /// The function with its arguments and its FILTER, an aggregate or not.
    pub call: AggregateCall,
    /// The order of the partition's rows, with the direction as written.
    pub order: Vec<(Expression, String)>,
    /// The frame as written; nothing for the one that is meant where none is.
    pub frame: Vec<FrameWord>,
    /// What is known of its value; its kind is to be replaced.
    pub value: Expression,
}

/// A part of the text of a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameWord {
    /// Words.
    Text(&'static str),
    /// How far the frame reaches.
    Offset(Expression),
}

impl WindowCall {
    /// What it consists of, constants of the frame left out.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        let order = self.order.iter().map(|(value, _)| value);
        self.call.expressions().into_iter().chain(order).collect()
    }

    /// The same over other values.
    pub(crate) fn moved(&self, to: &mut impl FnMut(&Expression) -> Expression) -> Self {
        Self {
            call: self.call.moved(to),
            order: self
                .order
                .iter()
                .map(|(value, direction)| (to(value), direction.clone()))
                .collect(),
            ..self.clone()
        }
    }
}

/// How many rows of an order are taken, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many; none for all that there are.
    pub count: Option<u64>,
    /// So many before them are left out.
    pub offset: u64,
    /// Whether those that ORDER BY takes for equal to the last one are taken, too.
    pub with_ties: bool,
}
