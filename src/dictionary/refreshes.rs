//! Refreshes: the statements that perform them and those that note failures.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Executor, FromRow, Row};

use crate::connect::silence;
use crate::sql::{self, ModuleSchema, composed, quote_literal, quote_nullable};

/// What one refresh came to.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct RefreshRow {
    /// `refreshed`, `unchanged`, `busy`, `done_elsewhere`, `off` or `gone`.
    pub status: String,
    /// The view's key.
    pub mv_id: i32,
    /// The refresh method used.
    pub method: Option<String>,
    /// The form of a complete refresh.
    pub form: Option<String>,
    /// Why this method.
    pub reason: Option<String>,
    /// As of when the rows are right.
    pub last_refresh: Option<DateTime<Utc>>,
    /// Milliseconds it took.
    pub duration_ms: Option<f64>,
    /// Rows inserted, updated and deleted.
    pub rows_changed: Option<i64>,
    /// The moving average of its duration now, in milliseconds.
    pub avg_cost_ms: Option<f64>,
    /// The database's clock at its end.
    pub database_now: DateTime<Utc>,
    /// Whether upkeep may make the next refresh a fast one.
    pub needs_upkeep: Option<bool>,
}

/// Limits for one refresh, in milliseconds; of the first two 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `statement_timeout`.
    pub statement_ms: u64,
    /// `lock_timeout`.
    pub lock_ms: u64,
    /// After how long without a sign of life from us the server is to give it up.
    pub silence_ms: u64,
}

/// What is to be refreshed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One view, unless somebody else refreshed it since the given last refresh.
    View {
        /// Its key.
        id: i32,
        /// The last refresh that the caller knows of.
        seen: Option<DateTime<Utc>>,
    },
    /// A refresh group by name, unless somebody else refreshed it.
    Group {
        /// Its name.
        name: String,
        /// The latest refresh of a member that the caller knows of.
        seen: Option<DateTime<Utc>>,
    },
}

impl Target {
    /// The last refresh that the caller knows of.
    #[must_use]
    pub fn seen(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::View { seen, .. } | Self::Group { seen, .. } => *seen,
        }
    }
}

/// One refresh to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub target: Target,
    /// What caused it, for the history: `schedule` or `request`.
    pub trigger: &'static str,
    /// The method asked for, if any.
    pub method: Option<String>,
    /// Since when it was due.
    pub due_at: Option<DateTime<Utc>>,
    /// Its limits.
    pub limits: Limits,
}

/// What tells this process's statements apart in `pg_stat_activity`: its server processes can't be known, as behind a
/// transaction pooler each transaction may have another.
pub(super) static MARK: LazyLock<String> =
    LazyLock::new(|| format!("/* mvrefreshd {:016x} */", fastrand::u64(..)));

/// Performs a refresh in one message to the server, which is one transaction.
///
/// Each starts from settings nobody's function can have bent: `RESET ALL` first, an own `search_path`, and session
/// locks that such a function may have left are released. At its end the settings are reset again, as behind a pooler
/// the next user of the session may be somebody else. `client_connection_check_interval` lets the server notice
/// within a second that a killed daemon is gone, the keepalive settings do where the network says nothing.
pub async fn perform(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order,
) -> sqlx::Result<Vec<RefreshRow>> {
    let sql = format!(
        "{mark} RESET ALL;{isolation}
         {keepalive}
         SET LOCAL timezone TO 'UTC';
         SET LOCAL datestyle TO 'ISO, MDY';
         SET LOCAL search_path TO pg_catalog, pg_temp;
         SET LOCAL statement_timeout TO {statement_ms};
         SET LOCAL lock_timeout TO {lock_ms};
         SET LOCAL client_connection_check_interval TO '1s';
         SELECT * FROM {call};
         SELECT pg_catalog.pg_advisory_unlock_all();
         RESET ALL;
         {keepalive}",
        mark = *MARK,
        isolation = match order.target {
            Target::View { .. } => "",
            // one snapshot for all statements
            Target::Group { .. } => " SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;",
        },
        keepalive = keepalive(order.limits),
        statement_ms = order.limits.statement_ms,
        lock_ms = order.limits.lock_ms,
        call = call(schema, order),
    );
    let rows = sqlx::raw_sql(composed(sql)).fetch_all(connection).await?;
    rows.iter()
        .filter(|row: &&PgRow| row.len() > 1)
        .map(RefreshRow::from_row)
        .collect()
}

/// `RESET ALL`, without what a refresh that failed has left behind and with what every session of ours has.
pub async fn reset(connection: &mut PgConnection, limits: Limits) -> sqlx::Result<()> {
    let sql = format!("RESET ALL; {}", keepalive(limits));
    connection.execute(sqlx::raw_sql(composed(sql))).await?;
    Ok(())
}

fn keepalive(limits: Limits) -> String {
    silence::keepalive(Duration::from_millis(limits.silence_ms))
}

