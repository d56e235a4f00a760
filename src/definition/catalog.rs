//! What the reader has to know of the database, as plain data.

use std::collections::{HashMap, HashSet};

use super::{Expression, Kind, TypeName, polymorphic};

/// The facts of the catalog on which reading a defining view depends.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Every relation that the query reads, through views of any depth.
    pub relations: Vec<Relation>,
    /// Functions by schema, name and argument types.
    pub functions: HashMap<(String, String, Vec<TypeName>), FunctionFact>,
    /// By schema and name, the functions that have names for their parameters.
    pub signatures: HashMap<(String, String), Vec<Signature>>,
    /// Operators by schema, name, left (none for prefix operators) and right type.
    pub operators: HashMap<(String, String, Option<TypeName>, TypeName), OperatorFact>,
    /// Casts that need no more than their value: binary coercible ones, and those by an immutable function.
    pub immutable_casts: HashSet<(TypeName, TypeName)>,
    /// Enumerations: their equality is that of `anyenum`.
    pub enumerations: HashSet<TypeName>,
    /// The collations (quoted, with their schema) under which different strings may be equal.
    pub nondeterministic_collations: HashSet<String>,
}

impl Catalog {
    /// A relation by its schema and name.
    #[must_use]
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations
            .iter()
            .find(|relation| relation.schema == schema && relation.name == name)
    }

    /// The operator that applies to these types.
    #[must_use]
    pub fn operator(
        &self,
        schema: &str,
        name: &str,
        left: Option<&TypeName>,
        right: &TypeName,
    ) -> Option<OperatorFact> {
        let find = |left: Option<&TypeName>, right: &TypeName| {
            self.operators.get(&(
                schema.to_owned(),
                name.to_owned(),
                left.cloned(),
                right.clone(),
            ))
        };
        if let Some(exact) = find(left, right) {
            return Some(exact.clone());
        }
        let any = TypeName::built_in("anyenum");
        if left == Some(right) && self.enumerations.contains(right) {
            return find(Some(&any), &any).cloned();
        }
        let arguments = [left?.clone(), right.clone()];
        let mut fitting = self.operators.iter().filter_map(|(key, fact)| {
            let (_, _, declared_left, declared_right) = key;
            let is_named = key.0 == schema && key.1 == name;
            let declared = [declared_left.clone()?, declared_right.clone()];
            let result = is_named
                .then(|| polymorphic::result(&declared, &arguments, &fact.result))
                .flatten()?;
            Some(OperatorFact {
                result,
                ..fact.clone()
            })
        });
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }

    /// The function that applies to these types.
    #[must_use]
    pub fn function(
        &self,
        schema: &str,
        name: &str,
        arguments: &[TypeName],
    ) -> Option<FunctionFact> {
        let key = (schema.to_owned(), name.to_owned(), arguments.to_vec());
        if let Some(exact) = self.functions.get(&key) {
            return Some(exact.clone());
        }
        let mut fitting = self.functions.iter().filter_map(|(key, fact)| {
            let is_named = key.0 == schema && key.1 == name;
            let result = is_named
                .then(|| polymorphic::result(&key.2, arguments, &fact.result))
                .flatten()?;
            Some(FunctionFact {
                result,
                ..fact.clone()
            })
        });
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }

    /// The one function that applies to values of these types, of which the last ones are for the parameters of these names.
    #[must_use]
    pub fn function_by_names(
        &self,
        schema: &str,
        name: &str,
        arguments: &[TypeName],
        names: &[&str],
    ) -> Option<FunctionFact> {
        let known = self.signatures.get(&(schema.to_owned(), name.to_owned()))?;
        let mut fitting = known
            .iter()
            .filter(|signature| signature.takes(arguments, names));
        let only = fitting.next()?;
        fitting.next().is_none().then(|| only.fact.clone())
    }

    /// Whether equal values of a type are the same bytes, given that collations are deterministic.
    #[must_use]
    pub fn equality_is_identity(&self, data_type: &TypeName) -> bool {
        data_type.equality_is_identity() || self.enumerations.contains(data_type)
    }
}

