//! Operators that depend on a row outside, joined with the rows outside: what is of the one row becomes columns of the join.

use super::answers::placed;
use super::domain::of_any_group;
use super::read_select::Reader;
use super::scalar_subqueries::links;
use super::{AggregateCall, Expression, Kind, Operator, Refusal};

/// Gives what a subquery names of the row outside, over the columns that stand for it.
pub(super) type Bind<'a> = &'a dyn Fn(&Expression) -> Result<Expression, Refusal>;

/// The rows outside of what depends on them.
#[derive(Clone, Copy)]
pub(super) struct Outside<'a> {
    /// These rows. Whatever they are joined with stands behind their columns.
    pub(super) rows: &'a Operator,
    pub(super) bind: Bind<'a>,
}

impl Reader<'_> {
    /// For each row of the left side the rows that an operator gives for it: the left side's columns, then the operator's.
    pub(super) fn dependent(
        &self,
        left: &Operator,
        right: Operator,
        outside: Outside<'_>,
    ) -> Result<Operator, Refusal> {
        if !right.names_outside() {
            return Ok(Operator::Join(vec![left.clone(), right]));
        }
        let width = left.width();
        let placed = |expression: &Expression| placed(expression, width, outside.bind);
        let all_placed = |all: &[Expression]| all.iter().map(placed).collect::<Result<Vec<_>, _>>();
        let of_values = right.clone();
        Ok(match right {
            Operator::Project { input, outputs } => {
                let input = self.dependent(left, *input, outside)?;
                let mut all = input.columns();
                all.truncate(width);
                all.extend(all_placed(&outputs)?);
                Operator::Project {
                    input: Box::new(input),
                    outputs: all,
                }
            }
            Operator::Filter { input, condition } => Operator::Filter {
                input: Box::new(self.dependent(left, *input, outside)?),
                condition: placed(&condition)?,
            },
            // the left side stays in front
            Operator::Join(inputs) => {
                inputs.into_iter().try_fold(left.clone(), |joined, input| {
                    self.dependent(&joined, input, outside)
                })?
            }
            Operator::UnionAll(inputs) => {
                let inputs = inputs.into_iter();
                let inputs = inputs.map(|input| self.dependent(left, input, outside));
                Operator::UnionAll(inputs.collect::<Result<_, _>>()?)
            }
            Operator::Repeat { input, times } => Operator::Repeat {
                input: Box::new(self.dependent(left, *input, outside)?),
                times: times + width,
            },
            Operator::Unfold {
                input,
                functions,
                has_ordinality,
                is_outer,
                conditions,
            } => Operator::Unfold {
                input: Box::new(self.dependent(left, *input, outside)?),
                functions: functions
                    .iter()
                    .map(|function| Ok(function.with(placed(&function.call)?)))
                    .collect::<Result<_, Refusal>>()?,
                has_ordinality,
                is_outer,
                conditions: all_placed(&conditions)?,
            },
            Operator::Outer { is_full: false, .. } | Operator::Match { .. } => {
                self.with_partners(left, right, outside)?
            }
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } => self
                .grouped_beside(left, *input, &keys, &aggregates, outside)
                .or_else(|_| self.by_values(left, of_values, outside))?,
            Operator::First { .. } => {
                let columns = right.width();
                match self.freed(right, Vec::new()) {
                    Ok(found) => {
                        let joined = Operator::Join(vec![left.clone(), found.operator])
                            .filtered(all_placed(&found.conditions)?);
                        without(joined, width, 0, columns)
                    }
                    Err(_) => self.by_values(left, of_values, outside)?,
                }
            }
            Operator::Window { .. } => self.by_values(left, right, outside)?,
            _ => return Err(too_deep()),
        })
    }

    /// The same for an operator of two sides, of which the left one's rows stay.
    fn with_partners(
        &self,
        left: &Operator,
        operator: Operator,
        outside: Outside<'_>,
    ) -> Result<Operator, Refusal> {
        let width = left.width();
        let all_placed = |all: &[Expression]| {
            let placed = all.iter().map(|one| placed(one, width, outside.bind));
            placed.collect::<Result<Vec<_>, _>>()
        };
        Ok(match operator {
            Operator::Outer {
                left: inner,
                right: other,
                conditions,
                is_full,
                is_dependent,
            } => {
                let inner = self.dependent(left, *inner, outside)?;
                let (before, columns) = (inner.width(), other.width());
                let found = self.partners(inner.width(), *other, outside)?;
                let joined = Operator::Outer {
                    left: Box::new(inner),
                    conditions: found.with(&all_placed(&conditions)?, before),
                    right: Box::new(found.rows),
                    is_full,
                    is_dependent,
                };
                without(joined, before, found.before, columns)
            }
            Operator::Match {
                left: inner,
                right: other,
                conditions,
                kind,
            } => {
                let inner = self.dependent(left, *inner, outside)?;
                let found = self.partners(inner.width(), *other, outside)?;
                Operator::Match {
                    conditions: found.with(&all_placed(&conditions)?, inner.width()),
                    left: Box::new(inner),
                    right: Box::new(found.rows),
                    kind,
                }
            }
            _ => return Err(too_deep()),
        })
    }

    /// Rows beside those that an operator gives for all values of what it names of them.
    fn by_values(
        &self,
        left: &Operator,
        right: Operator,
        outside: Outside<'_>,
    ) -> Result<Operator, Refusal> {
        let (width, columns) = (left.width(), right.width());
        let found = self.partners(width, right, outside)?;
        let joined = Operator::Join(vec![left.clone(), found.rows]).filtered(found.conditions);
        Ok(without(joined, width, found.before, columns))
    }

    /// A grouping of rows that depend on the row outside by equal values: it is grouped by these as well.
    fn grouped_beside(
        &self,
        left: &Operator,
        input: Operator,
        keys: &[Expression],
        aggregates: &[AggregateCall],
        outside: Outside<'_>,
    ) -> Result<Operator, Refusal> {
        let width = left.width();
        let grouped = self.grouped_by_links(input, keys, aggregates, width, outside)?;
        let (links, is_one) = (grouped.links, keys.is_empty());
        let joined = if is_one {
            Operator::Outer {
                left: Box::new(left.clone()),
                right: Box::new(grouped.right),
                conditions: grouped.conditions,
                is_full: false,
                is_dependent: true,
            }
        } else {
            Operator::Join(vec![left.clone(), grouped.right]).filtered(grouped.conditions)
        };
        let columns = joined.columns();
        let mut outputs = columns[..width].to_vec();
        for (at, column) in columns[width + links..].iter().enumerate() {
            outputs.push(match at.checked_sub(keys.len()) {
                Some(at) if is_one => of_any_group(&aggregates[at], column)?,
                _ => column.clone(),
            });
        }
        Ok(Operator::Project {
            input: Box::new(joined),
            outputs,
        })
    }

    pub(super) fn grouped_by_links(
        &self,
        input: Operator,
        keys: &[Expression],
        aggregates: &[AggregateCall],
        width: usize,
        outside: Outside<'_>,
    ) -> Result<Linked, Refusal> {
        let (mut input, mut keys, mut aggregates) = (input, keys.to_vec(), aggregates.to_vec());
        // what a subquery below computes is computed where it is grouped, so that its conditions can be reached
        while let Operator::Project {
            input: below,
            outputs,
        } = input
        {
            let mut computed = |value: &Expression| {
                value.rewritten(&mut |part| match part.kind {
                    Kind::Column(at) => Some(outputs[at].clone()),
                    _ => None,
                })
            };
            keys = keys.iter().map(&mut computed).collect();
            aggregates = aggregates
                .iter()
                .map(|aggregate| aggregate.moved(&mut computed))
                .collect();
            input = *below;
        }
        let inner = self.freed(input, Vec::new())?;
        let values = aggregates.iter().flat_map(AggregateCall::expressions);
        if keys.iter().chain(values).any(Expression::names_outside) {
            return Err(too_deep());
        }
        let (own, values) = links(&inner.conditions)?;
        for key in &own {
            self.require_identity(key, "LATERAL")?;
        }
        let conditions = own
            .iter()
            .zip(values)
            .enumerate()
            .map(|(at, (key, value))| {
                let value = placed(&value, 0, outside.bind)?;
                self.compared("=", value, key.as_column(width + at))
            });
        Ok(Linked {
            conditions: conditions.collect::<Result<_, _>>()?,
            links: own.len(),
            right: Operator::Aggregate {
                input: Box::new(inner.operator),
                keys: own.into_iter().chain(keys).collect(),
                aggregates,
            },
        })
    }
}

