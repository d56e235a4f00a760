//! Scalar expressions. Every implicit cast is spelled out in what `pg_get_viewdef` prints, so an operator or function is
//! found by the exact types of its arguments or it is refused.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, AExprKind, BoolExpr, BoolExprType, BoolTestType, BooleanTest, CoalesceExpr,
    CollateClause, ColumnRef, MinMaxExpr, MinMaxOp, Node, NullTest, NullTestType,
};

use super::nodes::{content, kind_of, names, required};
use super::read_select::Reader;
use super::rows_and_arrays::two_rows;
use super::scope::Scope;
use super::subqueries::{Pending, in_subquery};
use super::window_clauses::Windows;
use super::{AggregateCall, Expression, Kind, Refusal, TypeName};

/// Where an expression stands: what it may name, and where it notes aggregates if it may have any.
pub(super) struct Place<'a> {
    pub(super) scope: &'a Scope,
    pub(super) aggregates: Option<&'a mut Vec<AggregateCall>>,
    /// Where it notes subqueries, if it may have any.
    pub(super) subqueries: Option<&'a mut Vec<Pending>>,
    /// Where it notes window functions, if it may have any.
    pub(super) windows: Option<&'a mut Windows>,
    /// Where it notes what GROUPING asks of, if it may have any.
    pub(super) groupings: Option<&'a mut Vec<Vec<Expression>>>,
    /// Whether it only matters if it is true.
    pub(super) is_condition: bool,
}

impl<'a> Place<'a> {
    /// What is to be read where there may be neither aggregates nor window functions, such as arguments of them.
    pub(super) fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let outside = (
            self.aggregates.take(),
            self.windows.take(),
            self.groupings.take(),
        );
        let read = read(self);
        (self.aggregates, self.windows, self.groupings) = outside;
        self.is_condition = false;
        read
    }

    /// Where there may be nothing but columns and what is computed of them.
    pub(super) fn plain(scope: &'a Scope) -> Self {
        Self {
            scope,
            aggregates: None,
            subqueries: None,
            windows: None,
            groupings: None,
            is_condition: false,
        }
    }
}

