//! The dictionary as users see it: one row per materialized view, settings and state together.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// One row of `materialized_views`.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct ViewRow {
    /// The dictionary's key.
    pub mv_id: i32,
    /// The name with its schema, quoted where needed.
    pub full_name: String,
    /// Its schema.
    pub mv_schema: String,
    /// Its name.
    pub mv_name: String,
    /// The defining view's schema; none for an adopted native one.
    pub v_schema: Option<String>,
    /// The defining view's name.
    pub v_name: Option<String>,
    /// `table`, or `native` for an adopted one.
    pub kind: String,
    /// The owner.
    pub owner: String,
    /// `ok`, `empty`, `failing`, `suspended`, `disabled` or `dropped`.
    pub status: String,
    /// Refresh rate in seconds.
    pub refresh_rate_in_sec: Option<i32>,
    /// Five-field crontab text.
    pub refresh_cron: Option<String>,
    /// The crontab's time zone; UTC where absent.
    pub refresh_time_zone: Option<String>,
    /// `auto`, `fast` or `complete`.
    pub refresh_method: String,
    /// `in_place` or `rebuild`.
    pub complete_form: String,
    /// Refresh group.
    pub refresh_group: Option<String>,
    /// The user's switch.
    pub enabled: bool,
    /// Its own statement timeout in seconds.
    pub statement_timeout_in_sec: Option<i32>,
    /// Its own lock timeout in seconds.
    pub lock_timeout_in_sec: Option<i32>,
    /// As of when its rows are right.
    pub last_refresh: Option<DateTime<Utc>>,
    /// Seconds since then.
    pub staleness_in_sec: Option<f64>,
    /// The method of the last refresh.
    pub last_method: Option<String>,
    /// Why that one.
    pub last_reason: Option<String>,
    /// Milliseconds it took.
    pub last_duration_ms: Option<f64>,
    /// Rows it inserted, updated and deleted; unknown for a native one.
    pub last_rows_changed: Option<i64>,
    /// Moving average of a refresh's duration in milliseconds.
    pub avg_cost_ms: Option<f64>,
    /// Failures since the last success.
    pub failures: i32,
    /// The message of the last failure since then.
    pub last_error: Option<String>,
    /// Its SQLSTATE.
    pub last_error_code: Option<String>,
    /// When it was.
    pub last_error_at: Option<DateTime<Utc>>,
    /// The daemon's next attempt, not before this instant.
    pub retry_at: Option<DateTime<Utc>>,
    /// The last request for a refresh.
    pub requested_at: Option<DateTime<Utc>>,
    /// The method asked for with it.
    pub requested_method: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its settings were last changed.
    pub changed_at: DateTime<Utc>,
    /// The database's clock when this was read.
    pub database_now: DateTime<Utc>,
}

const SELECT: &str = "
    SELECT m.mv_id, pg_catalog.format('%I.%I', m.mv_schema, m.mv_name) AS full_name,
           m.mv_schema::pg_catalog.text, m.mv_name::pg_catalog.text,
           m.v_schema::pg_catalog.text, m.v_name::pg_catalog.text,
           m.kind, m.owner::pg_catalog.text, m.status,
           m.refresh_rate_in_sec, m.refresh_cron, m.refresh_time_zone, m.refresh_method, m.complete_form,
           m.refresh_group, m.enabled, m.statement_timeout_in_sec, m.lock_timeout_in_sec,
           m.last_refresh, EXTRACT(epoch FROM m.staleness)::pg_catalog.float8 AS staleness_in_sec,
           m.last_method, m.last_reason, m.last_duration_ms, m.last_rows_changed, m.avg_cost_ms,
           coalesce(m.failures, 0) AS failures, m.last_error, m.last_error_code, m.last_error_at, m.retry_at,
           m.requested_at, m.requested_method, m.created_at, m.changed_at,
           pg_catalog.clock_timestamp() AS database_now
    FROM @.materialized_views m";

/// The materialized view of this key.
pub async fn by_id(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<ViewRow> {
    let sql = schema.sql(&format!("{SELECT} WHERE m.mv_id = $1"));
    sql::query_as(sql).bind(mv_id).fetch_one(connection).await
}

/// The materialized view that a name means in this session's `search_path`. An unknown name is an error of the server's.
pub async fn by_name(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<ViewRow> {
    let sql = schema.sql(&format!(
        "{SELECT} WHERE m.mv_id =
             @.require_materialized_view(pg_catalog.current_setting('search_path'), $1)"
    ));
    sql::query_as(sql).bind(name).fetch_one(connection).await
}

/// Every materialized view, by name.
pub async fn all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<ViewRow>> {
    let sql = schema.sql(&format!("{SELECT} ORDER BY m.mv_schema, m.mv_name"));
    sql::query_as(sql).fetch_all(connection).await
}

/// The materialized views that there are now and that the session's user may act for, those below others first.
pub async fn of_the_user(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<ViewRow>> {
    let sql = schema.sql(&format!(
        "{SELECT} JOIN @.materialized_view_settings s USING (mv_id)
         WHERE s.mv_relation IS NOT NULL AND @.may_act_for(s.mv_relation, s.owner)
         ORDER BY @.dependency_level(m.mv_id), m.mv_id"
    ));
    sql::query_as(sql).fetch_all(connection).await
}