/// A relation that a query reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// Its oid.
    pub oid: u32,
    /// The schema it is in.
    pub schema: String,
    /// Its name there.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns in their order, without dropped ones.
    pub columns: Vec<Column>,
    /// Its unique keys that are checked at once and have neither condition nor expression.
    pub unique_keys: Vec<UniqueKey>,
    /// Whether other tables inherit from it (partitions don't count).
    pub has_children: bool,
    /// Whether row security hides rows of it from the owner of the materialized view.
    pub has_row_security: bool,
}

impl Relation {
    /// Its columns, with what is known of their values.
    #[must_use]
    pub fn column_expressions(&self) -> Vec<Expression> {
        let described = |(position, column): (usize, &Column)| Expression {
            kind: Kind::Column(position),
            data_type: column.data_type.clone(),
            collation: column.collation.clone(),
            scale: column.scale(),
            is_nullable: !column.is_not_null,
        };
        self.columns.iter().enumerate().map(described).collect()
    }
}

/// What a relation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelationKind {
    /// An ordinary table, also one that is a materialized view of ours.
    Table,
    /// A partitioned table.
    Partitioned,
    /// A view, with its text as [`super::read`] takes it.
    View(String),
    /// Anything else, named as in a sentence: `foreign table`.
    Other(String),
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its `pg_attribute.attnum`.
    pub attnum: i16,
    /// Its type.
    pub data_type: TypeName,
    /// Its `atttypmod`, -1 if there is none.
    pub type_modifier: i32,
    /// Whether it is declared NOT NULL.
    pub is_not_null: bool,
    /// Its collation, quoted and with its schema, if its type has any.
    pub collation: Option<String>,
}

impl Column {
    /// The number of digits after the point that every value has, of a `numeric(p, s)`; the length of a `char(n)`.
    #[must_use]
    pub fn scale(&self) -> Option<i32> {
        let modifier = Some(self.type_modifier).filter(|modifier| *modifier >= 4)?;
        match self.data_type.built_in_name() {
            Some("numeric") => Some(numeric_scale(modifier)),
            Some("bpchar") => Some(modifier - 4),
            _ => None,
        }
    }
}

/// The scale in a type modifier of `numeric`; a negative one leaves no digits after the point.
fn numeric_scale(type_modifier: i32) -> i32 {
    // eleven bits, signed: make_numeric_typmod() in PostgreSQL's numeric.c
    ((((type_modifier - 4) & 0x7ff) ^ 1024) - 1024).max(0)
}

/// Columns whose values together occur at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    /// The `attnum`s of its columns.
    pub columns: Vec<i16>,
}

/// What is known of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionFact {
    /// What it returns.
    pub result: TypeName,
    /// Whether it is declared IMMUTABLE; of an aggregate whether all functions are that it is made of.
    pub is_immutable: bool,
    /// What it is called as.
    pub kind: FunctionKind,
}

/// A function by the names of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The parameters: name and type.
    pub parameters: Vec<(String, TypeName)>,
    /// How many of the last parameters have a constant as their default.
    pub defaults: usize,
    /// The function.
    pub fact: FunctionFact,
}

impl Signature {
    /// Whether it can be called with arguments of these types, of which the last ones are for these parameters.
    fn takes(&self, arguments: &[TypeName], names: &[&str]) -> bool {
        let (in_order, others) = arguments.split_at(arguments.len() - names.len());
        if arguments.len() > self.parameters.len() {
            return false;
        }
        let (first, rest) = self.parameters.split_at(in_order.len());
        let fits = |(name, data_type): &(&&str, &TypeName)| {
            rest.iter()
                .any(|(parameter, of)| parameter == **name && of == *data_type)
        };
        let is_given = |parameter: &str| names.contains(&parameter);
        let required = self.parameters.len() - self.defaults;
        let needed = rest.iter().take(required.saturating_sub(first.len()));
        first.iter().zip(in_order).all(|((_, of), own)| of == own)
            && names.iter().zip(others).all(|pair| fits(&pair))
            && needed.into_iter().all(|(name, _)| is_given(name))
    }
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// For one row, giving one value.
    Plain,
    /// An aggregate.
    Aggregate,
    /// A window function.
    Window,
    /// Giving a set.
    SetReturning,
}

/// What is known of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorFact {
    /// What it returns.
    pub result: TypeName,
    /// Whether its function is declared IMMUTABLE.
    pub is_immutable: bool,
}
