//! By what values are told apart byte for byte, where `=` would take different ones for equal.

use crate::definition::Expression;

const DEFAULT_COLLATION: &str = "\"pg_catalog\".\"default\"";

/// What to group by so that only identical values come together; none where that isn't known for the type.
pub(super) fn identity(expression: &Expression, text: &str) -> Option<Vec<String>> {
    if is_identical_if_equal(expression) {
        return Some(vec![text.to_owned()]);
    }
    if let Some(element) = expression.data_type.element() {
        // as it is sent; the elements must have a hash, as rows are found by that
        const HASHED: &[&str] = &["numeric", "float4", "float8", "jsonb", "interval", "bpchar"];
        let is_hashed = element.equality_is_identity()
            || element
                .built_in_name()
                .is_some_and(|name| HASHED.contains(&name));
        return is_hashed.then(|| vec![format!("array_send({text})")]);
    }
    let name = expression.data_type.built_in_name()?;
    Some(match name {
        "numeric" => vec![text.to_owned(), format!("scale({text})")],
        "text" | "varchar" => vec![format!("{text} COLLATE \"C\"")],
        "bpchar" | "float4" | "float8" => vec![format!("{name}send({text})")],
        "interval" => vec![format!("interval_send({text})")],
        "timetz" => vec![format!("timetz_send({text})")],
        "json" | "jsonb" | "xml" | "tsvector" | "tsquery" => vec![format!("{text}::text")],
        "int4range" | "int8range" | "numrange" | "daterange" | "tsrange" | "tstzrange" => {
            vec![format!("range_send({text})")]
        }
        "int4multirange" | "int8multirange" | "nummultirange" | "datemultirange"
        | "tsmultirange" | "tstzmultirange" => vec![format!("multirange_send({text})")],
        "inet" | "cidr" | "macaddr" | "macaddr8" | "bit" | "varbit" | "point" | "line" | "lseg"
        | "box" | "path" | "circle" => vec![format!("{name}_send({text})")],
        "polygon" => vec![format!("poly_send({text})")],
        _ => return None,
    })
}

/// Whether equal values are the same bytes.
pub(super) fn is_identical_if_equal(expression: &Expression) -> bool {
    let data_type = &expression.data_type;
    if let Some(element) = data_type.element() {
        return !element.is_collatable() && element.equality_is_identity();
    }
    if data_type.is_collatable() && !data_type.is("name") {
        // those of a char(n) are all padded to one length
        return (!data_type.is("bpchar") || expression.scale.is_some())
            && expression.collation.as_deref() == Some(DEFAULT_COLLATION);
    }
    data_type.equality_is_identity() || (data_type.is("numeric") && expression.scale.is_some())
}

/// One of values that are the same.
pub(super) fn any_of_same(expression: &Expression, text: &str) -> String {
    if expression.data_type.element().is_some() {
        // an array of arrays is one array of more dimensions
        format!("min({text})")
    } else {
        format!("(array_agg({text}))[1]")
    }
}

/// A value as it is hashed: types without a hash of their own as text.
pub(super) fn hashed(expression: &Expression, text: &str) -> String {
    let has_hash = !matches!(
        expression.data_type.built_in_name(),
        Some(
            "json"
                | "xml"
                | "tsvector"
                | "tsquery"
                | "bit"
                | "varbit"
                | "point"
                | "line"
                | "lseg"
                | "box"
                | "path"
                | "polygon"
                | "circle"
        )
    );
    if has_hash {
        text.to_owned()
    } else {
        format!("{text}::text")
    }
}
