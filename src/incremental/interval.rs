//! Bounds of what is computed from values of which bounds are known.
//!
//! Only what is monotone in each of its parts is known here. Rounding is monotone as well, be it that of floating-point arithmetic or that of
//! a cast: computed in the same way from bounds, bounds come out that hold for what is computed from any value between them, to
//! the last digit.

use super::print::sql;
use crate::definition::{Expression, Kind};

/// The bounds of a value as SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) lower: String,
    pub(super) upper: String,
}

/// Columns of which some are known by their bounds only.
pub(super) struct Columns<'a> {
    /// The bounds of a column that has such.
    pub(super) bounded: &'a dyn Fn(usize) -> Option<Interval>,
    /// The text of any other one.
    pub(super) exact: &'a dyn Fn(usize) -> String,
}

/// The bounds of an expression, where they can be told. NULL where it is NULL.
pub(super) fn interval(expression: &Expression, columns: &Columns<'_>) -> Option<Interval> {
    let of = |part: &Expression| interval(part, columns);
    let is_bounded = |part: &Expression| matches!(part.kind, Kind::Column(at) if (columns.bounded)(at).is_some());
    if !expression.any(&mut |part| is_bounded(part)) {
        return Some(Interval::exact(sql(expression, columns.exact)));
    }
    match &expression.kind {
        Kind::Column(at) => (columns.bounded)(*at),
        Kind::Operator {
            left: None,
            operator,
            right,
        } if operator == "-" && is_number(right) => {
            let right = of(right)?;
            Some(Interval {
                lower: format!("(- {})", right.upper),
                upper: format!("(- {})", right.lower),
            })
        }
        Kind::Operator {
            left: Some(left),
            operator,
            right,
        } if is_number(left) && is_number(right) => arithmetic(&of(left)?, operator, &of(right)?),
        Kind::Cast { operand, target } if is_number(operand) && is_number(expression) => {
            let cast = |text: &str| format!("({text})::{target}");
            Some(of(operand)?.map(&cast))
        }
        Kind::Call { name, arguments } => call(name, arguments, columns),
        Kind::Case {
            subject: None,
            branches,
            otherwise,
        } => choice(branches, otherwise.as_deref(), columns),
        _ => None,
    }
}

impl Interval {
    fn exact(text: String) -> Self {
        Self {
            lower: text.clone(),
            upper: text,
        }
    }

    fn is_exact(&self) -> bool {
        self.lower == self.upper
    }

    fn map(&self, to: &dyn Fn(&str) -> String) -> Self {
        Self {
            lower: to(&self.lower),
            upper: to(&self.upper),
        }
    }

    /// The two ends, or the one value.
    fn ends(&self) -> Vec<&str> {
        if self.is_exact() {
            vec![&self.lower]
        } else {
            vec![&self.lower, &self.upper]
        }
    }
}

fn arithmetic(left: &Interval, operator: &str, right: &Interval) -> Option<Interval> {
    let both = |lower: (&str, &str), upper: (&str, &str)| Interval {
        lower: format!("({} {operator} {})", lower.0, lower.1),
        upper: format!("({} {operator} {})", upper.0, upper.1),
    };
    match operator {
        "+" => Some(both(
            (&left.lower, &right.lower),
            (&left.upper, &right.upper),
        )),
        "-" => Some(both(
            (&left.lower, &right.upper),
            (&left.upper, &right.lower),
        )),
        "*" => Some(extremes(left, operator, right)),
        "/" if right.is_exact() => Some(extremes(left, operator, right)),
        _ => None,
    }
}

/// Where one side has a sign that decides which end leads to which.
fn extremes(left: &Interval, operator: &str, right: &Interval) -> Interval {
    let ends = left.ends().into_iter().flat_map(|left| {
        let ends = right.ends().into_iter();
        ends.map(move |right| format!("({left} {operator} {right})"))
    });
    let ends = ends.collect::<Vec<_>>().join(", ");
    Interval {
        lower: format!("LEAST({ends})"),
        upper: format!("GREATEST({ends})"),
    }
}

fn call(name: &str, arguments: &[Expression], columns: &Columns<'_>) -> Option<Interval> {
    let parts: Vec<Interval> = arguments
        .iter()
        .map(|argument| interval(argument, columns))
        .collect::<Option<_>>()?;
    let is_monotone = match name {
        "round" | "trunc" => parts[1..].iter().all(Interval::is_exact),
        "COALESCE" | "GREATEST" | "LEAST" | "ceil" | "ceiling" | "floor" => true,
        _ => false,
    };
    if !is_monotone || !arguments.iter().all(is_number) {
        return None;
    }
    let list = |end: &dyn Fn(&Interval) -> String| {
        let ends: Vec<String> = parts.iter().map(end).collect();
        format!("{name}({})", ends.join(", "))
    };
    Some(Interval {
        lower: list(&|part| part.lower.clone()),
        upper: list(&|part| part.upper.clone()),
    })
}

/// CASE, if it is certain which branch is taken.
fn choice(
    branches: &[(Expression, Expression)],
    otherwise: Option<&Expression>,
    columns: &Columns<'_>,
) -> Option<Interval> {
    let (mut lower, mut upper) = ("CASE".to_owned(), "CASE".to_owned());
    for (when, then) in branches {
        let when = interval(when, columns).filter(Interval::is_exact)?;
        let then = interval(then, columns)?;
        for (text, end) in [(&mut lower, &then.lower), (&mut upper, &then.upper)] {
            *text += &format!(" WHEN {} THEN {end}", when.lower);
        }
    }
    if let Some(otherwise) = otherwise {
        let otherwise = interval(otherwise, columns)?;
        lower += &format!(" ELSE {}", otherwise.lower);
        upper += &format!(" ELSE {}", otherwise.upper);
    }
    Some(Interval {
        lower: lower + " END",
        upper: upper + " END",
    })
}

// Not float4: where a sum is 0, its bounds may be too small for that, which is an error.
fn is_number(expression: &Expression) -> bool {
    const NUMBERS: &[&str] = &["int2", "int4", "int8", "numeric", "float8"];
    let name = expression.data_type.built_in_name();
    name.is_some_and(|name| NUMBERS.contains(&name))
}
