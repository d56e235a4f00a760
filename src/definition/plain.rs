//! Queries of which certainly no row depends on a setting such as `DateStyle` or `TimeZone`: their functions can do without
//! setting these, which takes longer than to refresh a row.

use super::{AggregateCall, Expression, Kind, Operator, Query, TypeName};

const NUMBERS: &[&str] = &["int2", "int4", "int8", "numeric", "float4", "float8"];

const TEXTS: &[&str] = &["text", "varchar", "bpchar"];

/// Types of which two values are compared without anything else.
const COMPARED: &[&str] = &[
    "bool",
    "uuid",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "bytea",
];

const COMPARISONS: &[&str] = &[
    "=",
    "<>",
    "<",
    ">",
    "<=",
    ">=",
    "IS DISTINCT FROM",
    "IS NOT DISTINCT FROM",
];

const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%"];

impl Query {
    /// Whether its rows are the same whatever the settings of the session that computes them; if in doubt, not.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.root.is_plain()
    }
}

impl Operator {
    fn is_plain(&self) -> bool {
        let is_known = match self {
            Self::Aggregate { aggregates, .. } => aggregates
                .iter()
                .all(|call: &AggregateCall| call.other.is_none()),
            Self::Scan(_)
            | Self::Join(_)
            | Self::Filter { .. }
            | Self::Project { .. }
            | Self::UnionAll(_)
            | Self::First { .. }
            | Self::Outer { .. }
            | Self::Match { .. } => true,
            Self::Values { .. }
            | Self::Window { .. }
            | Self::Repeat { .. }
            | Self::Unfold { .. } => false,
        };
        is_known
            && self.expressions().into_iter().all(Expression::is_plain)
            && self.inputs().into_iter().all(Self::is_plain)
    }
}

impl Expression {
    fn is_plain(&self) -> bool {
        let is_known = match &self.kind {
            Kind::Column(_)
            | Kind::Logical { .. }
            | Kind::Not(_)
            | Kind::Test { .. }
            | Kind::Case { subject: None, .. }
            | Kind::Array(_)
            | Kind::Collate(..) => true,
            // as text of no type yet it is for the cast around it to say
            Kind::Literal(_) => is_one_of(&self.data_type, &[NUMBERS, TEXTS, &["bool", "unknown"]]),
            Kind::Operator {
                left,
                operator,
                right,
            } => {
                let left = left
                    .as_ref()
                    .map_or(&right.data_type, |left| &left.data_type);
                is_plain_operator(operator, left, &right.data_type)
            }
            Kind::Quantified {
                left,
                operator,
                array,
                ..
            } => match &array.kind {
                Kind::Array(elements) => elements.iter().all(|element| {
                    is_plain_operator(operator, &left.data_type, &element.data_type)
                }),
                _ => false,
            },
            Kind::Call { name, .. } => matches!(name.as_str(), "COALESCE" | "GREATEST" | "LEAST"),
            Kind::Cast { operand, .. } => [NUMBERS, TEXTS, &["bool"]].into_iter().any(|family| {
                is_one_of(&operand.data_type, &[family, &["unknown"]])
                    && is_one_of(&self.data_type, &[family])
            }),
            Kind::Aggregate(_)
            | Kind::Outer(_)
            | Kind::Window(_)
            | Kind::Grouping(_)
            | Kind::Subquery(_)
            | Kind::Case { .. }
            | Kind::Written { .. } => false,
        };
        is_known && self.children().into_iter().all(Self::is_plain)
    }
}

/// Whether an operator of the server itself takes values of these types as they are, and gives NULL for NULL only.
pub(super) fn is_plain_operator(operator: &str, left: &TypeName, right: &TypeName) -> bool {
    let among = |families: &[&[&str]]| is_one_of(left, families) && is_one_of(right, families);
    if COMPARISONS.contains(&operator) {
        among(&[NUMBERS]) || among(&[TEXTS]) || (left == right && among(&[COMPARED]))
    } else {
        ARITHMETIC.contains(&operator) && among(&[NUMBERS])
    }
}

/// Whether values of a type are numbers, texts, times or the like.
pub(super) fn is_scalar(data_type: &TypeName) -> bool {
    is_one_of(data_type, &[NUMBERS, TEXTS, COMPARED])
}

fn is_one_of(data_type: &TypeName, families: &[&[&str]]) -> bool {
    let name = data_type.built_in_name();
    name.is_some_and(|name| families.iter().any(|family| family.contains(&name)))
}
