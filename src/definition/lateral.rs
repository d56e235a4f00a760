//! LATERAL: items of FROM that depend on those before them become joins and groupings that don't.

use pg_query::NodeEnum;
use pg_query::protobuf::{JoinType, Node};

use super::answers::placed;
use super::dependent::{Outside, gives_one_row, itself, too_deep, without};
use super::domain::Partners;
use super::nodes::{content, required};
use super::read_from::{Source, as_columns, named};
use super::read_select::Reader;
use super::subqueries::select_of;
use super::{Expression, Kind, Operator, Refusal};

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
                    self.dependent(&left, operator, of_rows(&left))?
                        .filtered(conditions)
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

    /// LEFT JOIN LATERAL: the right side is freed of the row outside, and computed before NULLs take its place.
    fn outer_dependent(
        &self,
        left: &Operator,
        right: Operator,
        on: &[Expression],
    ) -> Result<Operator, Refusal> {
        if on.is_empty() && gives_one_row(&right) {
            return self.dependent(left, right, of_rows(left));
        }
        let of_values = right.clone();
        let columns = right.width();
        let found = match self.by_links(left, right) {
            Ok(found) => found,
            Err(_) => self.partners(left.width(), of_values, of_rows(left))?,
        };
        let joined = Operator::Outer {
            left: Box::new(left.clone()),
            conditions: found.with(on, left.width()),
            right: Box::new(found.rows),
            is_full: false,
            is_dependent: true,
        };
        Ok(without(joined, left.width(), found.before, columns))
    }

    /// What depends on the row outside by conditions that can stand beside it.
    fn by_links(&self, left: &Operator, right: Operator) -> Result<Partners, Refusal> {
        let width = left.width();
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
                let found =
                    self.grouped_by_links(*input, &keys, &aggregates, width, of_rows(left))?;
                (found.right, found.conditions, found.links)
            }
            other => {
                let inner = self.freed(other, Vec::new())?;
                let conditions = inner.conditions.iter();
                let conditions = conditions.map(|condition| placed(condition, width, &itself));
                (inner.operator, conditions.collect::<Result<_, _>>()?, 0)
            }
        };
        let mut computed = base.columns();
        let before = computed.len();
        computed.extend(outputs.iter().map(|output| output.moved(&|at| at + shift)));
        Ok(Partners {
            rows: Operator::Project {
                input: Box::new(base),
                outputs: computed,
            },
            before,
            conditions,
        })
    }
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

fn of_rows(rows: &Operator) -> Outside<'_> {
    Outside {
        rows,
        bind: &itself,
    }
}
