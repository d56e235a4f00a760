//! What makes NULL of nothing but NULL. If in doubt, an expression may be NULL: that costs a count, or an index; the reverse
//! would be wrong rows.

use super::plain::{is_plain_operator, is_scalar};
use super::{Expression, Kind, Operator};

impl Expression {
    /// With what its parts say of whether it may be NULL.
    #[must_use]
    pub(super) fn null_as_parts(mut self) -> Self {
        self.is_nullable = !self.is_certain();
        self
    }

    /// Whether it is certainly not NULL if its parts say right of themselves.
    fn is_certain(&self) -> bool {
        let certain = |part: &Self| !part.is_nullable;
        match &self.kind {
            Kind::Operator {
                left,
                operator,
                right,
            } => {
                let of_left = left.as_ref().unwrap_or(right);
                is_plain_operator(operator, &of_left.data_type, &right.data_type)
                    && certain(of_left)
                    && certain(right)
            }
            // PostgreSQL 18 makes NULL of the null of a jsonb, and the author of a cast may do as well
            Kind::Cast { operand, .. } => {
                let is_constant =
                    operand.data_type.is("unknown") && matches!(operand.kind, Kind::Literal(_));
                let is_known = is_scalar(&operand.data_type) && is_scalar(&self.data_type);
                certain(operand) && (is_constant || is_known)
            }
            Kind::Logical { operands, .. } => operands.iter().all(certain),
            Kind::Not(operand) => certain(operand),
            Kind::Call { name, arguments } => {
                ["COALESCE", "GREATEST", "LEAST"].contains(&name.as_str())
                    && arguments.iter().any(certain)
            }
            Kind::Case {
                branches,
                otherwise,
                ..
            } => {
                branches.iter().all(|(_, then)| certain(then))
                    && otherwise.as_deref().is_some_and(certain)
            }
            _ => false,
        }
    }

    /// Whether it is not NULL whatever its parts are.
    pub(super) fn is_never_null(&self) -> bool {
        match &self.kind {
            Kind::Test { .. } => true,
            Kind::Operator { operator, .. } => {
                ["IS DISTINCT FROM", "IS NOT DISTINCT FROM"].contains(&operator.as_str())
            }
            _ => false,
        }
    }

    /// Tests of its parts that hold where it is not NULL, and nowhere else: cheaper than to compute it for that alone.
    #[must_use]
    pub fn is_there(&self) -> Vec<Self> {
        if !self.is_nullable {
            return Vec::new();
        }
        let with_parts = |parts: &[&Self]| {
            let all_certain = self.rewritten(&mut |part| {
                parts.contains(&part).then(|| Self {
                    is_nullable: false,
                    ..part.clone()
                })
            });
            all_certain.is_certain()
        };
        let parts: Vec<&Self> = match &self.kind {
            Kind::Operator { left, right, .. } => {
                left.iter().map(AsRef::as_ref).chain([&**right]).collect()
            }
            Kind::Cast { operand, .. } => vec![operand],
            _ => Vec::new(),
        };
        if !parts.is_empty() && with_parts(&parts) {
            let mut tests: Vec<Self> = Vec::new();
            for test in parts.into_iter().flat_map(Self::is_there) {
                if !tests.contains(&test) {
                    tests.push(test);
                }
            }
            return tests;
        }
        let mut test = Self::boolean(Kind::Test {
            operand: Box::new(self.clone()),
            test: "IS NOT NULL",
        });
        test.is_nullable = false;
        vec![test]
    }
}

impl Operator {
    /// Whether anything in it takes a column for never NULL that may be NULL by what it comes from: a mistake in reading, after
    /// which rows would be wrong.
    pub(super) fn overlooks_null(&self) -> bool {
        let inputs = self.inputs();
        let mut columns: Vec<Expression> =
            inputs.iter().flat_map(|input| input.columns()).collect();
        if let Self::Unfold { .. } = self {
            columns = self.columns();
        }
        let may_be_null = |at: usize| columns.get(at).is_some_and(|column| column.is_nullable);
        let overlooks = |expression: &Expression| {
            expression.any(&mut |part| {
                matches!(part.kind, Kind::Column(at) if !part.is_nullable && may_be_null(at))
            })
        };
        let has_own_columns = !matches!(self, Self::Values { .. });
        (has_own_columns && self.expressions().into_iter().any(overlooks))
            || inputs.into_iter().any(Self::overlooks_null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::TypeName;

    fn column(position: usize, name: &str, is_nullable: bool) -> Expression {
        Expression {
            is_nullable,
            ..Expression::new(Kind::Column(position), TypeName::built_in(name))
        }
    }

    fn applied(left: &Expression, operator: &str, right: &Expression) -> Expression {
        let kind = Kind::Operator {
            left: Some(Box::new(left.clone())),
            operator: operator.to_owned(),
            right: Box::new(right.clone()),
        };
        Expression::new(kind, left.data_type.clone()).null_as_parts()
    }

    fn cast(operand: &Expression, target: &str) -> Expression {
        let kind = Kind::Cast {
            operand: Box::new(operand.clone()),
            target: target.to_owned(),
        };
        Expression::new(kind, TypeName::built_in(target)).null_as_parts()
    }

    #[test]
    fn arithmetic_makes_null_of_null_only_and_json_of_anything() {
        let there = column(0, "numeric", false);
        let perhaps = column(1, "numeric", true);
        assert!(!applied(&there, "*", &there).is_nullable);
        assert!(applied(&there, "*", &perhaps).is_nullable);
        let json = column(2, "jsonb", false);
        assert!(applied(&json, "->", &json).is_nullable);
        assert!(cast(&json, "int4").is_nullable);
        assert!(!cast(&there, "int4").is_nullable);
    }

    #[test]
    fn a_part_that_may_be_null_after_all_makes_the_whole_so() {
        let sum = applied(&column(0, "int4", false), "+", &column(1, "int4", false));
        let grouped = sum.rewritten(&mut |part| {
            matches!(part.kind, Kind::Column(0)).then(|| column(0, "int4", true))
        });
        assert!(grouped.is_nullable);
    }

    #[test]
    fn a_computed_value_is_there_where_its_columns_are() {
        let (one, other) = (column(0, "numeric", true), column(1, "numeric", true));
        let there = column(2, "numeric", false);
        let product = applied(&one, "*", &applied(&there, "-", &other));
        let product = applied(&product, "*", &one);
        let tested: Vec<usize> = product
            .is_there()
            .iter()
            .flat_map(Expression::columns)
            .collect();
        assert_eq!(tested, [0, 1]);
    }
}