impl Reader<'_> {
    /// An expression without aggregates and subqueries.
    pub(super) fn expression(&self, node: &Node, scope: &Scope) -> Result<Expression, Refusal> {
        self.read(node, &mut Place::plain(scope))
    }

    /// A condition without aggregates.
    pub(super) fn condition(
        &self,
        node: &Node,
        scope: &Scope,
        subqueries: &mut Vec<Pending>,
    ) -> Result<Expression, Refusal> {
        self.read(
            node,
            &mut Place {
                scope,
                aggregates: None,
                subqueries: Some(subqueries),
                windows: None,
                groupings: None,
                is_condition: true,
            },
        )
    }

    pub(super) fn read(&self, node: &Node, place: &mut Place<'_>) -> Result<Expression, Refusal> {
        let is_condition = std::mem::take(&mut place.is_condition);
        match content(node)? {
            NodeEnum::SubLink(link) => self.sublink(link, place, is_condition),
            NodeEnum::BoolExpr(expression) => self.logical(expression, place, is_condition),
            NodeEnum::ColumnRef(column) => self.column_named(column, place.scope),
            NodeEnum::AConst(constant) => super::constants::literal(constant),
            NodeEnum::TypeCast(cast) => self.cast(cast, place),
            NodeEnum::AExpr(expression) => self.operator(expression, place),
            NodeEnum::NullTest(test) => self.null_test(test, place),
            NodeEnum::BooleanTest(test) => self.boolean_test(test, place),
            NodeEnum::CaseExpr(case) => self.case(case, place),
            NodeEnum::CoalesceExpr(call) => {
                let CoalesceExpr {
                    xpr: _,
                    coalescetype: _,
                    coalescecollid: _,
                    args,
                    location: _,
                } = &**call;
                self.choice("COALESCE", args, place)
            }
            NodeEnum::MinMaxExpr(call) => {
                let MinMaxExpr {
                    xpr: _,
                    minmaxtype: _,
                    minmaxcollid: _,
                    inputcollid: _,
                    op,
                    args,
                    location: _,
                } = &**call;
                match MinMaxOp::try_from(*op) {
                    Ok(MinMaxOp::IsGreatest) => self.choice("GREATEST", args, place),
                    Ok(MinMaxOp::IsLeast) => self.choice("LEAST", args, place),
                    _ => Err(Refusal::unknown("this form of GREATEST or LEAST")),
                }
            }
            NodeEnum::GroupingFunc(call) => match place.groupings.as_deref_mut() {
                Some(_) => self.grouping_call(call, place),
                None => Err(Refusal::unknown("GROUPING() in this place")),
            },
            NodeEnum::FuncCall(call) => {
                if let Some(over) = &call.over {
                    return self.window_call(call, over, place);
                }
                if self.is_aggregate(call)? {
                    return self.aggregate(call, place);
                }
                self.call(call, place)
            }
            NodeEnum::AIndirection(indirection) => self.subscripted(indirection, place),
            NodeEnum::AArrayExpr(array) => self.array(array, place),
            NodeEnum::CollateClause(clause) => self.collate(clause, place),
            other @ NodeEnum::SqlvalueFunction(_) => Err(Refusal::new(
                kind_of(other),
                "it depends on the time of the refresh, or on who runs it",
            )),
            other => Err(Refusal::unknown(kind_of(other))),
        }
    }

    pub(super) fn column_named(
        &self,
        column: &ColumnRef,
        scope: &Scope,
    ) -> Result<Expression, Refusal> {
        let ColumnRef {
            fields,
            location: _,
        } = column;
        if let Some(other @ NodeEnum::AStar(_)) =
            fields.last().and_then(|field| field.node.as_ref())
        {
            return Err(Refusal::unknown(kind_of(other)));
        }
        let parts = names(fields)?;
        let find = |scope: &Scope| match parts[..] {
            [name] => scope.named(name).map(Option::<&Expression>::cloned),
            [alias, name] => scope
                .qualified(alias, name)
                .map(Option::<&Expression>::cloned),
            // schema.table.column stands where an item of FROM has no alias
            [_, ..] | [] => Err(Refusal::unknown("a column named like this")),
        };
        if let Some(column) = find(scope)? {
            return Ok(column);
        }
        // the row outside is one of the row further out, and so on
        for (distance, scope) in self.outside.borrow().iter().rev().enumerate() {
            if let Some(mut column) = find(scope)? {
                for _ in 0..=distance {
                    column.kind = Kind::Outer(Box::new(column.clone()));
                }
                return Ok(column);
            }
        }
        Err(super::scope::no_column(&parts.join(".")))
    }

    pub(super) fn all(
        &self,
        nodes: &[Node],
        place: &mut Place<'_>,
    ) -> Result<Vec<Expression>, Refusal> {
        nodes.iter().map(|node| self.read(node, place)).collect()
    }

    fn operator(&self, expression: &AExpr, place: &mut Place<'_>) -> Result<Expression, Refusal> {
        let AExpr {
            kind,
            name,
            lexpr,
            rexpr,
            rexpr_list_start: _,
            rexpr_list_end: _,
            location: _,
        } = expression;
        let (schema, symbol) = super::nodes::qualified(name)?;
        if let (Ok(AExprKind::AexprOp), Some(rows)) = (
            AExprKind::try_from(*kind),
            two_rows(lexpr.as_deref(), rexpr.as_deref()),
        ) {
            return self.rows_compared(&schema, &symbol, rows, place);
        }
        let right = self.read(required(rexpr.as_deref())?, place)?;
        let left = lexpr
            .as_ref()
            .map(|left| self.read(left, place))
            .transpose()?;
        let kind = AExprKind::try_from(*kind).map_err(|_| Refusal::unknown("this operator"))?;
        match (kind, left) {
            (AExprKind::AexprOp, left) => self.applied(&schema, &symbol, left, right),
            (AExprKind::AexprDistinct, Some(left)) => {
                self.require_operator("=", &left, &right)?;
                Ok(never_null(infix("IS DISTINCT FROM", left, right)))
            }
            (AExprKind::AexprNotDistinct, Some(left)) => {
                self.require_operator("=", &left, &right)?;
                Ok(not_distinct(left, right))
            }
            (AExprKind::AexprNullif, Some(left)) => {
                self.require_operator("=", &left, &right)?;
                let mut value = left.clone();
                value.is_nullable = true;
                value.kind = Kind::Call {
                    name: "NULLIF".to_owned(),
                    arguments: vec![left, right],
                };
                Ok(value)
            }
            (AExprKind::AexprOpAny, Some(left)) => {
                self.quantified("ANY", &schema, &symbol, left, right)
            }
            (AExprKind::AexprOpAll, Some(left)) => {
                self.quantified("ALL", &schema, &symbol, left, right)
            }
            _ => Err(Refusal::unknown(format!(
                "the operator {symbol} in this form"
            ))),
        }
    }

    fn logical(
        &self,
        expression: &BoolExpr,
        place: &mut Place<'_>,
        is_condition: bool,
    ) -> Result<Expression, Refusal> {
        let BoolExpr {
            xpr: _,
            boolop,
            args,
            location: _,
        } = expression;
        let is_negation = BoolExprType::try_from(*boolop) == Ok(BoolExprType::NotExpr);
        if let ([operand], true, true) = (&args[..], is_negation, is_condition)
            && let Some(link) = in_subquery(operand)?
        {
            return self.not_in(link, place);
        }
        let mut operands = Vec::new();
        for operand in args {
            place.is_condition = is_condition && !is_negation;
            operands.push(self.read(operand, place)?);
        }
        for operand in &operands {
            require_boolean(operand)?;
        }
        let kind = match (BoolExprType::try_from(*boolop), operands.len()) {
            (Ok(BoolExprType::AndExpr), 2..) => Kind::Logical {
                word: "AND",
                operands,
            },
            (Ok(BoolExprType::OrExpr), 2..) => Kind::Logical {
                word: "OR",
                operands,
            },
            (Ok(BoolExprType::NotExpr), 1) => Kind::Not(Box::new(operands.swap_remove(0))),
            _ => return Err(Refusal::unknown("this logical operator")),
        };
        Ok(Expression::boolean(kind).null_as_parts())
    }

    fn null_test(&self, test: &NullTest, place: &mut Place<'_>) -> Result<Expression, Refusal> {
        let NullTest {
            xpr: _,
            arg,
            nulltesttype,
            argisrow,
            location: _,
        } = test;
        let operand = Box::new(self.read(required(arg.as_deref())?, place)?);
        let test = match NullTestType::try_from(*nulltesttype) {
            Ok(NullTestType::IsNull) if !argisrow => "IS NULL",
            Ok(NullTestType::IsNotNull) if !argisrow => "IS NOT NULL",
            _ => return Err(Refusal::unknown("this test for NULL")),
        };
        Ok(never_null(Expression::boolean(Kind::Test {
            operand,
            test,
        })))
    }

    fn boolean_test(
        &self,
        test: &BooleanTest,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let BooleanTest {
            xpr: _,
            arg,
            booltesttype,
            location: _,
        } = test;
        let operand = self.read(required(arg.as_deref())?, place)?;
        require_boolean(&operand)?;
        let test = match BoolTestType::try_from(*booltesttype) {
            Ok(BoolTestType::IsTrue) => "IS TRUE",
            Ok(BoolTestType::IsNotTrue) => "IS NOT TRUE",
            Ok(BoolTestType::IsFalse) => "IS FALSE",
            Ok(BoolTestType::IsNotFalse) => "IS NOT FALSE",
            Ok(BoolTestType::IsUnknown) => "IS UNKNOWN",
            Ok(BoolTestType::IsNotUnknown) => "IS NOT UNKNOWN",
            _ => return Err(Refusal::unknown("this test of a boolean")),
        };
        let operand = Box::new(operand);
        Ok(never_null(Expression::boolean(Kind::Test {
            operand,
            test,
        })))
    }

    fn collate(
        &self,
        clause: &CollateClause,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let CollateClause {
            arg,
            collname,
            location: _,
        } = clause;
        let operand = self.read(required(arg.as_deref())?, place)?;
        let (schema, name) = super::nodes::qualified(collname)?;
        let collation = format!(
            "{}.{}",
            crate::sql::quote_identifier(&schema),
            crate::sql::quote_identifier(&name)
        );
        Ok(Expression {
            collation: Some(collation.clone()),
            kind: Kind::Collate(Box::new(operand.clone()), collation),
            ..operand
        })
    }
}

