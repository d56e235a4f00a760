//! Subqueries freed from the row outside: what is about that row stands beside them, as conditions.

use super::read_select::Reader;
use super::scalar_subqueries::links;
use super::{Expression, Kind, MatchKind, Operator, Refusal};

/// A subquery freed from the row outside.
pub(super) struct Inner {
    pub(super) operator: Operator,
    /// Its conditions that are about the row outside, over its columns.
    pub(super) conditions: Vec<Expression>,
    /// What it selects, over its columns.
    pub(super) outputs: Vec<Expression>,
}

impl Reader<'_> {
    /// Frees an operator from the row outside; further columns may follow its own.
    pub(super) fn freed(
        &self,
        operator: Operator,
        outputs: Vec<Expression>,
    ) -> Result<Inner, Refusal> {
        let freed = match operator {
            Operator::First { .. } if operator.names_outside() => self.first_by_links(operator)?,
            other => moved_out(&other),
        };
        if freed.0.names_outside() {
            return Err(depends());
        }
        Ok(Inner {
            operator: freed.0,
            conditions: freed.1,
            outputs,
        })
    }

    // first(σ x = o (X)) for each o is σ x = o of the first rows for each x
    /// The first rows among those that depend on the row outside by equal values: the first for each of these, which are
    /// further columns.
    fn first_by_links(&self, operator: Operator) -> Result<(Operator, Vec<Expression>), Refusal> {
        let Operator::First {
            input,
            keys,
            order,
            limit,
        } = operator
        else {
            return Err(depends());
        };
        let (below, mut outputs) = input.with_outputs();
        let (below, conditions) = moved_out(&below);
        let ordered = order.iter().map(|(value, _)| value);
        let mut all = outputs.iter().chain(&keys).chain(ordered);
        if below.names_outside() || all.any(Expression::names_outside) || !keys.is_empty() {
            return Err(depends());
        }
        let (own, outside) = links(&conditions)?;
        let mut conditions = Vec::new();
        let mut keys = Vec::new();
        for (key, value) in own.into_iter().zip(outside) {
            self.require_identity(&key, "a subquery that depends on the row outside")?;
            let column = key.as_column(outputs.len());
            conditions.push(self.compared("=", value, column.clone())?);
            keys.push(column);
            outputs.push(key);
        }
        let input = Box::new(Operator::Project {
            input: Box::new(below),
            outputs,
        });
        let first = Operator::First {
            input,
            keys,
            order,
            limit,
        };
        Ok((first, conditions))
    }
}

// A ⋉ (B ⋉ C) by conditions about rows of all three is A ⋉ (B × C): how often a row of B is there does not matter.
/// Turns a search for partners that depends on the row outside into a join, where it is but asked whether there are rows.
pub(super) fn unnested(operator: Operator, outputs: &[Expression]) -> Operator {
    let (base, mut conditions) = without_filters(&operator);
    let Operator::Match {
        left,
        right,
        conditions: partners,
        kind: MatchKind::Mark,
    } = base
    else {
        return operator;
    };
    let mark = left.width();
    let is_mark = |condition: &Expression| condition.kind == Kind::Column(mark);
    let reads_mark = |value: &Expression| value.columns().contains(&mark);
    let others = conditions.iter().filter(|condition| !is_mark(condition));
    let is_read = others.chain(outputs).any(reads_mark);
    let is_asked = conditions.iter().any(is_mark);
    if !is_asked || is_read || !partners.iter().any(Expression::names_outside) {
        return operator;
    }
    conditions.retain(|condition| !is_mark(condition));
    conditions.extend(partners.iter().cloned());
    let joined = Operator::Join(vec![(**left).clone(), (**right).clone()]);
    joined.filtered(conditions)
}

/// An operator without its conditions about the row outside, and these.
fn moved_out(operator: &Operator) -> (Operator, Vec<Expression>) {
    let (base, conditions) = without_filters(operator);
    let (moving, staying): (Vec<_>, Vec<_>) =
        conditions.into_iter().partition(Expression::names_outside);
    (base.clone().filtered(staying), moving)
}

/// What filters stand over, and their conditions.
fn without_filters(operator: &Operator) -> (&Operator, Vec<Expression>) {
    let mut base = operator;
    let mut conditions = Vec::new();
    while let Operator::Filter { input, condition } = base {
        conditions.splice(..0, condition.clone().conjuncts());
        base = input;
    }
    (base, conditions)
}

/// The refusal of what can't be freed.
pub(super) fn depends() -> Refusal {
    Refusal::new(
        "a subquery that depends on the row outside",
        "it does so elsewhere than in its own WHERE",
    )
}
