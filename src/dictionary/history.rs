//! The history of refreshes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// One row of `refresh_history`.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct HistoryRow {
    /// Ascending.
    pub refresh_id: i64,
    /// The view's key.
    pub mv_id: i32,
    /// The name it had, with its schema, quoted where needed.
    pub mv_name: String,
    /// The refresh group it was refreshed with.
    pub refresh_group: Option<String>,
    /// `succeeded` or `failed`.
    pub outcome: String,
    /// The refresh method.
    pub method: Option<String>,
    /// The form of a complete refresh.
    pub form: Option<String>,
    /// Why this method.
    pub reason: Option<String>,
    /// What caused it.
    pub trigger: String,
    /// Since when it was due.
    pub due_at: Option<DateTime<Utc>>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Milliseconds until it was executed.
    pub prepare_ms: Option<f64>,
    /// Milliseconds of its execution.
    pub execute_ms: Option<f64>,
    /// Milliseconds of the whole.
    pub duration_ms: Option<f64>,
    /// Rows inserted.
    pub rows_inserted: Option<i64>,
    /// Rows updated.
    pub rows_updated: Option<i64>,
    /// Rows deleted.
    pub rows_deleted: Option<i64>,
    /// Logged changes it had to apply.
    pub pending_rows: Option<i64>,
    /// The message of a failure.
    pub error: Option<String>,
    /// Its SQLSTATE.
    pub error_code: Option<String>,
    /// The process id of the server's session.
    pub backend_pid: Option<i32>,
}

const SELECT: &str = "
    SELECT refresh_id, mv_id, mv_name, refresh_group, outcome, method, form, reason, trigger, due_at, started_at,
           prepare_ms, execute_ms, duration_ms, rows_inserted, rows_updated, rows_deleted, pending_rows,
           error, error_code, backend_pid
    FROM @.refresh_history";

/// The latest refreshes of all, latest first.
pub async fn latest(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    limit: u32,
) -> sqlx::Result<Vec<HistoryRow>> {
    let sql = schema.sql(&format!("{SELECT} ORDER BY refresh_id DESC LIMIT $1"));
    sql::query_as(sql)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
}

/// The latest refreshes of one materialized view, latest first. Also of one that is no longer there, by the name it
/// had; a name that nothing is known of is an error of the server's.
pub async fn latest_of(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
    limit: u32,
) -> sqlx::Result<Vec<HistoryRow>> {
    let gone = schema.sql(&format!(
        "{SELECT}
         WHERE @.find_materialized_view(pg_catalog.current_setting('search_path'), $1) IS NULL
           AND (SELECT pg_catalog.bool_and(part.name = given.name)
                FROM pg_catalog.unnest(@.parse_name(mv_name)) WITH ORDINALITY AS part (name, place)
                JOIN pg_catalog.unnest(@.parse_name($1)) WITH ORDINALITY AS given (name, place)
                  ON part.place = given.place + 2 - pg_catalog.cardinality(@.parse_name($1)))
         ORDER BY refresh_id DESC LIMIT $2"
    ));
    let rows: Vec<HistoryRow> = sql::query_as(gone)
        .bind(name)
        .bind(i64::from(limit))
        .fetch_all(&mut *connection)
        .await?;
    if !rows.is_empty() {
        return Ok(rows);
    }
    let sql = schema.sql(&format!(
        "{SELECT}
         WHERE mv_id = @.require_materialized_view(pg_catalog.current_setting('search_path'), $1)
         ORDER BY refresh_id DESC LIMIT $2"
    ));
    sql::query_as(sql)
        .bind(name)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
}

/// The latest refreshes of the materialized view of this key, latest first.
pub async fn latest_of_id(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    limit: u32,
) -> sqlx::Result<Vec<HistoryRow>> {
    let sql = schema.sql(&format!(
        "{SELECT} WHERE mv_id = $1 ORDER BY refresh_id DESC LIMIT $2"
    ));
    sql::query_as(sql)
        .bind(mv_id)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
}
