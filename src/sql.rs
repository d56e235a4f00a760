//! Quoting: the one place where text becomes part of SQL.

mod statement;

use std::fmt;

use sqlx::AssertSqlSafe;

pub use statement::{Statement, query, query_as, query_scalar};

/// An identifier in double quotes.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An identifier that may stand in SQL, in double quotes only where it needs them: for text that people read.
#[must_use]
pub fn identifier(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain && KEYWORDS.binary_search(&name).is_err() {
        name.to_owned()
    } else {
        quote_identifier(name)
    }
}

/// The words of `PostgreSQL` 15 to 18 that are not "unreserved", except those that are names of types.
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "binary",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// A string literal, with or without backslashes, whatever `standard_conforming_strings` says.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A literal, or `NULL`.
#[must_use]
pub fn quote_nullable(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), quote_literal)
}

/// SQL put together at run time. Whoever makes one vouches that every name in it went through [`quote_identifier`] and
/// every value through [`quote_literal`] or a parameter.
#[must_use]
pub fn composed(sql: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql)
}

/// The module schema: every name of ours is written with it, since a session's `search_path` may have been bent by a
/// function of somebody's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSchema {
    name: String,
    quoted: String,
}

impl ModuleSchema {
    /// The schema of this name, as it is (not folded to lower case).
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let quoted = quote_identifier(&name);
        Self { name, quoted }
    }

    /// Its name without quotes; also the name of the channel on which changes are announced.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SQL in which every `@.` stands for the module schema and its dot.
    #[must_use]
    pub fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        composed(self.text(text))
    }

    /// As [`Self::sql`], as text to be put into more.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        text.replace("@.", &format!("{}.", self.quoted))
    }
}

/// Quoted.
impl fmt::Display for ModuleSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_within_names_and_texts_are_doubled() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(quote_nullable(None), "NULL");
    }

    #[test]
    fn names_of_the_module_are_qualified() {
        let schema = ModuleSchema::new("My \"schema\"");
        assert_eq!(
            schema.text("SELECT @.f() FROM @.t"),
            "SELECT \"My \"\"schema\"\"\".f() FROM \"My \"\"schema\"\"\".t"
        );
    }
}
