//! The part of an explanation about fast refresh: whether, how, by which logs, and what would make it faster.

use serde::Serialize;
use sqlx::postgres::PgConnection;

use crate::definition::Refusal;
use crate::dictionary::indexes::{self, Lookup, MissingIndex};
use crate::incremental::{FastRefresh, Plan};
use crate::refresh::examine::Examination;
use crate::sql::ModuleSchema;

/// A clause of the query, or a base table, and what is done about its changes.
#[derive(Debug, Serialize)]
pub struct Strategy {
    /// Which.
    pub of: String,
    /// What is done.
    pub how: String,
}

/// Whether a query can be refreshed fast, and how.
#[derive(Debug, Serialize)]
pub struct Fast {
    /// Whether.
    pub is_possible: bool,
    /// The clause that rules it out.
    pub refused_clause: Option<String>,
    /// Why it does.
    pub refused_reason: Option<String>,
    /// The clauses, in the order in which they are worked out.
    pub clauses: Vec<Strategy>,
    /// The base tables.
    pub tables: Vec<Strategy>,
    /// Indexes that would help, ready to be created.
    pub missing_indexes: Vec<MissingIndex>,
    /// The statement as it would be compiled now, and what belongs to it.
    pub sql: Vec<String>,
}

impl Fast {
    /// As an examination has found it.
    pub async fn new(
        connection: &mut PgConnection,
        schema: &ModuleSchema,
        examination: Examination,
        with_sql: bool,
    ) -> sqlx::Result<Self> {
        let refusal = examination.refusal().cloned();
        let fast = examination.draft.ok().map(|draft| draft.fast);
        let missing_indexes = match (&refusal, &fast) {
            (None, Some(fast)) => {
                indexes::missing(connection, schema, &lookups(&fast.plan)).await?
            }
            _ => Vec::new(),
        };
        let (clauses, tables) = match &fast {
            Some(fast) => (
                strategies(&fast.plan.clauses),
                strategies(&fast.plan.tables),
            ),
            None => (Vec::new(), Vec::new()),
        };
        let (refused_clause, refused_reason) = match refusal {
            Some(Refusal { clause, reason }) => (Some(clause), Some(reason)),
            None => (None, None),
        };
        Ok(Self {
            is_possible: refused_reason.is_none(),
            refused_clause,
            refused_reason,
            clauses,
            tables,
            missing_indexes,
            sql: fast.filter(|_| with_sql).map_or_else(Vec::new, sql),
        })
    }
}

fn strategies(pairs: &[(String, String)]) -> Vec<Strategy> {
    let strategy = |(of, how): &(String, String)| Strategy {
        of: of.clone(),
        how: how.clone(),
    };
    pairs.iter().map(strategy).collect()
}

fn sql(fast: FastRefresh) -> Vec<String> {
    let states = fast.states.into_iter().map(|state| state.create);
    [fast.statement]
        .into_iter()
        .chain(states)
        .chain(fast.row_index)
        .collect()
}

/// What the statement looks up in base tables by equality.
fn lookups(plan: &Plan) -> Vec<Lookup> {
    let lookups = plan.lookups.iter();
    lookups
        .map(|lookup| Lookup {
            table: lookup.oid,
            columns: lookup.columns.clone(),
        })
        .collect()
}
