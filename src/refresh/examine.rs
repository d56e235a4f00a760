//! Whether and how something can be refreshed fast, found out without leaving anything behind and with no more than the
//! session's own rights.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use super::compile::{Draft, draft};
use crate::definition::Refusal;
use crate::dictionary::catalog::{self, ServerFacts};
use crate::dictionary::definitions::{self, Subject};
use crate::dictionary::outlook;
use crate::dictionary::programs::{self, Source};
use crate::sql::ModuleSchema;

/// What was found.
#[derive(Debug)]
pub struct Examination {
    /// The fast refresh, or the clause of the query that rules it out.
    pub draft: Result<Draft, Refusal>,
    /// What else is in the way, of a query that could be refreshed fast: privileges, or a table that can't be logged.
    pub obstacle: Option<Refusal>,
    /// The facts that it was found by.
    pub facts: ServerFacts,
}

impl Examination {
    /// Why there can be no fast refresh.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.draft.as_ref().err().or(self.obstacle.as_ref())
    }
}

/// Examines a materialized view; none where its relations or itself are gone, or it is a native one.
pub async fn materialized_view(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Option<Examination>> {
    let facts = catalog::server_facts(connection).await?;
    let Some(source) = programs::source(connection, schema, &facts, mv_id).await? else {
        return Ok(None);
    };
    let Some(subject) = definitions::subject(connection, schema, mv_id).await? else {
        return Ok(None);
    };
    examine(connection, schema, facts, mv_id, &source, &subject)
        .await
        .map(Some)
}

/// Examines a view as the defining view of a materialized view that there is not yet. In the caller's transaction, whose
/// `search_path` becomes `pg_catalog`.
pub async fn view(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    subject: &Subject,
) -> sqlx::Result<Examination> {
    let facts = catalog::server_facts(connection).await?;
    let source = programs::source_of_view(connection, schema, &facts, subject).await?;
    examine(connection, schema, facts, 0, &source, subject).await
}

async fn examine(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    facts: ServerFacts,
    mv_id: i32,
    source: &Source,
    subject: &Subject,
) -> sqlx::Result<Examination> {
    let tables: Vec<u32> = source.relations.iter().map(|table| table.oid).collect();
    let logs = outlook::log_ids(connection, schema, &tables).await?;
    let logs: BTreeMap<u32, i32> = logs.into_iter().map(|(table, id)| (table.0, id)).collect();
    let draft = draft(schema, &facts, mv_id, source, &logs);
    let obstacle = match &draft {
        Err(_) => None,
        Ok(draft) => obstacle(connection, schema, draft, subject).await?,
    };
    Ok(Examination {
        draft,
        obstacle,
        facts,
    })
}

async fn obstacle(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    draft: &Draft,
    subject: &Subject,
) -> sqlx::Result<Option<Refusal>> {
    let logged = &draft.fast.logged;
    let tables: Vec<u32> = logged.iter().map(|table| table.oid).collect();
    let columns = logged
        .iter()
        .flat_map(|table| table.columns.iter().map(|name| (table.oid, name.clone())));
    let columns: Vec<(u32, String)> = columns.collect();
    let found = outlook::obstacle(connection, schema, subject.owner, &tables, &columns).await?;
    Ok(found.map(|(clause, reason)| Refusal { clause, reason }))
}
