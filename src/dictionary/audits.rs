//! Audits: comparisons of materialized views with their queries, at the snapshots of refreshes.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema, composed};

/// A materialized view to be audited.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DueAudit {
    /// The dictionary's key.
    pub mv_id: i32,
    /// The name with its schema, quoted where needed.
    pub mv_name: String,
}

/// The view that has gone longest without an audit, if that is longer than so many seconds.
pub async fn due(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    every_seconds: f64,
) -> sqlx::Result<Option<DueAudit>> {
    let sql = schema.sql(
        "SELECT mv_id, mv_name FROM @.audits_due(pg_catalog.make_interval(secs => $1)) LIMIT 1",
    );
    sql::query_as(sql)
        .bind(every_seconds)
        .fetch_optional(connection)
        .await
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Audit {
    /// Its key, by which its evidence is found.
    pub audit_id: Option<i64>,
    /// The column by which rows were sampled; none if all were compared.
    pub sampled_by: Option<String>,
    /// Stored rows compared.
    pub rows_compared: Option<i64>,
    /// Rows of the query that were not stored.
    pub rows_missing: Option<i64>,
    /// Stored rows that the query does not give.
    pub rows_unexpected: Option<i64>,
}

/// Audits a view, in one transaction at one snapshot; a view that is being refreshed gives no `audit_id`.
pub async fn perform(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    sample_above_ms: f64,
) -> sqlx::Result<Audit> {
    let sql = format!(
        "RESET ALL; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
         SET LOCAL search_path TO pg_catalog, pg_temp;
         SET LOCAL client_connection_check_interval TO '1s';
         SELECT audit_id, sampled_by::text, rows_compared, rows_missing, rows_unexpected
         FROM {schema}.perform_audit({mv_id}, {sample_above_ms});
         SELECT pg_catalog.pg_advisory_unlock_all();
         RESET ALL"
    );
    let row = sqlx::raw_sql(composed(sql)).fetch_one(connection).await?;
    Audit::from_row(&row)
}

/// Deletes audits older than so many seconds, those with a difference after ten times as long; how many.
pub async fn prune(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    keep_seconds: f64,
) -> sqlx::Result<i64> {
    sql::query_scalar(schema.sql("SELECT @.prune_audits(pg_catalog.make_interval(secs => $1))"))
        .bind(keep_seconds)
        .fetch_one(connection)
        .await
}