/// A grouping that is joined by equal values.
pub(super) struct Linked {
    /// Its first keys are the values by which it is joined.
    pub(super) right: Operator,
    pub(super) links: usize,
    /// Over the left side's columns, then its own.
    pub(super) conditions: Vec<Expression>,
}

/// What a subquery names of the row outside, where that row's columns stand where they did.
#[expect(clippy::unnecessary_wraps, reason = "it is one of those that can fail")]
pub(super) fn itself(value: &Expression) -> Result<Expression, Refusal> {
    Ok(value.clone())
}

/// Rows without so many columns from `start` on, and without what stands behind the `kept` ones that follow these.
pub(super) fn without(rows: Operator, start: usize, count: usize, kept: usize) -> Operator {
    let mut outputs = rows.columns();
    outputs.truncate(start + count + kept);
    outputs.drain(start..start + count);
    if outputs.len() == rows.width() {
        return rows;
    }
    Operator::Project {
        input: Box::new(rows),
        outputs,
    }
}

/// Whether it is an aggregate without GROUP BY, which gives one row whatever there is.
pub(super) fn gives_one_row(operator: &Operator) -> bool {
    match operator {
        Operator::Project { input, .. } => gives_one_row(input),
        Operator::Aggregate { keys, .. } => keys.is_empty(),
        _ => false,
    }
}

pub(super) fn too_deep() -> Refusal {
    Refusal::new(
        "LATERAL",
        "it depends on the row outside elsewhere than this version can bring into a join",
    )
}
