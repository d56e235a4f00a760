//! Casts, and constants with their types: each must be immutable, or depend on kept settings only.

use pg_query::protobuf::TypeCast;

use super::constants::digits_after_point;
use super::nodes::{data_type, required};
use super::read_expression::{DEFAULT_COLLATION, Place};
use super::read_select::Reader;
use super::{Expression, Kind, Refusal, TypeName, settings};

impl Reader<'_> {
    /// A cast, or a constant with its type.
    pub(super) fn cast(
        &self,
        cast: &TypeCast,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let TypeCast {
            arg,
            type_name,
            location: _,
        } = cast;
        let operand = self.read(required(arg.as_deref())?, place)?;
        let Some(type_name) = type_name else {
            return Err(Refusal::unknown("a cast without a type"));
        };
        let (target, modifiers) = data_type(type_name)?;
        let target = self.remarked(target);
        let text = type_text(&target, &modifiers)?;
        self.require_cast(&operand, &target)?;
        let mut value = Expression::new(
            Kind::Cast {
                operand: Box::new(operand.clone()),
                target: text,
            },
            target,
        );
        value = value.null_as_parts();
        if value.data_type.is_collatable() {
            value.collation = operand
                .collation
                .clone()
                .or_else(|| Some(DEFAULT_COLLATION.to_owned()));
            if operand.data_type.is_collatable() && operand.collation.is_none() {
                value.collation = None;
            }
        }
        value.scale = match (
            &modifiers[..],
            &operand.kind,
            operand.data_type.built_in_name(),
        ) {
            ([length], ..) if value.data_type.is("bpchar") => Some(*length),
            ([_], ..) if value.data_type.is("numeric") => Some(0),
            ([_, scale], ..) if value.data_type.is("numeric") => Some((*scale).max(0)),
            _ if !value.data_type.is("numeric") => None,
            ([], Kind::Literal(text), Some("unknown")) => digits_after_point(text),
            ([], _, Some("int2" | "int4" | "int8")) => Some(0),
            ([], _, Some("numeric")) => operand.scale,
            _ => None,
        };
        Ok(value)
    }

    /// A type, remarked to be an enumeration, or an array of such, if it is one.
    pub(super) fn remarked(&self, data_type: TypeName) -> TypeName {
        let element = data_type.element().unwrap_or_else(|| data_type.clone());
        if self.catalog.enumerations.contains(&element) {
            data_type.enumeration()
        } else {
            data_type
        }
    }

    fn require_cast(&self, operand: &Expression, target: &TypeName) -> Result<(), Refusal> {
        let from = &operand.data_type;
        let is_plain_literal = matches!(operand.kind, Kind::Literal(_)) && from.is("unknown");
        if is_plain_literal {
            // what reg… names mean depends on the catalog, what money means on the locale; a configuration of text search is taken for
            // what it is, as it is in an index
            let element = target.element().unwrap_or_else(|| target.clone());
            let is_stable = element.built_in_name().is_none_or(|name| {
                (name.starts_with("reg") && name != "regconfig") || name == "money"
            });
            if is_stable && !self.catalog.enumerations.contains(&element) {
                return Err(Refusal::unknown(format!("a constant of type {target}")));
            }
            return Ok(());
        }
        let allowed = |from: &TypeName, to: &TypeName| {
            from == to
                || settings::is_kept_cast(from, to)
                || settings::is_read_alike(from, to)
                || self
                    .catalog
                    .immutable_casts
                    .contains(&(from.clone(), to.clone()))
        };
        let is_allowed = match (from.element(), target.element()) {
            (Some(from), Some(to)) => allowed(&from, &to),
            _ => allowed(from, target),
        };
        if is_allowed {
            return Ok(());
        }
        Err(Refusal::new(
            format!("cast from {from} to {target}"),
            "it depends on settings, or this version does not know it",
        ))
    }
}

/// The fields of an interval, by the bits of its modifier (`INTERVAL_MASK` in timestamp.h).
fn interval_fields(mask: i32) -> Option<&'static str> {
    Some(match mask {
        0x0004 => "year",
        0x0002 => "month",
        0x0008 => "day",
        0x0400 => "hour",
        0x0800 => "minute",
        0x1000 => "second",
        0x0006 => "year to month",
        0x0408 => "day to hour",
        0x0c08 => "day to minute",
        0x1c08 => "day to second",
        0x0c00 => "hour to minute",
        0x1c00 => "hour to second",
        0x1800 => "minute to second",
        _ => return None,
    })
}

fn type_text(target: &TypeName, modifiers: &[i32]) -> Result<String, Refusal> {
    if modifiers.is_empty() {
        return Ok(target.to_string());
    }
    if let (true, [mask]) = (target.is("interval"), modifiers)
        && let Some(fields) = interval_fields(*mask)
    {
        return Ok(format!("interval {fields}"));
    }
    let with_modifier = [
        "numeric",
        "varchar",
        "bpchar",
        "timestamp",
        "timestamptz",
        "time",
        "bit",
        "varbit",
    ];
    if !target
        .built_in_name()
        .is_some_and(|name| with_modifier.contains(&name))
    {
        return Err(Refusal::unknown(format!("the modifier of type {target}")));
    }
    let listed: Vec<String> = modifiers.iter().map(ToString::to_string).collect();
    Ok(format!("{target}({})", listed.join(", ")))
}
