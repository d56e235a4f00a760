//! How far sums of floating-point numbers that are both right may lie apart.
//!
//! Adding n numbers, in whatever order and however parted among workers, gives the true sum with an error of at most
//! (n - 1) u Σ|x|, where u is half the distance from 1 to the next number (C.-P. Jeannerod, S. M. Rump: Improved error bounds for
//! inner products in floating-point arithmetic, 2013; additions have no error in underflow). So two of them lie at most
//! 2 (n - 1) u Σ|x| apart. It is not relative to the sum: where numbers cancel, what is left of them is error. A mean is such
//! a sum, divided once. `sum(float4)` is added up as `float4`, everything else as `float8`.
//!
//! Sums of one or two numbers have but one value. Sums over NaN or infinities are one of these in any order, and exact.

use std::collections::BTreeMap;

use super::general::all_groups;
use super::logs::ChangedTable;
use super::names::free_name;
use super::program::{Grouping, Tolerance};
use super::rows::KeyedRows;
use super::stored::{Key, same_key};
use crate::definition::{
    AggregateCall, AggregateFunction, Expression, Kind, Operator, Refusal, TypeName,
};
use crate::sql::identifier;

/// As magnitudes are added up they are made smaller, as they may overflow where the numbers cancel, and those next to nothing
/// greater, as dividing must not underflow.
const SMALLER: &str = "1e30::float8";
const NEXT_TO_NOTHING: &str = "1e-270::float8";

/// Beyond this sum of such magnitudes the bound might overflow, and everything is taken for right.
const LARGEST: &str = "1e274";

/// A sum in a column of the materialized view, and its names in the query of bounds.
struct Bounded<'a> {
    output: usize,
    call: &'a AggregateCall,
    /// Quoted.
    lower: String,
    upper: String,
    error: String,
}

/// How the stored rows of a grouping, whose columns have these names, are compared with those of the query, if not to the last
/// digit.
pub(super) fn tolerance(
    grouping: &Grouping,
    input: &Operator,
    rows: &KeyedRows<'_>,
    tables: &BTreeMap<u32, ChangedTable>,
    names: &[String],
) -> Result<Option<Tolerance>, Refusal> {
    let bounded = bounded(grouping, rows);
    if bounded.is_empty() {
        return Ok(None);
    }
    Ok(Some(Tolerance {
        columns: bounded.iter().map(|of| names[of.output].clone()).collect(),
        keys: rows.key.iter().map(|(at, _)| names[*at].clone()).collect(),
        bounds: bounds(grouping, input, rows, tables, &bounded)?,
        rows: accepted_rows(rows, &bounded),
    }))
}

fn bounded<'a>(grouping: &'a Grouping, rows: &KeyedRows<'_>) -> Vec<Bounded<'a>> {
    let outputs = grouping.outputs.iter().enumerate();
    let inexact = outputs.filter_map(|(output, value)| {
        let Kind::Column(at) = value.kind else {
            return None;
        };
        let call = &grouping.aggregates[at.checked_sub(grouping.keys.len())?];
        call.is_inexact().then_some((output, call))
    });
    let numbered = inexact.zip(1..);
    numbered
        .map(|((output, call), number)| {
            let name = |wanted: &str| {
                let suffix = format!("_{number}");
                free_name(wanted, &suffix, |name| {
                    !rows.columns.contains(&identifier(name))
                })
            };
            Bounded {
                output,
                call,
                lower: name("lower"),
                upper: name("upper"),
                error: name("error"),
            }
        })
        .collect()
}

