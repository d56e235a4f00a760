//! Subqueries that depend on the row outside wherever they like: computed for all values of what they name of it.
//!
//! D are the distinct values that a subquery T names of the rows A outside. Then A ⋈ T(a) = A ⋈ (D ⋈ T(d)) by a = d, and D is
//! brought below the operators of T until nothing depends on the row outside any more: D ⋈ γ k (T(d)) = γ d, k (D ⋈ T(d)),
//! and alike for windows and first rows (Neumann, Kemper: Unnesting Arbitrary Queries, BTW 2015).

use std::collections::BTreeSet;

use super::answers::placed;
use super::dependent::{Bind, Outside};
use super::read_expression::not_distinct;
use super::read_select::Reader;
use super::set_functions::one_row;
use super::uniqueness::determine;
use super::{AggregateCall, Expression, Kind, Operator, Refusal};

/// What rows are joined with in place of a subquery that depends on them.
pub(super) struct Partners {
    /// Depends on them no more. Its last columns are those of the subquery.
    pub(super) rows: Operator,
    /// How many columns stand before those.
    pub(super) before: usize,
    /// Which of the rows are meant: over the columns outside and then those of `rows`.
    pub(super) conditions: Vec<Expression>,
}

impl Partners {
    /// All conditions, with others over the `width` columns outside and then the subquery's.
    pub(super) fn with(&self, others: &[Expression], width: usize) -> Vec<Expression> {
        let place = |at: usize| if at < width { at } else { at + self.before };
        let others = others.iter().map(|condition| condition.moved(&place));
        self.conditions.iter().cloned().chain(others).collect()
    }
}

impl Reader<'_> {
    // A ⋈ T(a) = A ⋈ (D ⋈ T(d)) by a = d
    /// The rows of a subquery for all values of what it names of the rows outside, to stand behind `width` columns.
    pub(super) fn partners(
        &self,
        width: usize,
        subquery: Operator,
        outside: Outside<'_>,
    ) -> Result<Partners, Refusal> {
        if !subquery.names_outside() {
            return Ok(Partners {
                rows: subquery,
                before: 0,
                conditions: Vec::new(),
            });
        }
        let values = values_of(&subquery, outside.bind)?;
        for value in &values {
            self.require_identity(value, "a subquery that depends on the row outside")?;
        }
        let domain = domain(outside.rows, &values);
        let columns = domain.columns();
        let of_domain = |value: &Expression| {
            let known = |part: &Expression| values.iter().position(|value| value == part);
            let value = (outside.bind)(value)?;
            Ok(value.rewritten(&mut |part| known(part).map(|at| columns[at].clone())))
        };
        let outside = Outside {
            rows: &domain,
            bind: &of_domain,
        };
        let rows = self.for_each(subquery, outside)?;
        Ok(Partners {
            conditions: self.same_values(&values, &rows.columns(), width)?,
            rows,
            before: values.len(),
        })
    }

    /// A subquery for each row of a domain: the domain's columns, then its own.
    fn for_each(&self, subquery: Operator, outside: Outside<'_>) -> Result<Operator, Refusal> {
        let domain = outside.rows;
        let width = domain.width();
        let placed = |expression: &Expression| placed(expression, width, outside.bind);
        let with_domain = |keys: &[Expression]| -> Result<Vec<Expression>, Refusal> {
            let own = keys.iter().map(placed);
            domain.columns().into_iter().map(Ok).chain(own).collect()
        };
        Ok(match subquery {
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } => {
                let calls = aggregates.iter();
                let calls = calls
                    .map(|call| all_parts(&placed, |place| call.moved(&mut |value| place(value))));
                let grouped = Operator::Aggregate {
                    input: Box::new(self.dependent(domain, *input, outside)?),
                    keys: with_domain(&keys)?,
                    aggregates: calls.collect::<Result<_, _>>()?,
                };
                if keys.is_empty() && width > 0 {
                    self.group_of_each(domain, grouped, &aggregates)?
                } else {
                    grouped
                }
            }
            Operator::First {
                input,
                keys,
                order,
                limit,
            } => Operator::First {
                input: Box::new(self.dependent(domain, *input, outside)?),
                keys: with_domain(&keys)?,
                order: order
                    .iter()
                    .map(|(value, direction)| Ok((placed(value)?, direction.clone())))
                    .collect::<Result<_, Refusal>>()?,
                limit,
            },
            Operator::Window { input, keys, calls } => Operator::Window {
                input: Box::new(self.dependent(domain, *input, outside)?),
                keys: with_domain(&keys)?,
                calls: calls
                    .iter()
                    .map(|call| all_parts(&placed, |place| call.moved(&mut |value| place(value))))
                    .collect::<Result<_, _>>()?,
            },
            other => self.dependent(domain, other, outside)?,
        })
    }

    // D ⋈ γ (T(d)) = D ⟕ γ d (D ⋈ T(d)), with counts 0 where there is no group
    /// An aggregate without GROUP BY for each row of a domain, whatever groups there are.
    fn group_of_each(
        &self,
        domain: &Operator,
        groups: Operator,
        aggregates: &[AggregateCall],
    ) -> Result<Operator, Refusal> {
        let width = domain.width();
        let values = domain.columns();
        let conditions = self.same_values(&values, &groups.columns(), width)?;
        let joined = Operator::Outer {
            left: Box::new(domain.clone()),
            right: Box::new(groups),
            conditions,
            is_full: false,
            is_dependent: true,
        };
        let columns = joined.columns();
        let mut outputs = values;
        for (aggregate, column) in aggregates.iter().zip(&columns[2 * width..]) {
            outputs.push(of_any_group(aggregate, column)?);
        }
        Ok(Operator::Project {
            input: Box::new(joined),
            outputs,
        })
    }

    /// That values are the same as the first columns of rows that stand from `start` on.
    fn same_values(
        &self,
        values: &[Expression],
        columns: &[Expression],
        start: usize,
    ) -> Result<Vec<Expression>, Refusal> {
        let columns = columns.iter().enumerate();
        let columns = columns.map(|(at, column)| column.as_column(start + at));
        let pairs = values.iter().cloned().zip(columns);
        pairs
            .map(|(value, column)| {
                if value.is_nullable {
                    Ok(not_distinct(value, column))
                } else {
                    self.compared("=", value, column)
                }
            })
            .collect()
    }
}

