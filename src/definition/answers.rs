//! The answers of subqueries: further columns of the rows for which they are asked.

use std::collections::BTreeSet;

use super::dependent::{Bind, Outside, itself};
use super::domain::Partners;
use super::read_select::Reader;
use super::scalar_subqueries::Value;
use super::subqueries::Pending;
use super::{Expression, Kind, MatchKind, Operator, Refusal, SetFunction};

/// That all subqueries are to be answered.
pub(super) fn everything(_: usize) -> bool {
    true
}

/// The subqueries that some expressions read.
pub(super) fn asked<'a>(
    expressions: impl Iterator<Item = &'a Expression>,
) -> impl Fn(usize) -> bool {
    let mut numbers = BTreeSet::new();
    for expression in expressions {
        expression.any(&mut |part| {
            if let Kind::Subquery(number) = part.kind {
                numbers.insert(number);
            }
            false
        });
    }
    move |number| numbers.contains(&number)
}

impl Reader<'_> {
    /// The rows of an operator with the answers of all subqueries as further columns, and expressions that read them there.
    pub(super) fn all_answered(
        &self,
        input: Operator,
        pending: &[Pending],
    ) -> Result<(Operator, Vec<Expression>), Refusal> {
        self.answered(input, pending, &everything, &itself)
    }

    /// The same with those subqueries that are to be answered; `bind` gives what they name over the columns of the rows.
    pub(super) fn answered(
        &self,
        mut input: Operator,
        pending: &[Pending],
        is_asked: &dyn Fn(usize) -> bool,
        bind: Bind<'_>,
    ) -> Result<(Operator, Vec<Expression>), Refusal> {
        if pending.is_empty() {
            return Ok((input, Vec::new()));
        }
        let rows = input.clone();
        let outside = Outside { rows: &rows, bind };
        let mut answers = Vec::new();
        let mut sets = Vec::new();
        for (number, pending) in pending.iter().enumerate() {
            if !is_asked(number) {
                answers.push(Expression::boolean(Kind::Subquery(number)));
                continue;
            }
            let answer;
            (input, answer) = match pending {
                Pending::Mark { right, conditions } => {
                    self.marked(input, right, conditions, outside)?
                }
                Pending::Value(value) => self.with_value(input, value, outside)?,
                Pending::Set(function) => {
                    sets.push((number, function.with(bind(&function.call)?)));
                    (input, function.columns[0].clone())
                }
            };
            answers.push(answer);
        }
        if !sets.is_empty() {
            input = unfolded(input, sets, &mut answers);
        }
        Ok((input, answers))
    }

    /// Rows with whether there is a partner.
    fn marked(
        &self,
        input: Operator,
        right: &Operator,
        conditions: &[Expression],
        outside: Outside<'_>,
    ) -> Result<(Operator, Expression), Refusal> {
        let width = input.width();
        let found = self.partners(width, right.clone(), outside)?;
        let mut mark = Expression::boolean(Kind::Column(width));
        mark.is_nullable = false;
        let marked = Operator::Match {
            conditions: with_placed(&found, conditions, width, outside.bind)?,
            left: Box::new(input),
            right: Box::new(found.rows),
            kind: MatchKind::Mark,
        };
        Ok((marked, mark))
    }

    /// Rows with the columns that a value is computed of.
    fn with_value(
        &self,
        input: Operator,
        value: &Value,
        outside: Outside<'_>,
    ) -> Result<(Operator, Expression), Refusal> {
        let width = input.width();
        let found = self.partners(width, value.right.clone(), outside)?;
        let conditions = with_placed(&found, &value.conditions, width, outside.bind)?;
        let joins_one_row = value.is_one_row;
        let output = value.output.rewritten(&mut |part| match part.kind {
            // NULL where there is no row
            Kind::Column(_) => Some(Expression {
                is_nullable: part.is_nullable || !joins_one_row,
                ..part.clone()
            }),
            _ => None,
        });
        let output = placed(&output, width + found.before, outside.bind)?;
        let joined = if joins_one_row {
            Operator::Join(vec![input, found.rows]).filtered(conditions)
        } else {
            Operator::Outer {
                left: Box::new(input),
                right: Box::new(found.rows),
                conditions,
                is_full: false,
                is_dependent: true,
            }
        };
        Ok((joined, output))
    }
}

/// All conditions that partners must meet, with those over the subquery's columns.
fn with_placed(
    found: &Partners,
    conditions: &[Expression],
    width: usize,
    bind: Bind<'_>,
) -> Result<Vec<Expression>, Refusal> {
    let conditions = conditions.iter();
    let conditions = conditions.map(|condition| placed(condition, width, bind));
    Ok(found.with(&conditions.collect::<Result<Vec<_>, _>>()?, width))
}

/// Rows with what functions in the select list give, side by side; these are the answers of such numbers.
fn unfolded(
    input: Operator,
    sets: Vec<(usize, SetFunction)>,
    answers: &mut [Expression],
) -> Operator {
    let width = input.width();
    for (at, (answer, function)) in sets.iter().enumerate() {
        answers[*answer] = function.columns[0].as_column(width + at);
    }
    Operator::Unfold {
        input: Box::new(input),
        functions: sets.into_iter().map(|(_, function)| function).collect(),
        has_ordinality: false,
        is_outer: false,
        conditions: Vec::new(),
    }
}

/// An expression that reads answers where they are.
pub(super) fn reading(expression: &Expression, answers: &[Expression]) -> Expression {
    expression.rewritten(&mut |part| match part.kind {
        Kind::Subquery(number) => answers.get(number).cloned(),
        _ => None,
    })
}

/// An expression over the `width` columns outside and then those of the subquery.
pub(super) fn placed(
    expression: &Expression,
    width: usize,
    bind: Bind<'_>,
) -> Result<Expression, Refusal> {
    let mut failed = None;
    let placed = expression.rewritten(&mut |part| match &part.kind {
        Kind::Column(at) => Some(part.as_column(at + width)),
        Kind::Outer(value) => Some(bind(value).unwrap_or_else(|refusal| {
            failed = Some(refusal);
            part.clone()
        })),
        _ => None,
    });
    failed.map_or(Ok(placed), Err)
}
