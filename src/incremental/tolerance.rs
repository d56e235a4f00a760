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

use super::general::{all_groups, refusal};
use super::interval::{Columns, Interval, interval};
use super::logs::ChangedTable;
use super::names::free_name;
use super::program::Grouping;
use super::rows::KeyedRows;
use super::stored::{Key, same_key};
use crate::definition::{
    AggregateCall, AggregateFunction, Expression, Kind, Operator, Refusal, TypeName,
};
use crate::sql::identifier;

/// How rows are compared some of whose columns the query itself has several values for, all of them right: sums of
/// floating-point numbers, whose last digits depend on the order in which they are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tolerance {
    /// The names of these columns, not quoted.
    pub columns: Vec<String>,
    /// The names of the columns by which rows are found, not quoted; none if there is one row at most.
    pub keys: Vec<String>,
    /// A query of the keys and of bounds between which each value must lie.
    pub bounds: String,
    /// A query of the rows of `stored_rows` with the values of `query_rows` in place of those that differ from them by no more
    /// than `bounds` says.
    pub rows: String,
}

/// As magnitudes are added up they are made smaller, as they may overflow where the numbers cancel, and those next to nothing
/// greater, as neither dividing them nor what is computed from their bounds must underflow.
const SMALLER: &str = "1e30::float8";
const NEXT_TO_NOTHING: &str = "1e-200::float8";

/// Beyond this sum of such magnitudes the bound might overflow, and everything is taken for right.
const LARGEST: &str = "1e274";

/// A sum, and the names of its bounds and their distance from it, in the query of bounds.
struct Bounded<'a> {
    /// Its place among the columns of the groups.
    at: usize,
    call: &'a AggregateCall,
    bounds: Interval,
    error: String,
}

/// A column of the materialized view that is computed from such sums.
struct Shown {
    output: usize,
    /// Bounds of its values as computed, and the names that they have.
    computed: Interval,
    bounds: Interval,
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
    let outputs = grouping.outputs.iter();
    if !outputs.clone().any(|output| grouping.is_inexact(output)) {
        return Ok(None);
    }
    let bounded = bounded(grouping);
    let more: Vec<AggregateCall> = bounded
        .iter()
        .flat_map(|of| [count(of.call), magnitude(of.call)])
        .collect();
    let aggregates = [&grouping.aggregates[..], &more].concat();
    let weight = &rows.names.weight;
    let (sums, columns) = all_groups(input, &grouping.keys, &aggregates, weight, tables)?;
    let columns: Vec<String> = columns.iter().map(|name| format!("sums.{name}")).collect();
    let shown = shown(grouping, rows, &bounded, &columns)?;
    let place = |of: &Shown| names[of.output].clone();
    Ok(Some(Tolerance {
        columns: shown.iter().map(place).collect(),
        keys: rows.key.iter().map(|(at, _)| names[*at].clone()).collect(),
        bounds: bounds(rows, &sums, &columns, &bounded, &shown),
        rows: accepted_rows(rows, &shown),
    }))
}

fn bounded(grouping: &Grouping) -> Vec<Bounded<'_>> {
    let first = grouping.keys.len();
    let columns = first..first + grouping.aggregates.len();
    let inexact = columns.filter_map(|at| Some((at, grouping.inexact(at)?)));
    inexact
        .zip(1..)
        .map(|((at, call), number)| Bounded {
            at,
            call,
            bounds: Interval {
                lower: format!("ranges.lower_{number}"),
                upper: format!("ranges.upper_{number}"),
            },
            error: format!("errors.error_{number}"),
        })
        .collect()
}

fn shown(
    grouping: &Grouping,
    rows: &KeyedRows<'_>,
    bounded: &[Bounded<'_>],
    columns: &[String],
) -> Result<Vec<Shown>, Refusal> {
    let bounds = |at: usize| {
        let found = bounded.iter().find(|of| of.at == at);
        found.map(|of| of.bounds.clone())
    };
    let known = Columns {
        bounded: &bounds,
        exact: &|at| columns[at].clone(),
    };
    let outputs = grouping.outputs.iter().enumerate();
    let inexact = outputs.filter(|(_, value)| grouping.is_inexact(value));
    inexact
        .zip(1..)
        .map(|((output, value), number)| {
            let name = |wanted: &str| {
                free_name(wanted, &format!("_{number}"), |name| {
                    !rows.columns.contains(&identifier(name))
                })
            };
            let computed = interval(value, &known).ok_or_else(|| {
                let why = "bounds of what is computed from it are not known";
                refusal(&grouping.aggregates, why)
            })?;
            Ok(Shown {
                output,
                computed,
                bounds: Interval {
                    lower: name("lower"),
                    upper: name("upper"),
                },
            })
        })
        .collect()
}

/// The query of the keys of all groups with the bounds between which their values lie.
fn bounds(
    rows: &KeyedRows<'_>,
    sums: &str,
    columns: &[String],
    bounded: &[Bounded<'_>],
    shown: &[Shown],
) -> String {
    let keys = rows.key_names().into_iter().zip(columns);
    let keys = keys.map(|(name, text)| format!("{text} AS {name}"));
    let named = shown.iter().flat_map(|of| {
        [
            format!("{} AS {}", of.computed.lower, of.bounds.lower),
            format!("{} AS {}", of.computed.upper, of.bounds.upper),
        ]
    });
    let outputs: Vec<String> = keys.chain(named).collect();
    let found = columns[columns.len() - 2 * bounded.len()..].chunks(2);
    let errors: Vec<String> = bounded
        .iter()
        .zip(found)
        .map(|(of, found)| {
            let (value, count, magnitude) = (&columns[of.at], &found[0], &found[1]);
            format!(
                "CASE WHEN {count} < 3 OR {value} IN ('NaN', 'Infinity', '-Infinity') THEN 0 WHEN {magnitude} > {LARGEST} THEN 'Infinity' ELSE {} END AS {}",
                error_of(of.call, count, magnitude),
                bare(&of.error),
            )
        })
        .collect();
    let ranges: Vec<String> = bounded
        .iter()
        .map(|of| {
            let (value, error, bounds) = (&columns[of.at], &of.error, &of.bounds);
            format!(
                "{value} - {error} AS {}, {value} + {error} AS {}",
                bare(&bounds.lower),
                bare(&bounds.upper),
            )
        })
        .collect();
    format!(
        "SELECT {}\nFROM (\n{}\n) AS sums\nCROSS JOIN LATERAL (\n    SELECT {}\n) AS errors\nCROSS JOIN LATERAL (\n    SELECT {}\n) AS ranges",
        outputs.join(",\n    "),
        super::print::indented(sums, 1),
        errors.join(",\n        "),
        ranges.join(",\n        "),
    )
}

/// A column's name without that of its table.
fn bare(column: &str) -> &str {
    column.rsplit('.').next().unwrap_or(column)
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
fn accepted_rows(rows: &KeyedRows<'_>, shown: &[Shown]) -> String {
    let keys: Vec<Key> = rows.keys();
    let names = rows.key_names();
    let columns = rows.columns.iter().enumerate().map(|(at, column)| {
        let Some(of) = shown.iter().find(|of| of.output == at) else {
            return format!("stored.{column}");
        };
        let Interval { lower, upper } = &of.bounds;
        let within = format!("BETWEEN bounds.{lower} AND bounds.{upper}");
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