/// The collation of something made of parts: the only one, or the only one that is not the default.
pub(super) fn merged_collation(parts: &[&Expression]) -> Option<String> {
    let mut special = None;
    for part in parts {
        if let Some(collation) = &part.collation {
            match &special {
                None => special = Some(collation),
                Some(other) if *other == collation || collation == DEFAULT_COLLATION => {}
                Some(other) if *other == DEFAULT_COLLATION => special = Some(collation),
                Some(_) => return None,
            }
        } else if part.data_type.is_collatable() {
            return None;
        }
    }
    special.cloned()
}

/// The collation of a database, as the catalog names it.
pub(super) const DEFAULT_COLLATION: &str = "\"pg_catalog\".\"default\"";

pub(super) fn require_boolean(expression: &Expression) -> Result<(), Refusal> {
    if expression.data_type.is("bool") {
        return Ok(());
    }
    Err(Refusal::unknown(format!(
        "a condition of type {}",
        expression.data_type
    )))
}

fn infix(words: &str, left: Expression, right: Expression) -> Expression {
    Expression::boolean(Kind::Operator {
        left: Some(Box::new(left)),
        operator: words.to_owned(),
        right: Box::new(right),
    })
}

/// That two values are equal or both NULL.
pub(super) fn not_distinct(left: Expression, right: Expression) -> Expression {
    never_null(infix("IS NOT DISTINCT FROM", left, right))
}

fn never_null(mut expression: Expression) -> Expression {
    expression.is_nullable = false;
    expression
}

/// A type by which an operator may be looked up: varchar has no operators of its own, and those of text apply as they are.
pub(super) fn operand_type(expression: &Expression) -> TypeName {
    if expression.data_type.is("varchar") {
        TypeName::built_in("text")
    } else {
        expression.data_type.clone()
    }
}
