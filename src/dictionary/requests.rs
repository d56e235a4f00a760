//! What users have done at once, in their own name: refreshes and comparisons.

use serde::Serialize;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// What a refresh did to one materialized view.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct RefreshedRow {
    /// The dictionary's key.
    pub mv_id: i32,
    /// The name with its schema, quoted where needed.
    pub full_name: String,
    /// `refreshed`, or why not.
    pub status: String,
    /// The refresh method used.
    pub method: Option<String>,
    /// The form of a complete refresh.
    pub form: Option<String>,
    /// Rows inserted, updated and deleted; unknown for a native one.
    pub rows_changed: Option<i64>,
    /// Why this method, or why nothing was done.
    pub reason: Option<String>,
    /// How many logged changes were waiting, where they were counted.
    pub pending_rows: Option<i64>,
    /// Milliseconds it took.
    pub duration_ms: Option<f64>,
}

/// Fills a materialized view that was created without data, unless another session has done so: the status then.
pub async fn fill(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    if_empty: bool,
) -> sqlx::Result<String> {
    let sql = schema
        .sql("SELECT (@.perform_refresh($1, 'create', p_if_seen => $2, p_wait => true)).status");
    sql::query_scalar(sql)
        .bind(mv_id)
        .bind(if_empty)
        .fetch_one(connection)
        .await
}

/// Refreshes a materialized view, and its refresh group with it.
pub async fn refresh(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    method: Option<&str>,
    trigger: &str,
) -> sqlx::Result<Vec<RefreshedRow>> {
    let sql = schema.sql(
        "SELECT o.mv_id, coalesce(pg_catalog.format('%I.%I', m.mv_schema, m.mv_name), '?') AS full_name,
                o.status, o.method, o.form, o.reason, o.pending_rows, o.rows_changed, o.duration_ms
         FROM @.refresh_by_id($1, $2, $3) o LEFT JOIN @.materialized_views m USING (mv_id)",
    );
    sql::query_as(sql)
        .bind(mv_id)
        .bind(method)
        .bind(trigger)
        .fetch_all(connection)
        .await
}

/// Proves, for the present transaction, that the session's user may act for a materialized view.
pub async fn permit(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<()> {
    let sql = schema.sql("INSERT INTO @.refresh_permits (mv_id) VALUES ($1)");
    sql::query(sql).bind(mv_id).execute(connection).await?;
    Ok(())
}

/// Notes a failed refresh. Needs a [`permit`] in the same transaction.
pub async fn note_failure(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    trigger: &str,
    seconds_ago: f64,
    (error, sqlstate): (&str, Option<&str>),
) -> sqlx::Result<()> {
    let sql = schema.sql(
        "SELECT @.record_permitted_failure(
             $1, $2, pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $3), $4, $5)",
    );
    sql::query(sql)
        .bind(mv_id)
        .bind(trigger)
        .bind(seconds_ago)
        .bind(error)
        .bind(sqlstate)
        .execute(connection)
        .await?;
    Ok(())
}

/// How a materialized view compares with its query.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct ComparisonRow {
    /// Rows of the materialized view.
    pub rows_compared: i64,
    /// Rows of the query that it lacks.
    pub rows_missing: i64,
    /// Rows that the query doesn't return.
    pub rows_unexpected: i64,
    /// Some of the missing ones, as a JSON array.
    pub missing_samples: Option<serde_json::Value>,
    /// Some of the unexpected ones, as a JSON array.
    pub unexpected_samples: Option<serde_json::Value>,
}

/// Compares a materialized view with its query, row by row, in one snapshot.
pub async fn verify(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    max_samples: i32,
) -> sqlx::Result<ComparisonRow> {
    let sql = schema.sql(
        "SELECT rows_compared, rows_missing, rows_unexpected, missing_samples, unexpected_samples
         FROM @.verify_by_id($1, $2)",
    );
    sql::query_as(sql)
        .bind(mv_id)
        .bind(max_samples)
        .fetch_one(connection)
        .await
}
