//! LATERAL: items of FROM that depend on those before them become joins and groupings that don't.

use pg_query::NodeEnum;
use pg_query::protobuf::{JoinType, Node};

use super::nodes::{content, required};
use super::read_from::{Source, as_columns, named};
use super::read_select::Reader;
use super::scalar_subqueries::links;
use super::subqueries::{placed, select_of};
use super::{AggregateCall, Expression, Kind, Operator, Refusal};

/// Whether an item of FROM may name columns of those before it.
pub(super) fn is_dependent(item: &Node) -> Result<bool, Refusal> {
    Ok(match content(item)? {
        NodeEnum::RangeFunction(_) => true,
        NodeEnum::RangeSubselect(subquery) => subquery.lateral,
        _ => false,
    })
}

impl Reader<'_> {
    /// An item of FROM that may depend on what stands before it, joined with that.
    pub(super) fn beside(
        &self,
        left: Source,
        item: &Node,
        kind: JoinType,
        condition: Option<&Node>,
    ) -> Result<Source, Refusal> {
        let (left, scope) = left;
        let width = left.width();
        let is_outer = kind == JoinType::JoinLeft;
        match content(item)? {
            NodeEnum::RangeFunction(range) => {
                let (operator, columns) = self.functions(left, &scope, range)?;
                let mut own = named("", range.alias.as_ref(), columns)?;
                if is_outer {
                    own.may_be_missing();
                }
                let scope = scope.followed_by(width, own);
                let conditions = self.on(condition, &scope)?;
                Ok((unfolding(operator, is_outer, conditions), scope))
            }
            NodeEnum::RangeSubselect(subquery) => {
                let select = select_of(required(subquery.subquery.as_deref())?)?;
                let (operator, outputs) = self.within(&scope, |reader| reader.select(select))?;
                let mut own = named("", subquery.alias.as_ref(), as_columns(&outputs))?;
                if is_outer {
                    own.may_be_missing();
                }
                let scope = scope.followed_by(width, own);
                let conditions = self.on(condition, &scope)?;
                let operator = if is_outer {
                    self.outer_dependent(&left, operator, &conditions)?
                } else {
                    self.dependent(&left, operator)?.filtered(conditions)
                };
                Ok((operator, scope))
            }
            _ => Err(Refusal::unknown("this after LATERAL")),
        }
    }

    fn on(
        &self,
        condition: Option<&Node>,
        scope: &super::scope::Scope,
    ) -> Result<Vec<Expression>, Refusal> {
        let Some(condition) = condition else {
            return Ok(Vec::new());
        };
        let mut conditions = self.expression(condition, scope)?.conjuncts();
        conditions
            .retain(|condition| !matches!(&condition.kind, Kind::Literal(text) if text == "true"));
        Ok(conditions)
    }

    /// For each row of the left side the rows that an operator gives for it: the left side's columns, then the operator's.
    fn dependent(&self, left: &Operator, right: Operator) -> Result<Operator, Refusal> {
        if !right.names_outside() {
            return Ok(Operator::Join(vec![left.clone(), right]));
        }
        let width = left.width();
        let placed = |expression: &Expression| of_both(expression, width);
        let all_placed = |all: &[Expression]| all.iter().map(placed).collect::<Result<Vec<_>, _>>();
        Ok(match right {
            Operator::Project { input, outputs } => {
                let input = self.dependent(left, *input)?;
                let mut all = input.columns();
                all.truncate(width);
                all.extend(all_placed(&outputs)?);
                Operator::Project {
                    input: Box::new(input),
                    outputs: all,
                }
            }
            Operator::Filter { input, condition } => Operator::Filter {
                input: Box::new(self.dependent(left, *input)?),
                condition: placed(&condition)?,
            },
            // the left side stays in front
            Operator::Join(inputs) => inputs
                .into_iter()
                .try_fold(left.clone(), |joined, input| self.dependent(&joined, input))?,
            Operator::UnionAll(inputs) => {
                let inputs = inputs.into_iter().map(|input| self.dependent(left, input));
                Operator::UnionAll(inputs.collect::<Result<_, _>>()?)
            }
            Operator::Unfold {
                input,
                functions,
                has_ordinality,
                is_outer,
                conditions,
            } => Operator::Unfold {
                input: Box::new(self.dependent(left, *input)?),
                functions: functions
                    .iter()
                    .map(|function| Ok(function.with(placed(&function.call)?)))
                    .collect::<Result<_, Refusal>>()?,
                has_ordinality,
                is_outer,
                conditions: all_placed(&conditions)?,
            },
            Operator::Outer {
                left: inner,
                right: other,
                conditions,
                is_full: false,
                is_dependent,
            } if !other.names_outside() => Operator::Outer {
                left: Box::new(self.dependent(left, *inner)?),
                right: other,
                conditions: all_placed(&conditions)?,
                is_full: false,
                is_dependent,
            },
            Operator::Match {
                left: inner,
                right: other,
                conditions,
                kind,
            } if !other.names_outside() => Operator::Match {
                left: Box::new(self.dependent(left, *inner)?),
                right: other,
                conditions: all_placed(&conditions)?,
                kind,
            },
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } => self.grouped_beside(left, *input, &keys, &aggregates)?,
            Operator::First { .. } => {
                let columns = right.width();
                let found = self.freed(right, Vec::new())?;
                let joined = Operator::Join(vec![left.clone(), found.operator])
                    .filtered(all_placed(&found.conditions)?);
                let mut outputs = joined.columns();
                outputs.truncate(width + columns);
                Operator::Project {
                    input: Box::new(joined),
                    outputs,
                }
            }
            _ => return Err(too_deep()),
        })
    }

    /// A grouping of rows that depend on the row outside by equal values: it is grouped by these as well.
    fn grouped_beside(
        &self,
        left: &Operator,
        input: Operator,
        keys: &[Expression],
        aggregates: &[AggregateCall],
    ) -> Result<Operator, Refusal> {
        let width = left.width();
        let grouped = self.grouped_by_links(input, keys, aggregates, width)?;
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
            let aggregate = at.checked_sub(keys.len()).map(|at| &aggregates[at]);
            let counts = match aggregate {
                Some(aggregate) if is_one => aggregate.counts()?,
                _ => false,
            };
            outputs.push(if counts {
                or_zero(column)
            } else {
                column.clone()
            });
        }
        Ok(Operator::Project {
            input: Box::new(joined),
            outputs,
        })
    }

    fn grouped_by_links(
        &self,
        input: Operator,
        keys: &[Expression],
        aggregates: &[AggregateCall],
        width: usize,
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
        let (own, outside) = links(&inner.conditions)?;
        for key in &own {
            self.require_identity(key, "LATERAL")?;
        }
        let conditions = own
            .iter()
            .zip(outside)
            .enumerate()
            .map(|(at, (key, value))| {
                let value = of_both(&value, 0)?;
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

    /// LEFT JOIN LATERAL: the right side is freed of the row outside, and computed before NULLs take its place.
    fn outer_dependent(
        &self,
        left: &Operator,
        right: Operator,
        on: &[Expression],
    ) -> Result<Operator, Refusal> {
        let width = left.width();
        if on.is_empty() && gives_one_row(&right) {
            return self.dependent(left, right);
        }
        let columns = right.width();
        let (base, outputs) = right.with_outputs();
        if outputs.iter().any(Expression::names_outside) || gives_one_row(&base) {
            return Err(too_deep());
        }
        let (base, conditions, shift) = match base {
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } if input.names_outside() => {
                let found = self.grouped_by_links(*input, &keys, &aggregates, width)?;
                (found.right, found.conditions, found.links)
            }
            other => {
                let inner = self.freed(other, Vec::new())?;
                let conditions = inner.conditions.iter();
                let conditions = conditions.map(|condition| of_both(condition, width));
                (inner.operator, conditions.collect::<Result<_, _>>()?, 0)
            }
        };
        let mut computed = base.columns();
        let before = computed.len();
        computed.extend(outputs.iter().map(|output| output.moved(&|at| at + shift)));
        let right = Operator::Project {
            input: Box::new(base),
            outputs: computed,
        };
        let own = |at: usize| if at < width { at } else { at + before };
        let on = on.iter().map(|condition| condition.moved(&own));
        let joined = Operator::Outer {
            left: Box::new(left.clone()),
            right: Box::new(right),
            conditions: conditions.into_iter().chain(on).collect(),
            is_full: false,
            is_dependent: true,
        };
        let mut outputs = joined.columns();
        outputs.drain(width..width + before);
        debug_assert_eq!(outputs.len(), width + columns, "as many as there were");
        Ok(Operator::Project {
            input: Box::new(joined),
            outputs,
        })
    }
}

/// A grouping that is joined by equal values.
struct Linked {
    /// Its first keys are the values by which it is joined.
    right: Operator,
    links: usize,
    /// Over the left side's columns, then its own.
    conditions: Vec<Expression>,
}

/// An expression over the left side's columns, of so many, and then its own.
fn of_both(expression: &Expression, width: usize) -> Result<Expression, Refusal> {
    placed(expression, width, &|value| Ok(value.clone()))
}

fn unfolding(operator: Operator, outer: bool, on: Vec<Expression>) -> Operator {
    match operator {
        Operator::Unfold {
            input,
            functions,
            has_ordinality,
            ..
        } if outer => Operator::Unfold {
            input,
            functions,
            has_ordinality,
            is_outer: true,
            conditions: on,
        },
        other => other.filtered(on),
    }
}

/// Whether it is an aggregate without GROUP BY, which gives one row whatever there is.
fn gives_one_row(operator: &Operator) -> bool {
    match operator {
        Operator::Project { input, .. } => gives_one_row(input),
        Operator::Aggregate { keys, .. } => keys.is_empty(),
        _ => false,
    }
}

fn or_zero(column: &Expression) -> Expression {
    let zero = Expression::new(
        Kind::Literal("0::int8".to_owned()),
        column.data_type.clone(),
    );
    Expression {
        kind: Kind::Call {
            name: "COALESCE".to_owned(),
            arguments: vec![column.clone(), zero],
        },
        is_nullable: false,
        ..column.clone()
    }
}

fn too_deep() -> Refusal {
    Refusal::new(
        "LATERAL",
        "it depends on the row outside elsewhere than this version can bring into a join",
    )
}
