//! Subqueries in expressions: each becomes a column of the rows for which it is evaluated.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, RowExpr, SelectStmt, SubLink, SubLinkType};

use super::freed::{Inner, unnested};
use super::nodes::{content, qualified, required};
use super::read_expression::Place;
use super::read_select::Reader;
use super::scalar_subqueries::Value;
use super::scope::Scope;
use super::{Expression, Kind, Operator, Refusal, SetFunction};

/// A subquery that was read in an expression, before its answer is a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pending {
    /// Whether there is a partner.
    Mark {
        /// Where partners are sought; may depend on the row outside.
        right: Operator,
        /// Over its columns; what is of the row outside is wrapped in [`Kind::Outer`].
        conditions: Vec<Expression>,
    },
    /// A value.
    Value(Value),
    /// A function in the select list that gives a set; all of them are taken side by side.
    Set(SetFunction),
}

impl Pending {
    /// Whether it names a column of the row outside that is one of these.
    pub(super) fn names(&self, is_one: &dyn Fn(usize) -> bool) -> bool {
        let mut named = match self {
            Self::Mark { right, .. } | Self::Value(Value { right, .. }) => right.values_outside(),
            Self::Set(function) => vec![function.call.clone()],
        };
        if let Self::Mark { conditions, .. } | Self::Value(Value { conditions, .. }) = self {
            named.extend(conditions.iter().flat_map(Expression::values_outside));
        }
        if let Self::Value(value) = self {
            named.extend(value.output.values_outside());
        }
        let columns = named.iter().flat_map(Expression::columns);
        columns.into_iter().any(is_one)
    }
}

