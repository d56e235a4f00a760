//! Functions, operators and casts that are not immutable, and yet depend on nothing but their arguments and settings that every
//! refresh of a materialized view runs with: `TimeZone`, `DateStyle`, `IntervalStyle`, `extra_float_digits`, `bytea_output`,
//! `lc_monetary`, `lc_numeric`, `lc_time` (`kept_session_settings()` in the migrations). A list of what is known; all else is refused.
//!
//! Not here is what depends on the time at which it is computed, be it but for some arguments: `now()`, `age(x)`, `'today'::text::date`,
//! `time` with a time zone from one without, and zones by abbreviations that are another setting.

use super::TypeName;

type Signature = (&'static str, &'static [&'static str]);

const FUNCTIONS: &[Signature] = &[
    ("date", &["timestamptz"]),
    ("timestamp", &["timestamptz"]),
    ("timestamptz", &["timestamp"]),
    ("timestamptz", &["date"]),
    ("time", &["timestamptz"]),
    ("timetz", &["timestamptz"]),
    ("timezone", &["timestamptz"]),
    ("timezone", &["timestamp"]),
    ("date_part", &["text", "timestamptz"]),
    ("extract", &["text", "timestamptz"]),
    ("date_trunc", &["text", "timestamptz"]),
    ("date_trunc", &["text", "timestamptz", "text"]),
    (
        "make_timestamptz",
        &["int4", "int4", "int4", "int4", "int4", "float8"],
    ),
    ("to_char", &["timestamptz", "text"]),
    ("to_char", &["timestamp", "text"]),
    ("to_char", &["interval", "text"]),
    ("to_char", &["numeric", "text"]),
    ("to_char", &["int4", "text"]),
    ("to_char", &["int8", "text"]),
    ("to_char", &["float4", "text"]),
    ("to_char", &["float8", "text"]),
    ("to_number", &["text", "text"]),
    (
        "generate_series",
        &["timestamptz", "timestamptz", "interval"],
    ),
    // of what is read from JSON, the types are looked at where they are named
    ("json_to_recordset", &["json"]),
    ("jsonb_to_recordset", &["jsonb"]),
    ("json_to_record", &["json"]),
    ("jsonb_to_record", &["jsonb"]),
];

/// By symbol, left and right type; comparisons of dates and times with and without time zone apart.
const OPERATORS: &[(&str, &str, &str)] = &[
    ("+", "timestamptz", "interval"),
    ("+", "interval", "timestamptz"),
    ("-", "timestamptz", "interval"),
];

const CASTS: &[(&str, &str)] = &[
    ("timestamptz", "date"),
    ("timestamptz", "timestamp"),
    ("timestamptz", "time"),
    ("timestamptz", "timetz"),
    ("timestamp", "timestamptz"),
    ("date", "timestamptz"),
    ("numeric", "money"),
    ("int4", "money"),
    ("int8", "money"),
    ("money", "numeric"),
];

/// Functions over values of any types, which they write as text or JSON, with what they give.
const WRITING: &[(&str, &str)] = &[
    ("concat", "text"),
    ("concat_ws", "text"),
    ("format", "text"),
    ("to_json", "json"),
    ("to_jsonb", "jsonb"),
    ("row_to_json", "json"),
    ("json_build_array", "json"),
    ("jsonb_build_array", "jsonb"),
    ("json_build_object", "json"),
    ("jsonb_build_object", "jsonb"),
];

/// Types of which the text says the same under the same settings.
const WRITTEN: &[&str] = &[
    "int2",
    "int4",
    "int8",
    "numeric",
    "float4",
    "float8",
    "text",
    "varchar",
    "bpchar",
    "name",
    "bool",
    "uuid",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "bytea",
    "json",
    "jsonb",
    // a string constant among arguments of any type
    "unknown",
];

/// Types whose values are read from text and JSON alike at any time and under any settings.
const READ: &[&str] = &[
    "int2", "int4", "int8", "numeric", "float4", "float8", "text", "varchar", "bool", "uuid",
    "json", "jsonb",
];

/// Whether values of a type are read alike at any time and under any settings.
pub(super) fn is_read(data_type: &TypeName) -> bool {
    data_type
        .built_in_name()
        .is_some_and(|name| READ.contains(&name))
}

/// Whether a cast reads text, and does so alike at any time and under any settings.
pub(super) fn is_read_alike(from: &TypeName, to: &TypeName) -> bool {
    (from.is("text") || from.is("varchar")) && is_read(to)
}

/// Whether a function of `pg_catalog` depends on such settings only.
pub(super) fn is_kept_function(name: &str, arguments: &[TypeName]) -> bool {
    let are = |types: &[&str]| {
        types.len() == arguments.len()
            && types.iter().zip(arguments).all(|(name, own)| own.is(name))
    };
    FUNCTIONS
        .iter()
        .any(|(known, types)| *known == name && are(types))
        || (name == "array_to_string" && arguments.iter().all(is_written))
}

/// Whether a function tells the time, or counts from it.
pub(super) fn depends_on_time(name: &str) -> bool {
    const CLOCKS: &[&str] = &[
        "now",
        "transaction_timestamp",
        "statement_timestamp",
        "clock_timestamp",
        "timeofday",
    ];
    CLOCKS.contains(&name)
}

/// Whether an operator of `pg_catalog` does.
pub(super) fn is_kept_operator(symbol: &str, left: Option<&TypeName>, right: &TypeName) -> bool {
    let Some(left) = left else { return false };
    let is_local = |name: &TypeName| name.is("date") || name.is("timestamp");
    // not =, which joins are made of: where clocks are put forward, two local times are the same instant
    let is_comparison = matches!(symbol, "<>" | "<" | "<=" | ">" | ">=");
    let is_mixed =
        (is_local(left) && right.is("timestamptz")) || (left.is("timestamptz") && is_local(right));
    let is_text = left.is("text") || right.is("text");
    OPERATORS
        .iter()
        .any(|(known, one, other)| *known == symbol && left.is(one) && right.is(other))
        || (is_comparison && is_mixed)
        || (symbol == "||" && is_text && is_written(left) && is_written(right))
}

/// Whether a cast does.
pub(super) fn is_kept_cast(from: &TypeName, to: &TypeName) -> bool {
    let is_text = to.is("text") || to.is("varchar") || to.is("bpchar");
    let has_stable_text = ["date", "timestamp", "timestamptz", "interval"]
        .iter()
        .any(|name| from.is(name));
    // labels of enumerations are looked at as what kept settings are
    (is_text && (has_stable_text || from.is_enumeration()))
        || CASTS
            .iter()
            .any(|(one, other)| from.is(one) && to.is(other))
}

/// What a function that writes values of any types gives, if it does so under such settings only.
pub(super) fn written_by(name: &str, arguments: &[TypeName]) -> Option<TypeName> {
    let (_, result) = WRITING.iter().find(|(known, _)| *known == name)?;
    arguments
        .iter()
        .all(is_written)
        .then(|| TypeName::built_in(result))
}

/// Whether the text of a type's values depends on such settings only.
pub(super) fn is_written(data_type: &TypeName) -> bool {
    let element = data_type.element().unwrap_or_else(|| data_type.clone());
    element.is_enumeration()
        || data_type.is_written_row()
        || element
            .built_in_name()
            .is_some_and(|name| WRITTEN.contains(&name))
}
