//! What the daemon schedules by.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// One materialized view's settings and state, as far as its schedule depends on them.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct ScheduleRow {
    /// The dictionary's key.
    pub mv_id: i32,
    /// The name with its schema, quoted where needed.
    pub mv_name: String,
    /// Refresh rate in seconds.
    pub refresh_rate_in_sec: Option<i32>,
    /// Five-field crontab text.
    pub refresh_cron: Option<String>,
    /// The crontab's time zone; UTC where absent.
    pub refresh_time_zone: Option<String>,
    /// Refresh group.
    pub refresh_group: Option<String>,
    /// Enabled, and not dropped for an upgrade.
    pub enabled: bool,
    /// Its own statement timeout in seconds.
    pub statement_timeout_in_sec: Option<i32>,
    /// Its own lock timeout in seconds.
    pub lock_timeout_in_sec: Option<i32>,
    /// The last request for a refresh.
    pub requested_at: Option<DateTime<Utc>>,
    /// The method asked for with it.
    pub requested_method: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// As of when its rows are right.
    pub last_refresh: Option<DateTime<Utc>>,
    /// Moving average of a refresh's duration in milliseconds.
    pub avg_cost_ms: Option<f64>,
    /// Failures since the last success.
    pub failures: i32,
    /// No attempt before.
    pub retry_at: Option<DateTime<Utc>>,
    /// Suspended after a permanent error.
    pub suspended: bool,
    /// The materialized views it reads.
    pub depends_on: Vec<i32>,
    /// Nothing is pending for it: told only where single views are read again.
    #[sqlx(default)]
    pub is_quiet: bool,
}

const COLUMNS: &str = "mv_id, mv_name, refresh_rate_in_sec, refresh_cron, refresh_time_zone, refresh_group, enabled, \
     statement_timeout_in_sec, lock_timeout_in_sec, requested_at, requested_method, created_at, last_refresh, \
     avg_cost_ms, failures, retry_at, suspended, depends_on";

/// Where the reader of schedules stands: all changes visible in this snapshot have been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark(String);

/// What there is to read, as of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Where to look from next time, once the changes have been read.
    pub watermark: Watermark,
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// Whether any settings have changed since the last look; always, if there was none.
    pub has_changes: bool,
    /// The version of the module schema.
    pub version: i64,
}

/// Looks whether settings have changed, in one small statement. Must be done *before* reading them: a change in between
/// is then read twice, never lost.
pub async fn look(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    since: Option<&Watermark>,
) -> sqlx::Result<Look> {
    let sql = schema.sql(
        "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.clock_timestamp(),
                $1 IS NULL OR EXISTS (SELECT FROM @.changed_schedules($1::pg_catalog.pg_snapshot)),
                (SELECT coalesce(pg_catalog.max(version), 0) FROM @._sqlx_migrations)",
    );
    let since = since.map(|watermark| watermark.0.as_str());
    let (snapshot, now, has_changes, version) =
        sql::query_as(sql).bind(since).fetch_one(connection).await?;
    let watermark = Watermark(snapshot);
    Ok(Look {
        watermark,
        now,
        has_changes,
        version,
    })
}

/// Every schedule.
pub async fn all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<ScheduleRow>> {
    let sql = schema.sql(&format!("SELECT {COLUMNS} FROM @.refresh_schedule"));
    sql::query_as(sql).fetch_all(connection).await
}

/// The schedules whose settings have changed since, in whatever order the changing transactions began and committed.
pub async fn changed_since(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    since: &Watermark,
) -> sqlx::Result<Vec<ScheduleRow>> {
    let sql = schema.sql(&format!(
        "SELECT {COLUMNS} FROM @.changed_schedules($1::pg_catalog.pg_snapshot)"
    ));
    sql::query_as(sql)
        .bind(&since.0)
        .fetch_all(connection)
        .await
}

/// The schedules of these views as they are now, and the instant. One that is missing is no longer in the dictionary.
pub async fn of_views(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    ids: &[i32],
) -> sqlx::Result<(Vec<ScheduleRow>, DateTime<Utc>)> {
    #[derive(FromRow)]
    struct Stamped {
        #[sqlx(flatten)]
        row: ScheduleRow,
        database_now: DateTime<Utc>,
    }
    let sql = schema.sql(&format!(
        "SELECT {COLUMNS}, mv_id IN (SELECT q FROM @.quiet_views($1) AS q) AS is_quiet,
                pg_catalog.clock_timestamp() AS database_now
         FROM @.refresh_schedule WHERE mv_id = ANY ($1)"
    ));
    let stamped: Vec<Stamped> = sql::query_as(sql)
        .bind(ids)
        .fetch_all(&mut *connection)
        .await?;
    let now = match stamped.iter().map(|stamped| stamped.database_now).max() {
        Some(now) => now,
        None => {
            sql::query_scalar("SELECT pg_catalog.clock_timestamp()")
                .fetch_one(connection)
                .await?
        }
    };
    Ok((
        stamped.into_iter().map(|stamped| stamped.row).collect(),
        now,
    ))
}