impl Reader<'_> {
    /// A subquery in an expression. In a condition it is only asked whether it is true.
    pub(super) fn sublink(
        &self,
        link: &SubLink,
        place: &mut Place<'_>,
        is_condition: bool,
    ) -> Result<Expression, Refusal> {
        let SubLink {
            xpr: _,
            sub_link_type,
            sub_link_id: _,
            testexpr,
            oper_name,
            subselect,
            location: _,
        } = link;
        let subselect = required(subselect.as_deref())?;
        match SubLinkType::try_from(*sub_link_type) {
            Ok(SubLinkType::ExistsSublink) => {
                let asked = self.without_idle_limit(select_of(subselect)?)?;
                let inner = self.inner(&asked, place.scope)?;
                self.note(place, inner.operator, inner.conditions)
            }
            Ok(SubLinkType::AnySublink) => {
                let (inner, tests) =
                    self.tested(testexpr.as_deref(), oper_name, subselect, place)?;
                let matched = self.note(
                    place,
                    inner.operator.clone(),
                    [inner.conditions.clone(), tests.clone()].concat(),
                )?;
                if is_condition || tests.iter().all(|test| !test.is_nullable) {
                    return Ok(matched);
                }
                let possible = [inner.conditions, vec![all_of(tests, "IS NOT FALSE")]].concat();
                let possible = self.note(place, inner.operator, possible)?;
                Ok(three_valued(matched, "true", possible, "false"))
            }
            Ok(SubLinkType::AllSublink) => {
                let (inner, tests) =
                    self.tested(testexpr.as_deref(), oper_name, subselect, place)?;
                let failing = all_of(tests.clone(), "IS NOT TRUE");
                let failing = [inner.conditions.clone(), vec![failing]].concat();
                let failing = self.note(place, inner.operator.clone(), failing)?;
                if is_condition || tests.iter().all(|test| !test.is_nullable) {
                    return Ok(negated(failing));
                }
                let denied = [inner.conditions, vec![all_of(tests, "IS FALSE")]].concat();
                let denied = self.note(place, inner.operator, denied)?;
                Ok(three_valued(denied, "false", failing, "true"))
            }
            Ok(SubLinkType::ExprSublink) => {
                let select = select_of(subselect)?;
                let (read, _) = self.within(place.scope, |reader| reader.select(select))?;
                self.valued(read, place)
            }
            Ok(SubLinkType::ArraySublink) => {
                let select = select_of(subselect)?;
                let read = self.within(place.scope, |reader| reader.array_of(select))?;
                self.valued(read, place)
            }
            _ => Err(Refusal::unknown("this kind of subquery in an expression")),
        }
    }

    /// Whether there is a partner.
    fn note(
        &self,
        place: &mut Place<'_>,
        right: Operator,
        conditions: Vec<Expression>,
    ) -> Result<Expression, Refusal> {
        match self.exists_by_row(&right, &conditions) {
            Some(exists) => Ok(exists),
            None => noted(place, Pending::Mark { right, conditions }),
        }
    }

    /// A subquery that stands for a value.
    fn valued(&self, operator: Operator, place: &mut Place<'_>) -> Result<Expression, Refusal> {
        if let Some(value) = self.value_by_row(&operator) {
            return Ok(value);
        }
        let value = self.scalar(operator)?;
        let facts = Expression {
            is_nullable: true,
            ..value.output.clone()
        };
        let noted = noted(place, Pending::Value(value))?;
        Ok(Expression {
            kind: noted.kind,
            ..facts
        })
    }

    /// `NOT x IN (…)`, asked whether it is true: no row may be equal, nor may it be unknown whether one is.
    pub(super) fn not_in(
        &self,
        link: &SubLink,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let subselect = required(link.subselect.as_deref())?;
        let (inner, tests) =
            self.tested(link.testexpr.as_deref(), &link.oper_name, subselect, place)?;
        let possible = if tests.iter().all(|test| !test.is_nullable) {
            tests
        } else {
            vec![all_of(tests, "IS NOT FALSE")]
        };
        let conditions = [inner.conditions, possible].concat();
        Ok(negated(self.note(place, inner.operator, conditions)?))
    }

    /// The subquery of `test operator ANY (…)` or ALL, and the comparisons of its columns.
    fn tested(
        &self,
        test: Option<&Node>,
        operator: &[Node],
        subselect: &Node,
        place: &mut Place<'_>,
    ) -> Result<(Inner, Vec<Expression>), Refusal> {
        let test = required(test)?;
        let tests = match content(test)? {
            NodeEnum::RowExpr(row) => {
                let RowExpr { args, .. } = &**row;
                args.iter()
                    .map(|part| self.read(part, place))
                    .collect::<Result<Vec<_>, _>>()?
            }
            _ => vec![self.read(test, place)?],
        };
        let (schema, symbol) = if operator.is_empty() {
            ("pg_catalog".to_owned(), "=".to_owned())
        } else {
            qualified(operator)?
        };
        if tests.len() > 1 && symbol != "=" {
            return Err(Refusal::unknown("rows compared by another operator than ="));
        }
        let inner = self.inner(select_of(subselect)?, place.scope)?;
        if inner.outputs.len() != tests.len() {
            return Err(Refusal::unknown("a subquery with other columns than these"));
        }
        let compared = tests
            .into_iter()
            .zip(&inner.outputs)
            .map(|(test, output)| {
                let is_nullable = test.is_nullable || output.is_nullable;
                let strict = schema == "pg_catalog" && symbol == "=";
                let mut compared =
                    self.applied(&schema, &symbol, Some(of_outside(test)?), output.clone())?;
                compared.is_nullable = is_nullable || !strict;
                Ok(compared)
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        Ok((inner, compared))
    }

    /// Reads a subquery that may name columns of the row outside.
    fn inner(&self, select: &SelectStmt, outside: &Scope) -> Result<Inner, Refusal> {
        let (operator, _) = self.within(outside, |reader| reader.select(select))?;
        let (operator, outputs) = operator.with_outputs();
        if self.is_by_row(&operator) {
            return Ok(Inner {
                operator,
                conditions: Vec::new(),
                outputs,
            });
        }
        let freed = self.freed(unnested(operator.clone(), &outputs), outputs.clone());
        // what can't be freed here is when the rows outside are known
        Ok(freed.unwrap_or(Inner {
            operator,
            conditions: Vec::new(),
            outputs,
        }))
    }

    /// Reads something that may name columns of the row outside.
    pub(super) fn within<T>(&self, outside: &Scope, read: impl FnOnce(&Self) -> T) -> T {
        self.outside.borrow_mut().push(outside.clone());
        let read = read(self);
        self.outside.borrow_mut().pop();
        read
    }
}

/// The SELECT that a subquery is.
pub(super) fn select_of(subselect: &Node) -> Result<&SelectStmt, Refusal> {
    match content(subselect)? {
        NodeEnum::SelectStmt(select) => Ok(select),
        _ => Err(Refusal::unknown("a subquery that is no SELECT")),
    }
}

pub(super) fn noted(place: &mut Place<'_>, noted: Pending) -> Result<Expression, Refusal> {
    let Some(pending) = place.subqueries.as_deref_mut() else {
        return Err(Refusal::unknown(
            "a subquery elsewhere than in the select list, WHERE and HAVING",
        ));
    };
    let number = pending
        .iter()
        .position(|other| *other == noted)
        .unwrap_or_else(|| {
            pending.push(noted);
            pending.len() - 1
        });
    let mut answer = Expression::boolean(Kind::Subquery(number));
    answer.is_nullable = false;
    Ok(answer)
}

/// A value of the row outside.
fn of_outside(value: Expression) -> Result<Expression, Refusal> {
    if value.any(&mut |part| {
        matches!(
            part.kind,
            Kind::Subquery(_) | Kind::Window(_) | Kind::Grouping(_)
        )
    }) {
        return Err(Refusal::unknown("a subquery compared with a subquery"));
    }
    let depends = |part: &Expression| matches!(part.kind, Kind::Aggregate(_) | Kind::Outer(_));
    if value.columns().is_empty() && !value.any(&mut |part| depends(part)) {
        return Ok(value);
    }
    Ok(Expression {
        kind: Kind::Outer(Box::new(value.clone())),
        ..value
    })
}

fn all_of(mut tests: Vec<Expression>, test: &'static str) -> Expression {
    let operand = if tests.len() == 1 {
        tests.swap_remove(0)
    } else {
        Expression::boolean(Kind::Logical {
            word: "AND",
            operands: tests,
        })
    };
    let mut tested = Expression::boolean(Kind::Test {
        operand: Box::new(operand),
        test,
    });
    tested.is_nullable = false;
    tested
}

fn negated(condition: Expression) -> Expression {
    let mut value = Expression::boolean(Kind::Not(Box::new(condition)));
    value.is_nullable = false;
    value
}

/// One value if it is certain, NULL if it is but possible, or else the other one.
fn three_valued(
    certain: Expression,
    value: &str,
    possible: Expression,
    otherwise: &str,
) -> Expression {
    let literal = |text: &str| Expression::boolean(Kind::Literal(text.to_owned()));
    Expression::boolean(Kind::Case {
        subject: None,
        branches: vec![(certain, literal(value)), (possible, literal("NULL::bool"))],
        otherwise: Some(Box::new(literal(otherwise))),
    })
}

/// The subquery of `x IN (…)`, if that is what a node is.
pub(super) fn in_subquery(node: &Node) -> Result<Option<&SubLink>, Refusal> {
    Ok(match content(node)? {
        NodeEnum::SubLink(link)
            if SubLinkType::try_from(link.sub_link_type) == Ok(SubLinkType::AnySublink) =>
        {
            Some(link)
        }
        _ => None,
    })
}