/// The query of the keys of all groups with the bounds between which their sums lie.
fn bounds(
    grouping: &Grouping,
    input: &Operator,
    rows: &KeyedRows<'_>,
    tables: &BTreeMap<u32, ChangedTable>,
    bounded: &[Bounded<'_>],
) -> Result<String, Refusal> {
    let aggregates: Vec<AggregateCall> = bounded
        .iter()
        .flat_map(|of| [of.call.clone(), count(of.call), magnitude(of.call)])
        .collect();
    let weight = &rows.names.weight;
    let (sums, names) = all_groups(input, &grouping.keys, &aggregates, weight, tables)?;
    let texts: Vec<String> = names.iter().map(|name| format!("sums.{name}")).collect();
    let keys = rows.key_names().into_iter().zip(&texts);
    let mut outputs: Vec<String> = keys
        .map(|(name, text)| format!("{text} AS {name}"))
        .collect();
    let mut errors = Vec::new();
    for (of, found) in bounded.iter().zip(texts[grouping.keys.len()..].chunks(3)) {
        let (value, count, magnitude) = (&found[0], &found[1], &found[2]);
        let Bounded {
            lower,
            upper,
            error,
            ..
        } = of;
        outputs.push(format!("{value} - errors.{error} AS {lower}"));
        outputs.push(format!("{value} + errors.{error} AS {upper}"));
        errors.push(format!(
            "CASE WHEN {count} < 3 OR {value} IN ('NaN', 'Infinity', '-Infinity') THEN 0 WHEN {magnitude} > {LARGEST} THEN 'Infinity' ELSE {} END AS {error}",
            error_of(of.call, count, magnitude)
        ));
    }
    Ok(format!(
        "SELECT {}\nFROM (\n{}\n) AS sums\nCROSS JOIN LATERAL (\n    SELECT {}\n) AS errors",
        outputs.join(", "),
        super::print::indented(&sums, 1),
        errors.join(",\n        ")
    ))
}

// u is 1.11e-16 for float8 and 5.96e-8 for float4. Of (n + 1) · 2.07 u Σ|x| the larger factor is more than the errors of the
// bounds themselves, and (n + 1) instead of (n - 1) covers the division of a mean and the rounding of the bounds.
fn error_of(call: &AggregateCall, count: &str, magnitude: &str) -> String {
    let is_mean = call.word() == "avg";
    let is_single = !is_mean && call.result.is("float4");
    let factor = if is_single { "1.25e23" } else { "2.3e14" };
    let divided = if is_mean {
        format!(" / {count}")
    } else {
        String::new()
    };
    format!("({count} + 1) * {factor}::float8 * {magnitude}{divided}")
}

/// How many numbers there are.
fn count(call: &AggregateCall) -> AggregateCall {
    AggregateCall {
        function: AggregateFunction::Count,
        argument: numbers(call).first().cloned(),
        filter: call.filter.clone(),
        ..AggregateCall::of_rows()
    }
}

/// What their magnitudes add up to.
fn magnitude(call: &AggregateCall) -> AggregateCall {
    let mut call = call.clone();
    if let Some(other) = &mut call.other {
        "sum".clone_into(&mut other.name);
        for value in &mut other.arguments {
            let written = Kind::Written {
                texts: vec![
                    "(greatest(abs((".to_owned(),
                    format!(")::float8), {NEXT_TO_NOTHING}) / {SMALLER})"),
                ],
                parts: vec![value.clone()],
            };
            *value = Expression::new(written, TypeName::built_in("float8"));
        }
    }
    call.result = TypeName::built_in("float8");
    call
}

fn numbers(call: &AggregateCall) -> &[Expression] {
    call.other.as_ref().map_or(&[], |other| &other.arguments)
}

/// The rows of `stored_rows`, with the values of `query_rows` in place of their own where both lie within the bounds.
fn accepted_rows(rows: &KeyedRows<'_>, bounded: &[Bounded<'_>]) -> String {
    let keys: Vec<Key> = rows.keys();
    let names = rows.key_names();
    let columns = rows.columns.iter().enumerate().map(|(at, column)| {
        let Some(of) = bounded.iter().find(|of| of.output == at) else {
            return format!("stored.{column}");
        };
        let within = format!("BETWEEN bounds.{} AND bounds.{}", of.lower, of.upper);
        format!(
            "CASE WHEN stored.{column} {within} AND fresh.{column} {within} THEN fresh.{column} ELSE stored.{column} END AS {column}"
        )
    });
    format!(
        "SELECT {}\nFROM stored_rows AS stored\nLEFT JOIN query_rows AS fresh ON {}\nLEFT JOIN bounds ON {}",
        columns.collect::<Vec<_>>().join(",\n    "),
        same_key("stored.", &keys, "fresh.", &names),
        same_key("stored.", &keys, "bounds.", &names),
    )
}
