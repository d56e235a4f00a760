//! Constants.

use pg_query::protobuf::{AConst, a_const};

use super::read_expression::DEFAULT_COLLATION;
use super::{Expression, Kind, Refusal, TypeName};
use crate::sql::quote_literal;

/// A bare constant.
pub(super) fn literal(constant: &AConst) -> Result<Expression, Refusal> {
    let AConst {
        isnull,
        location: _,
        val,
    } = constant;
    let known = |text: String, name: &str| {
        let mut value = Expression::new(Kind::Literal(text), TypeName::built_in(name));
        value.is_nullable = false;
        value
    };
    Ok(match val {
        None if *isnull => Expression::new(
            Kind::Literal("NULL".to_owned()),
            TypeName::built_in("unknown"),
        ),
        Some(a_const::Val::Ival(number)) => known(number.ival.to_string(), "int4"),
        Some(a_const::Val::Boolval(value)) => known(
            if value.boolval { "true" } else { "false" }.to_owned(),
            "bool",
        ),
        Some(a_const::Val::Fval(number)) if number.fval.parse::<i64>().is_ok() => {
            known(number.fval.clone(), "int8")
        }
        Some(a_const::Val::Fval(number)) => {
            let mut value = known(number.fval.clone(), "numeric");
            value.scale = digits_after_point(&number.fval);
            value
        }
        Some(a_const::Val::Sval(text)) => {
            let mut value = known(on_one_line(&text.sval), "unknown");
            value.collation = Some(DEFAULT_COLLATION.to_owned());
            value
        }
        _ => return Err(Refusal::unknown("this constant")),
    })
}

/// A string as a literal in which no line ends, as the text around it may be indented.
fn on_one_line(text: &str) -> String {
    if !text.contains(['\n', '\r']) {
        return quote_literal(text);
    }
    let escaped = text
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    format!("E'{escaped}'")
}

/// The scale of a numeric constant, if it is plain digits.
pub(super) fn digits_after_point(text: &str) -> Option<i32> {
    let digits = text.trim_matches('\'').trim_start_matches('-');
    if digits.is_empty()
        || !digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return None;
    }
    let after = digits.split_once('.').map_or("", |(_, after)| after);
    i32::try_from(after.len()).ok()
}

/// The whole number that an expression of constants is, if it is not NULL.
pub(super) fn whole_number(value: &Expression, clause: &str) -> Result<Option<i64>, Refusal> {
    let read = |value: &Expression| whole_number(value, clause);
    let number = match &value.kind {
        Kind::Literal(text) if text == "NULL" => return Ok(None),
        Kind::Literal(text) => text.trim_matches('\'').parse().ok(),
        Kind::Cast { operand, .. } => match read(operand)? {
            None => return Ok(None),
            number => number,
        },
        Kind::Operator {
            left: Some(left),
            operator,
            right,
        } => match (read(left)?, read(right)?) {
            (Some(left), Some(right)) => match operator.as_str() {
                "+" => left.checked_add(right),
                "-" => left.checked_sub(right),
                "*" => left.checked_mul(right),
                "/" => left.checked_div(right),
                "%" => left.checked_rem(right),
                _ => None,
            },
            _ => return Ok(None),
        },
        Kind::Operator {
            left: None,
            operator,
            right,
        } if operator == "-" => match read(right)? {
            None => return Ok(None),
            Some(number) => number.checked_neg(),
        },
        _ => None,
    };
    match number {
        Some(number) if is_within(&value.data_type, number) => Ok(Some(number)),
        _ => Err(Refusal::new(
            clause,
            "it is no whole number, nor computed of such alone",
        )),
    }
}

/// Whether an integer type has a number: where it has not, computing it is an error.
fn is_within(data_type: &TypeName, number: i64) -> bool {
    match data_type.built_in_name() {
        Some("int2") => i16::try_from(number).is_ok(),
        Some("int4") => i32::try_from(number).is_ok(),
        Some("int8" | "unknown") => true,
        _ => false,
    }
}
