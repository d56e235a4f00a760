//! Subqueries that stand for one value.

use std::collections::BTreeSet;

use super::dependent::gives_one_row;
use super::domain::or_zero;
use super::freed::{Inner, depends};
use super::read_select::Reader;
use super::uniqueness::determine;
use super::{AggregateCall, Expression, Kind, Operator, Refusal};

/// How the value of a subquery is found for a row outside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    /// Rows of which at most one goes with a row outside. They may depend on it.
    pub(super) right: Operator,
    /// Over its columns; what is of the row outside is wrapped in [`Kind::Outer`].
    pub(super) conditions: Vec<Expression>,
    /// The value, over its columns and the row outside; its columns are NULL where no row goes with the one outside.
    pub(super) output: Expression,
    /// Whether exactly one row goes with each.
    pub(super) is_one_row: bool,
}

impl Reader<'_> {
    /// The value of a subquery that has been read.
    pub(super) fn scalar(&self, operator: Operator) -> Result<Value, Refusal> {
        let [column] = &operator.columns()[..] else {
            return Err(Refusal::unknown("a subquery of several columns as a value"));
        };
        match self.scalar_by_links(operator.clone()) {
            // what can't be freed here is when the rows outside are known
            Err(_) if operator.names_outside() && determine(&operator, &BTreeSet::new()) => {
                Ok(Value {
                    is_one_row: gives_one_row(&operator),
                    right: operator,
                    conditions: Vec::new(),
                    output: column.clone(),
                })
            }
            read => read,
        }
    }

    /// The value of one that depends on the row outside by conditions that can stand beside it.
    fn scalar_by_links(&self, operator: Operator) -> Result<Value, Refusal> {
        let (input, mut outputs) = operator.with_outputs();
        let output = outputs.swap_remove(0);
        match input {
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } if keys.is_empty() => {
                let inner = self.freed(*input, Vec::new())?;
                if inner.conditions.is_empty() {
                    return Ok(Value {
                        output,
                        conditions: Vec::new(),
                        is_one_row: true,
                        right: Operator::Aggregate {
                            input: Box::new(inner.operator),
                            keys,
                            aggregates,
                        },
                    });
                }
                if aggregates
                    .iter()
                    .flat_map(|aggregate| aggregate.expressions())
                    .any(Expression::names_outside)
                {
                    return Err(depends());
                }
                let (keys, outside) = links(&inner.conditions)?;
                for key in &keys {
                    self.require_identity(key, "a subquery that depends on the row outside")?;
                }
                let counts: Vec<bool> = aggregates
                    .iter()
                    .map(AggregateCall::counts)
                    .collect::<Result<_, _>>()?;
                let conditions = keys.iter().zip(outside).enumerate();
                let conditions = conditions
                    .map(|(at, (key, outside))| self.compared("=", key.as_column(at), outside))
                    .collect::<Result<_, _>>()?;
                Ok(Value {
                    conditions,
                    output: without_rows(&output, keys.len(), &counts),
                    is_one_row: false,
                    right: Operator::Aggregate {
                        input: Box::new(inner.operator),
                        keys,
                        aggregates,
                    },
                })
            }
            other => {
                let inner = self.freed(other, Vec::new())?;
                at_most_one_row(&inner)?;
                let mut columns = inner.operator.columns();
                let at = columns.len();
                let output = if output.names_outside() {
                    let mut is_there = Expression::boolean(Kind::Literal("true".to_owned()));
                    is_there.is_nullable = false;
                    let there = is_there.as_column(at);
                    columns.push(is_there);
                    where_there(there, output)
                } else {
                    let column = output.as_column(at);
                    columns.push(output);
                    column
                };
                Ok(Value {
                    right: Operator::Project {
                        input: Box::new(inner.operator),
                        outputs: columns,
                    },
                    conditions: inner.conditions,
                    output,
                    is_one_row: false,
                })
            }
        }
    }
}

/// The two sides of conditions that all say that something is equal to something of the row outside.
pub(super) fn links(
    conditions: &[Expression],
) -> Result<(Vec<Expression>, Vec<Expression>), Refusal> {
    let mut keys = Vec::new();
    let mut values = Vec::new();
    for condition in conditions {
        let (own, outside) = link(condition).ok_or_else(|| {
            Refusal::new(
                "a subquery that depends on the row outside",
                "it does so by something else than being equal",
            )
        })?;
        keys.push(own.clone());
        values.push(outside.clone());
    }
    Ok((keys, values))
}

/// Refuses unless equal values prove that no two rows can go with one row outside.
fn at_most_one_row(inner: &Inner) -> Result<(), Refusal> {
    let linked = inner.conditions.iter().filter_map(|condition| {
        let (own, _) = link(condition)?;
        match own.kind {
            Kind::Column(at) => Some(at),
            _ => None,
        }
    });
    if determine(&inner.operator, &linked.collect()) || has_linked_key(inner) {
        Ok(())
    } else {
        Err(more_than_one())
    }
}

/// Whether equal values fix a unique key of a base table; one that may be NULL, too, as NULL is equal to nothing.
fn has_linked_key(inner: &Inner) -> bool {
    let mut base = &inner.operator;
    let mut own = Vec::new();
    while let Operator::Filter { input, condition } = base {
        own.extend(condition.clone().conjuncts());
        base = input;
    }
    let Operator::Scan(relation) = base else {
        return false;
    };
    let of_constants = own.iter().filter_map(|condition| match &condition.kind {
        Kind::Operator {
            left: Some(left),
            operator,
            right,
        } if operator == "=" && right.columns().is_empty() => Some(&**left),
        _ => None,
    });
    let of_outside = inner
        .conditions
        .iter()
        .filter_map(|condition| link(condition));
    let fixed: Vec<i16> = of_constants
        .chain(of_outside.map(|(own, _)| own))
        .filter_map(|own| match own.kind {
            Kind::Column(at) => Some(relation.columns[at].attnum),
            _ => None,
        })
        .collect();
    relation
        .unique_keys
        .iter()
        .any(|key| key.columns.iter().all(|column| fixed.contains(column)))
}

/// `own = outside`, in whichever order.
fn link(condition: &Expression) -> Option<(&Expression, &Expression)> {
    let Kind::Operator {
        left: Some(left),
        operator,
        right,
    } = &condition.kind
    else {
        return None;
    };
    let is_own = |value: &Expression| !value.names_outside() && !value.columns().is_empty();
    let is_outside = |value: &Expression| value.names_outside() && value.columns().is_empty();
    match operator == "=" {
        true if is_own(left) && is_outside(right) => Some((left, right)),
        true if is_own(right) && is_outside(left) => Some((right, left)),
        _ => None,
    }
}

/// A value over aggregates that stand after so many keys, with counts 0 where there is no group.
fn without_rows(value: &Expression, keys: usize, counts: &[bool]) -> Expression {
    value.rewritten(&mut |part| match part.kind {
        Kind::Column(at) => {
            let column = Expression {
                is_nullable: true,
                ..part.as_column(at + keys)
            };
            Some(if counts[at] { or_zero(&column) } else { column })
        }
        _ => None,
    })
}

/// A value where a row is there, which a column says, else NULL.
fn where_there(is_there: Expression, value: Expression) -> Expression {
    Expression {
        is_nullable: true,
        kind: Kind::Case {
            subject: None,
            branches: vec![(is_there, value.clone())],
            otherwise: None,
        },
        ..value
    }
}

fn more_than_one() -> Refusal {
    Refusal::new(
        "a subquery as a value",
        "that it gives at most one row can't be told",
    )
}