/// The distinct values that rows have.
fn domain(rows: &Operator, values: &[Expression]) -> Operator {
    if values.is_empty() {
        return one_row();
    }
    let columns: Option<BTreeSet<usize>> = values
        .iter()
        .map(|value| match value.kind {
            Kind::Column(at) => Some(at),
            _ => None,
        })
        .collect();
    let (input, values) = (Box::new(rows.clone()), values.to_vec());
    if columns.is_some_and(|columns| determine(rows, &columns)) {
        return Operator::Project {
            input,
            outputs: values,
        };
    }
    Operator::Aggregate {
        input,
        keys: values,
        aggregates: Vec::new(),
    }
}

/// What a subquery names of the rows outside, over their columns. Of what depends on rows further out as well only the
/// columns count.
fn values_of(subquery: &Operator, bind: Bind<'_>) -> Result<Vec<Expression>, Refusal> {
    let mut values = Vec::new();
    for name in subquery.values_outside() {
        let value = bind(&name)?;
        if !value.names_outside() {
            if !value.columns().is_empty() {
                note(value, &mut values);
            }
            continue;
        }
        value.any(&mut |part| {
            if matches!(part.kind, Kind::Column(_)) {
                note(part.clone(), &mut values);
            }
            false
        });
    }
    Ok(values)
}

fn note(value: Expression, values: &mut Vec<Expression>) {
    if !values.contains(&value) {
        values.push(value);
    }
}

/// Something over what stands elsewhere, if all its parts can be placed.
fn all_parts<T>(
    placed: &dyn Fn(&Expression) -> Result<Expression, Refusal>,
    moved: impl FnOnce(&mut dyn FnMut(&Expression) -> Expression) -> T,
) -> Result<T, Refusal> {
    let mut failed = None;
    let moved = moved(&mut |value| {
        placed(value).unwrap_or_else(|refusal| {
            failed = Some(refusal);
            value.clone()
        })
    });
    failed.map_or(Ok(moved), Err)
}

/// The value of an aggregate without GROUP BY, whose column is NULL where there is no group.
pub(super) fn of_any_group(
    aggregate: &AggregateCall,
    column: &Expression,
) -> Result<Expression, Refusal> {
    Ok(if aggregate.counts()? {
        or_zero(column)
    } else {
        column.clone()
    })
}

/// A count, or 0 where there is no group.
pub(super) fn or_zero(column: &Expression) -> Expression {
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
