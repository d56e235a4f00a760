//! Outer, semi and anti joins as nodes: which of their conditions say that two columns are equal.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Built;
use super::node::{Column, NodeKind, Nodes, Sides};
use super::types::is_groupable;
use crate::definition::{Expression, Kind, MatchKind, Operator, Refusal};

/// Two sides, and where they have the columns of the operators that were asked for.
struct Placed {
    sides: Sides,
    left: BTreeMap<usize, usize>,
    right: BTreeMap<usize, usize>,
}

impl Nodes {
    pub(super) fn outer(
        &mut self,
        left: &Operator,
        right: &Operator,
        conditions: &[Expression],
        (is_full, is_dependent): (bool, bool),
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let mut placed = self.sides(left, right, conditions, is_full, wanted)?;
        placed.sides.is_dependent = is_dependent;
        let columns = |is_nullable: bool, columns: &[Column]| -> Vec<Column> {
            let mut columns = columns.to_vec();
            for column in &mut columns {
                column.facts.is_nullable |= is_nullable;
            }
            columns
        };
        let mut all = columns(is_full, &placed.sides.left.columns);
        let left_width = all.len();
        all.extend(columns(true, &placed.sides.right.columns));
        let of_right = placed.right.iter();
        let of_right = of_right.map(|(at, place)| (at + left.width(), place + left_width));
        let at = placed.left.clone().into_iter().chain(of_right).collect();
        let kind = NodeKind::Outer {
            sides: placed.sides,
            is_full,
        };
        Ok(Built {
            node: self.add(kind, all),
            at,
        })
    }

    pub(super) fn matched(
        &mut self,
        left: &Operator,
        right: &Operator,
        conditions: &[Expression],
        kind: MatchKind,
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let width = left.width();
        let of_left = wanted.range(..width).copied().collect();
        let placed = self.sides(left, right, conditions, false, &of_left)?;
        let mut columns = placed.sides.left.columns.clone();
        let mut at = placed.left;
        if kind == MatchKind::Mark {
            at.insert(width, columns.len());
            let mut facts = Expression::boolean(Kind::Column(0));
            facts.is_nullable = false;
            columns.push(Column {
                name: "is_matched".to_owned(),
                facts,
            });
        }
        let kind = NodeKind::Match {
            sides: placed.sides,
            kind,
        };
        Ok(Built {
            node: self.add(kind, columns),
            at,
        })
    }

    fn sides(
        &mut self,
        left: &Operator,
        right: &Operator,
        conditions: &[Expression],
        is_full: bool,
        wanted: &BTreeSet<usize>,
    ) -> Result<Placed, Refusal> {
        let width = left.width();
        let (mut left, mut right) = (Extended::of(left), Extended::of(right));
        let (mut kept, mut equal, mut left_only) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_more = false;
        for condition in conditions {
            let columns = condition.columns();
            let is_left = columns.iter().all(|at| *at < width);
            let is_right = columns.iter().all(|at| *at >= width);
            if is_right && !is_left && !is_full {
                // rows of the right side that can have no partner need not be there
                right.filter(condition.moved(&|at| at - width));
                continue;
            }
            let mut condition = condition.clone();
            if let Some((one, other)) = equality(&condition, width) {
                let places = (left.column(&one), right.column(&other));
                // computed sides become columns; those of the right side are numbered from a million on for now
                let one = one.as_column(places.0);
                let other = other.as_column(FAR + places.1);
                condition.kind = Kind::Operator {
                    left: Some(Box::new(one)),
                    operator: "=".to_owned(),
                    right: Box::new(other),
                };
                equal.push(places);
            } else {
                condition = condition.moved(&|at| if at < width { at } else { at - width + FAR });
                if is_left && !is_full {
                    left_only.push(kept.len());
                } else {
                    has_more = true;
                }
            }
            kept.push(condition);
        }
        let used = |is_left: bool| {
            let all = kept.iter().flat_map(Expression::columns);
            let of_side = all.filter(move |at| (*at < FAR) == is_left);
            let needed = of_side.map(|at| at % FAR);
            let wanted = wanted.iter().filter(move |at| (**at < width) == is_left);
            let wanted = wanted.map(move |at| if is_left { *at } else { at - width });
            needed.chain(wanted).collect::<BTreeSet<_>>()
        };
        let left = self.filled(&left.operator, &used(true))?;
        let right = self.filled(&right.operator, &used(false))?;
        let left_width = left.node.columns.len();
        let moved = |condition: &Expression| {
            condition.moved(&|at| {
                if at < FAR {
                    left.at[&at]
                } else {
                    left_width + right.at[&(at - FAR)]
                }
            })
        };
        let conditions: Vec<Expression> = kept.iter().map(moved).collect();
        Ok(Placed {
            sides: Sides {
                left_only: left_only.iter().map(|at| conditions[*at].clone()).collect(),
                conditions,
                equal: equal
                    .iter()
                    .map(|(one, other)| (left.at[one], right.at[other]))
                    .collect(),
                has_more,
                is_dependent: false,
                left: left.node,
                right: right.node,
            },
            left: left.at,
            right: right.at,
        })
    }

    /// A node that has at least one column.
    pub(super) fn filled(
        &mut self,
        operator: &Operator,
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let built = self.build(operator, wanted)?;
        if !built.node.columns.is_empty() {
            return Ok(built);
        }
        Ok(Built {
            node: self.block(vec![built.node], Vec::new(), Vec::new(), Vec::new()),
            at: built.at,
        })
    }
}

/// Beyond the columns of any left side.
const FAR: usize = 1_000_000;

/// An input to which conditions and computed columns may be added.
struct Extended {
    operator: Operator,
}

impl Extended {
    fn of(operator: &Operator) -> Self {
        Self {
            operator: operator.clone(),
        }
    }

    fn filter(&mut self, condition: Expression) {
        self.operator = Operator::Filter {
            input: Box::new(self.operator.clone()),
            condition,
        };
    }

    /// The column that has this value.
    fn column(&mut self, value: &Expression) -> usize {
        if let Kind::Column(at) = value.kind {
            return at;
        }
        let mut outputs = self.operator.columns();
        let at = outputs.len();
        outputs.push(value.clone());
        self.operator = Operator::Project {
            input: Box::new(self.operator.clone()),
            outputs,
        };
        at
    }
}

/// The two sides of a condition that says that a value of the left input is equal to one of the right one, where
/// grouping by one and comparing with the other comes to the same.
fn equality(condition: &Expression, width: usize) -> Option<(Expression, Expression)> {
    let Kind::Operator {
        left: Some(one),
        operator,
        right: other,
    } = &condition.kind
    else {
        return None;
    };
    let is_on_left = |value: &Expression| value.columns().iter().all(|at| *at < width);
    let is_on_right = |value: &Expression| value.columns().iter().all(|at| *at >= width);
    let can_be = operator == "="
        && is_groupable(one)
        && is_groupable(other)
        && !one.columns().is_empty()
        && !other.columns().is_empty();
    let moved = |value: &Expression| value.moved(&|at| at - width);
    match (can_be, is_on_left(one), is_on_right(other)) {
        (true, true, true) => Some((*one.clone(), moved(other))),
        (true, false, false) if is_on_right(one) && is_on_left(other) => {
            Some((*other.clone(), moved(one)))
        }
        _ => None,
    }
}