fn call(schema: &ModuleSchema, order: &Order) -> String {
    let instant = |at: Option<DateTime<Utc>>| {
        at.map_or_else(
            || "NULL".to_owned(),
            |at| quote_literal(&at.to_rfc3339()) + "::timestamptz",
        )
    };
    let trigger = quote_literal(order.trigger);
    let method = quote_nullable(order.method.as_deref());
    let due = instant(order.due_at);
    match &order.target {
        Target::View { id, seen } => format!(
            "{schema}.perform_refresh({id}, {trigger}, {method}, {due}, true, {seen})",
            seen = instant(*seen),
        ),
        Target::Group { name, seen } => format!(
            "{schema}.perform_group_refresh({name}, {trigger}, {method}, {due}, true, {seen})",
            name = quote_literal(name),
            seen = instant(*seen),
        ),
    }
}

/// Which of these views are being refreshed by nobody, as nobody holds their locks.
///
/// The lock is the one sign of a running refresh that is the same with and without a transaction pooler.
pub async fn without_lock(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    ids: &[i32],
) -> sqlx::Result<Vec<i32>> {
    let sql = format!(
        "SELECT id FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS id
         WHERE NOT EXISTS (SELECT FROM ({LOCKS}) AS l WHERE l.objid = id::pg_catalog.oid)"
    );
    sql::query_scalar(composed(sql))
        .bind(ids)
        .bind(schema.name())
        .fetch_all(connection)
        .await
}

/// Whether all these views have been refreshed later than that (at all, if it is none).
pub async fn done_since(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    ids: &[i32],
    seen: Option<DateTime<Utc>>,
) -> sqlx::Result<bool> {
    let sql = schema.sql(
        "SELECT pg_catalog.count(*) = pg_catalog.cardinality($1) FROM @.materialized_view_state
         WHERE mv_id = ANY ($1) AND last_refresh > coalesce($2, '-infinity')",
    );
    sql::query_scalar(sql)
        .bind(ids)
        .bind(seen)
        .fetch_one(connection)
        .await
}

/// Cancels this process's own refreshes of these views; how many.
pub async fn cancel(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    ids: &[i32],
) -> sqlx::Result<i64> {
    let sql = format!(
        "SELECT pg_catalog.count(pg_catalog.pg_cancel_backend(pid))
         FROM (SELECT DISTINCT l.pid FROM ({LOCKS}) AS l
               JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND pg_catalog.starts_with(a.query, $3)
               WHERE l.objid = ANY ($1::pg_catalog.int4[]::pg_catalog.oid[])) AS running"
    );
    sql::query_scalar(composed(sql))
        .bind(ids)
        .bind(schema.name())
        .bind(MARK.as_str())
        .fetch_one(connection)
        .await
}

/// The locks that refreshes hold (see `try_refresh_lock`); $2 is the module schema.
pub(super) const LOCKS: &str = "SELECT k.pid, k.objid FROM pg_catalog.pg_locks k \
     JOIN pg_catalog.pg_database d ON d.oid = k.database AND d.datname = pg_catalog.current_database() \
     JOIN pg_catalog.pg_namespace n ON n.oid = k.classid AND n.nspname = $2 \
     WHERE k.locktype = 'advisory' AND k.objsubid = 2 AND k.granted";

/// A failed refresh, to be noted.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureNote<'a> {
    /// The view's key.
    pub mv_id: i32,
    /// What caused the refresh.
    pub trigger: &'a str,
    /// How long ago it began, in seconds.
    pub seconds_ago: f64,
    /// The message for users.
    pub error: &'a str,
    /// The SQLSTATE, if the server reported the error.
    pub error_code: Option<&'a str>,
    /// When to try again, in seconds from now.
    pub retry_after_seconds: f64,
    /// Whether to give up until somebody changes the settings.
    pub suspend: bool,
    /// Since when it was due.
    pub due_at: Option<DateTime<Utc>>,
}

/// A view's failures as noted.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct FailureRow {
    /// As before.
    pub last_refresh: Option<DateTime<Utc>>,
    /// As before.
    pub avg_cost_ms: Option<f64>,
    /// Failures since the last success.
    pub failures: i32,
    /// Not before.
    pub retry_at: Option<DateTime<Utc>>,
}

/// Notes a failed refresh; `None` if the view is no longer in the dictionary.
pub async fn note_failure(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    note: &FailureNote<'_>,
) -> sqlx::Result<Option<FailureRow>> {
    let sql = schema.sql(
        "SELECT last_refresh, avg_cost_ms, failures, retry_at
         FROM @.record_failure($1, $2, pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $3), $4, $5,
                               pg_catalog.make_interval(secs => $6), $7, $8)
         WHERE mv_id IS NOT NULL",
    );
    sql::query_as(sql)
        .bind(note.mv_id)
        .bind(note.trigger)
        .bind(note.seconds_ago)
        .bind(note.error)
        .bind(note.error_code)
        .bind(note.retry_after_seconds)
        .bind(note.suspend)
        .bind(note.due_at)
        .fetch_optional(connection)
        .await
}

/// Deletes history older than this, a bounded number of rows; how many.
pub async fn prune_history(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    keep_seconds: f64,
) -> sqlx::Result<i64> {
    let sql = schema.sql("SELECT @.prune_history(pg_catalog.make_interval(secs => $1))");
    sql::query_scalar(sql)
        .bind(keep_seconds)
        .fetch_one(connection)
        .await
}
