//! From the text of a defining view to a tree of relational operators. Knows no database: what it needs of the catalog
//! comes in as a [`Catalog`].
//!
//! Fail closed: the reader takes apart the parse tree field by field and refuses whatever it does not know, so that a
//! query is either understood entirely or refreshed completely, with the reason in a [`Refusal`].

mod aggregate_order;
mod aggregates;
mod answers;
mod array_subqueries;
mod by_row;
mod calls;
mod casts;
mod catalog;
mod choices;
mod constants;
mod dependent;
mod domain;
mod expression;
mod frames;
mod freed;
mod grouping;
mod lateral;
mod nodes;
mod nullability;
mod operators;
mod ordering;
mod other_aggregates;
mod parameters;
mod plain;
mod polymorphic;
mod read_aggregates;
mod read_expression;
mod read_from;
mod read_select;
mod refusal;
mod rows_and_arrays;
mod scalar_subqueries;
mod scope;
mod set_functions;
mod set_operations;
mod settings;
mod subqueries;
mod targets;
mod type_name;
mod uniqueness;
mod values;
mod whole_rows;
mod window_calls;
mod window_clauses;
mod windows;

pub use aggregates::{AggregateCall, AggregateFunction, OtherAggregate};
pub use catalog::{
    Catalog, Column, FunctionFact, FunctionKind, OperatorFact, Relation, RelationKind, Signature,
    UniqueKey,
};
pub use expression::{Expression, Kind};
pub use operators::{MatchKind, Operator, SetFunction};
pub use refusal::Refusal;
pub use type_name::TypeName;
pub use window_calls::{FrameWord, Limit, WindowCall};

use read_select::Reader;

/// What a defining view computes: an operator tree and the names of its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The root of the tree; its columns are the columns of the view, in their order.
    pub root: Operator,
    /// The names of those columns.
    pub columns: Vec<String>,
}

/// Reads the text that `pg_get_viewdef` prints with `search_path = pg_catalog`.
///
/// Other text is not safe to give here: the reader relies on every implicit cast being spelled out and on every name
/// outside `pg_catalog` being qualified.
pub fn read(definition: &str, catalog: &Catalog) -> Result<Query, Refusal> {
    Reader::new(catalog).view(definition)
}
