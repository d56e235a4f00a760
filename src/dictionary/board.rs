//! What the board shows beside the dictionary's rows: a statement for all views, however many there are.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use super::refreshes::LOCKS;
use crate::sql::{self, ModuleSchema, composed};

/// A view's latest refreshes, the latest last.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct RecentRow {
    /// The view's key.
    pub mv_id: i32,
    /// Milliseconds that each took.
    pub durations: Vec<f64>,
    /// `f` fast, `c` complete, `x` failed, a letter for each.
    pub kinds: String,
}

/// The latest refreshes of every view that did something, so many of each.
pub async fn recent(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    limit: i32,
) -> sqlx::Result<Vec<RecentRow>> {
    let sql = schema.sql(
        "SELECT s.mv_id, h.durations, h.kinds
         FROM @.materialized_view_settings s
         CROSS JOIN LATERAL (
             SELECT pg_catalog.array_agg(coalesce(r.duration_ms, 0) ORDER BY r.refresh_id) AS durations,
                    pg_catalog.string_agg(CASE WHEN r.outcome = 'failed' THEN 'x' WHEN r.method = 'fast' THEN 'f' ELSE 'c' END,
                                          '' ORDER BY r.refresh_id) AS kinds
             FROM (SELECT refresh_id, outcome, method, duration_ms FROM @.refresh_history
                   WHERE mv_id = s.mv_id ORDER BY refresh_id DESC LIMIT $1) AS r) AS h
         WHERE h.kinds IS NOT NULL",
    );
    sql::query_as(sql).bind(limit).fetch_all(connection).await
}

/// What a view reads: another materialized view, or a table.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct SourceRow {
    /// The view's key.
    pub mv_id: i32,
    /// The key of the materialized view that it reads, if it is one.
    pub source_id: Option<i32>,
    /// The name with its schema, quoted where needed; none if it is gone.
    pub source: Option<String>,
}

/// What every view reads.
pub async fn sources(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<SourceRow>> {
    let sql = schema.sql(
        "SELECT r.mv_id, m.mv_id AS source_id, pg_catalog.format('%I.%I', n.nspname, c.relname) AS source
         FROM @.materialized_view_sources r
         LEFT JOIN @.materialized_view_settings m ON m.mv_relation = r.source
         JOIN pg_catalog.pg_class c ON c.oid = r.source
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         ORDER BY r.mv_id, source",
    );
    sql::query_as(sql).fetch_all(connection).await
}

/// A materialized view log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct LogSizeRow {
    /// Whose changes it holds, with schema, quoted where needed.
    pub base_table: String,
    /// About how many rows it holds, as the server's statistics have it.
    pub rows: i64,
    /// Bytes on disk, indexes included.
    pub bytes: i64,
    /// How many materialized views read it.
    pub readers: i64,
}

/// Every log.
pub async fn logs(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<LogSizeRow>> {
    let sql = schema.sql(
        "SELECT coalesce(pg_catalog.format('%I.%I', n.nspname, b.relname), l.base_name) AS base_table,
                pg_catalog.pg_stat_get_live_tuples(t.oid) AS rows,
                coalesce(pg_catalog.pg_total_relation_size(t.oid), 0) AS bytes,
                (SELECT pg_catalog.count(*) FROM @.fast_program_logs p WHERE p.log_id = l.log_id) AS readers
         FROM @.materialized_view_logs l
         JOIN pg_catalog.pg_class t ON t.oid = pg_catalog.to_regclass(@.log_table(l.log_id))
         LEFT JOIN pg_catalog.pg_class b ON b.oid = l.base_table
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = b.relnamespace
         ORDER BY bytes DESC, base_table",
    );
    sql::query_as(sql).fetch_all(connection).await
}

/// The views that are being refreshed now, by whomever.
pub async fn refreshing(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<i32>> {
    let sql = format!(
        "SELECT DISTINCT l.objid::pg_catalog.int8::pg_catalog.int4 FROM ({LOCKS}) AS l WHERE $1 IS NOT NULL"
    );
    // the locks know the module schema as their second parameter
    sql::query_scalar(composed(sql))
        .bind(true)
        .bind(schema.name())
        .fetch_all(connection)
        .await
}

/// An audit of a view.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct AuditRow {
    /// When.
    pub audited_at: DateTime<Utc>,
    /// Milliseconds it took.
    pub duration_ms: f64,
    /// The column by which rows were sampled; none if all were compared.
    pub sampled_by: Option<String>,
    /// Stored rows compared.
    pub rows_compared: i64,
    /// Rows of the query that were not stored.
    pub rows_missing: i64,
    /// Stored rows that the query does not give.
    pub rows_unexpected: i64,
}

/// The latest audits of a view, the latest first.
pub async fn audits(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    limit: i32,
) -> sqlx::Result<Vec<AuditRow>> {
    let sql = schema.sql(
        "SELECT audited_at, duration_ms, sampled_by::pg_catalog.text, rows_compared, rows_missing, rows_unexpected
         FROM @.audits WHERE mv_id = $1 ORDER BY audit_id DESC LIMIT $2",
    );
    sql::query_as(sql)
        .bind(mv_id)
        .bind(limit)
        .fetch_all(connection)
        .await
}
