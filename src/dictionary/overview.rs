//! All materialized views at a glance, and what their refreshes came to.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// One materialized view as it is now.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct OverviewRow {
    /// Its name without schema.
    pub mv_name: String,
    /// Its name with schema, quoted where needed.
    pub qualified_name: String,
    /// `table` or `native`.
    pub kind: String,
    /// Refresh rate in seconds.
    pub refresh_rate_in_sec: Option<i32>,
    /// Five-field crontab text.
    pub refresh_cron: Option<String>,
    /// The crontab's time zone.
    pub refresh_time_zone: Option<String>,
    /// Enabled, and not dropped for an upgrade.
    pub enabled: bool,
    /// `ok`, `failing`, `suspended`, …
    pub status: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// The last request for a refresh.
    pub requested_at: Option<DateTime<Utc>>,
    /// As of when its rows are right.
    pub last_refresh: Option<DateTime<Utc>>,
    /// Milliseconds the last refresh took.
    pub last_duration_ms: Option<f64>,
    /// Rows that the last refresh inserted, updated and deleted; unknown of a native one.
    pub last_rows_changed: Option<i64>,
    /// The refresh method of the last refresh that wrote anything.
    pub last_method: Option<String>,
    /// Its form, if it was a complete one.
    pub last_form: Option<String>,
    /// Why it was of this method.
    pub last_reason: Option<String>,
    /// Failures since the last success.
    pub failures: i32,
    /// Not before.
    pub retry_at: Option<DateTime<Utc>>,
    /// The last failure's message.
    pub last_error: Option<String>,
    /// The database's clock.
    pub database_now: DateTime<Utc>,
}

/// Every materialized view, in the order of their creation.
pub async fn all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<OverviewRow>> {
    let sql = schema.sql(
        "SELECT m.mv_name::text, pg_catalog.format('%I.%I', m.mv_schema, m.mv_name) AS qualified_name, m.kind, m.refresh_rate_in_sec, m.refresh_cron, m.refresh_time_zone,
                m.enabled AND m.status <> 'dropped' AS enabled, m.status, m.created_at, m.requested_at,
                m.last_refresh, m.last_duration_ms, m.last_rows_changed,
                h.method AS last_method, h.form AS last_form, h.reason AS last_reason,
                coalesce(m.failures, 0) AS failures, m.retry_at, m.last_error,
                pg_catalog.clock_timestamp() AS database_now
         FROM @.materialized_views m
         LEFT JOIN LATERAL (
             SELECT method, form, reason FROM @.refresh_history
             WHERE mv_id = m.mv_id AND outcome = 'succeeded' ORDER BY refresh_id DESC LIMIT 1) AS h ON true
         ORDER BY m.mv_id",
    );
    sql::query_as(sql).fetch_all(connection).await
}

/// What the refreshes by the daemon came to.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct RefreshTotals {
    /// Refresh method; `None` of those that failed.
    pub method: Option<String>,
    /// Form of a complete refresh.
    pub form: Option<String>,
    /// `succeeded` or `failed`.
    pub outcome: String,
    /// How many.
    pub refreshes: i64,
    /// Rows inserted, updated and deleted; unknown of native ones.
    pub rows_changed: Option<i64>,
    /// Median duration in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile of the duration in milliseconds.
    pub p95_ms: f64,
    /// The longest time from due to started in milliseconds, of those that were due by their schedule.
    pub max_lateness_ms: Option<f64>,
}

/// The refreshes in the history, first fills aside, by method, form and outcome.
pub async fn refresh_totals(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<RefreshTotals>> {
    let sql = schema.sql(
        "SELECT method, form, outcome, count(*) AS refreshes,
                sum(rows_inserted + rows_updated + coalesce(rows_deleted, 0))::bigint AS rows_changed,
                percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50_ms,
                percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms,
                (max(extract(epoch FROM started_at - due_at)) FILTER (WHERE trigger = 'schedule')
                    * 1000)::double precision AS max_lateness_ms
         FROM @.refresh_history
         WHERE trigger <> 'create'
         GROUP BY method, form, outcome ORDER BY outcome DESC, method, form",
    );
    sql::query_as(sql).fetch_all(connection).await
}

/// How many refreshes are in the history, first fills aside, and how many of them failed.
pub async fn refresh_counts(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<(i64, i64)> {
    let sql = schema.sql(
        "SELECT count(*), count(*) FILTER (WHERE outcome = 'failed')
         FROM @.refresh_history WHERE trigger <> 'create'",
    );
    sql::query_as(sql).fetch_one(connection).await
}

/// Asks the daemon to refresh those of the caller's materialized views that have `level` others one upon the other
/// below them; how many these are.
pub async fn request_level(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    level: i32,
) -> sqlx::Result<usize> {
    let sql = schema.sql(
        "SELECT @.request_refresh(pg_catalog.format('%I.%I', mv_schema, mv_name))
         FROM @.materialized_views WHERE @.dependency_level(mv_id) = $1",
    );
    let rows = sql::query(sql).bind(level).fetch_all(connection).await?;
    Ok(rows.len())
}

/// How a materialized view compares with its defining view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Comparison {
    /// Rows of the defining view.
    pub rows_compared: i64,
    /// Rows that the materialized view lacks.
    pub rows_missing: i64,
    /// Rows that it has too many.
    pub rows_unexpected: i64,
}

impl Comparison {
    /// Whether they hold the same rows.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.rows_missing == 0 && self.rows_unexpected == 0
    }
}

/// Compares a materialized view with its defining view row by row, in one snapshot. The name is read as in SQL.
pub async fn verify(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<Comparison> {
    let sql = schema.sql(
        "SELECT rows_compared, rows_missing, rows_unexpected FROM @.verify_materialized_view($1)",
    );
    sql::query_as(sql).bind(name).fetch_one(connection).await
}
