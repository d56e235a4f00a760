//! Types by name, and what their equality is worth.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::sql::identifier;

/// A type without its modifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeName {
    schema: String,
    name: String,
    is_array: bool,
    is_enumeration: Remark,
    is_written: Remark,
}

/// Something known of a type that makes it no other type.
#[derive(Debug, Clone, Copy, Default)]
struct Remark(bool);

impl PartialEq for Remark {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Remark {}

impl PartialOrd for Remark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Remark {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for Remark {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl TypeName {
    /// A type by its schema and its name in `pg_type`.
    #[must_use]
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
            is_array: false,
            is_enumeration: Remark(false),
            is_written: Remark(false),
        }
    }

    /// The same, remarked to be an enumeration: its equal values are the same.
    #[must_use]
    pub fn enumeration(mut self) -> Self {
        self.is_enumeration = Remark(true);
        self
    }

    /// Whether it is remarked to be an enumeration.
    #[must_use]
    pub fn is_enumeration(&self) -> bool {
        self.is_enumeration.0 && !self.is_array
    }

    /// A row of which it is remarked that the text of all fields depends on kept settings only.
    #[must_use]
    pub(super) fn written_row() -> Self {
        Self {
            is_written: Remark(true),
            ..Self::built_in("record")
        }
    }

    /// Whether it is such a row.
    #[must_use]
    pub(super) fn is_written_row(&self) -> bool {
        self.is_written.0 && self.is("record")
    }

    /// A type of `pg_catalog`.
    #[must_use]
    pub fn built_in(name: &str) -> Self {
        Self::new("pg_catalog", name)
    }

    /// The type of arrays of this one.
    #[must_use]
    pub fn array(mut self) -> Self {
        self.is_array = true;
        self
    }

    /// The type of the elements, of an array.
    #[must_use]
    pub fn element(&self) -> Option<Self> {
        self.is_array.then(|| Self {
            is_array: false,
            ..self.clone()
        })
    }

    /// Whether it is this type of `pg_catalog`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        !self.is_array && self.schema == "pg_catalog" && self.name == name
    }

    /// Its name if it is a plain type of `pg_catalog`.
    #[must_use]
    pub fn built_in_name(&self) -> Option<&str> {
        (!self.is_array && self.schema == "pg_catalog").then_some(self.name.as_str())
    }

    /// Whether values that are equal are the same bytes. (`1.0` and `1.00`, `-0` and `0`, `1 mon` and `30 days` are equal
    /// and not the same. Text is the same under a deterministic collation; that is to be asked elsewhere.)
    #[must_use]
    pub fn equality_is_identity(&self) -> bool {
        const IDENTICAL: &[&str] = &[
            "bool",
            "int2",
            "int4",
            "int8",
            "oid",
            "text",
            "varchar",
            "name",
            "char",
            "uuid",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "bytea",
        ];
        (self.is_enumeration.0 && !self.is_array)
            || self
                .built_in_name()
                .is_some_and(|name| IDENTICAL.contains(&name))
    }

    /// Whether its values are compared in a few instructions, without being looked up or unpacked.
    #[must_use]
    pub fn sorts_cheaply(&self) -> bool {
        matches!(
            self.built_in_name(),
            Some("int2" | "int4" | "int8" | "oid" | "date" | "timestamp" | "timestamptz")
        )
    }

    /// Whether its values are compared under a collation.
    #[must_use]
    pub fn is_collatable(&self) -> bool {
        matches!(
            self.built_in_name(),
            Some("text" | "varchar" | "bpchar" | "name")
        )
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema != "pg_catalog" {
            write!(out, "{}.", identifier(&self.schema))?;
        }
        // "char" is another type than char
        if self.schema == "pg_catalog" && self.name == "char" {
            out.write_str("\"char\"")?;
        } else {
            out.write_str(&identifier(&self.name))?;
        }
        out.write_str(if self.is_array { "[]" } else { "" })
    }
}
