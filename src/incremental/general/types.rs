//! What can be grouped, and told apart.

use crate::definition::Expression;

const DEFAULT_COLLATION: &str = "\"pg_catalog\".\"default\"";

/// Whether values can be grouped by `=`, and stand for each other in any comparison by `=`.
pub(super) fn is_groupable(value: &Expression) -> bool {
    // no equality, or one that compares but areas
    const NOT: &[&str] = &[
        "json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "tid", "xid",
        "cid", "unknown", "record",
    ];
    if value
        .data_type
        .built_in_name()
        .is_some_and(|name| NOT.contains(&name))
    {
        return false;
    }
    // under the database's own collation, which is deterministic, equal strings are the same
    !value.data_type.is_collatable() || value.collation.as_deref() == Some(DEFAULT_COLLATION)
}
