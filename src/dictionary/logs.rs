//! Materialized view logs: repair, pruning, and what is noted from their silence.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// A log that had a problem.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Repair {
    /// Its base table, quoted where needed.
    pub base_table: String,
    /// What was wrong.
    pub problem: String,
    /// What was done.
    pub outcome: String,
}

/// Repairs every log that has a problem, or says why not. Waits for a base table so many milliseconds.
pub async fn repair(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    lock_timeout_ms: i32,
) -> sqlx::Result<Vec<Repair>> {
    sql::query_as(schema.sql("SELECT base_table, problem, outcome FROM @.repair_logs($1)"))
        .bind(lock_timeout_ms)
        .fetch_all(connection)
        .await
}

/// Deletes what no view refreshed within so many seconds needs, at most `limit` rows of each log; how many of each.
pub async fn prune(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    claim_seconds: f64,
    limit: i32,
) -> sqlx::Result<Vec<i64>> {
    let sql =
        schema.sql("SELECT pruned FROM @.prune_logs(pg_catalog.make_interval(secs => $1), $2)");
    sql::query_scalar(sql)
        .bind(claim_seconds)
        .bind(limit)
        .fetch_all(connection)
        .await
}

/// Drops the logs that no materialized view reads any more; the names of their base tables.
pub async fn drop_unread(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    lock_timeout_ms: i32,
) -> sqlx::Result<Vec<String>> {
    sql::query_scalar(schema.sql("SELECT t FROM @.drop_unread_logs($1) AS t"))
        .bind(lock_timeout_ms)
        .fetch_all(connection)
        .await
}

/// Notes of the views that have not been refreshed for so many seconds, as nothing was pending, that they are right: of
/// so many of them at most.
pub async fn confirm_quiet(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    older_than_seconds: f64,
    limit: i32,
) -> sqlx::Result<i32> {
    let sql = schema.sql("SELECT @.confirm_quiet_views(pg_catalog.make_interval(secs => $1), $2)");
    sql::query_scalar(sql)
        .bind(older_than_seconds)
        .bind(limit)
        .fetch_one(connection)
        .await
}

/// Whether upkeep has anything to do at all: for this revision of the compiler, and with the intervals, in seconds, after
/// which quiet views are confirmed and views audited (none: never).
pub async fn is_upkeep_wanted(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    compiler: i32,
    confirm_seconds: f64,
    audit_seconds: Option<f64>,
) -> sqlx::Result<bool> {
    let sql = schema.sql(
        "SELECT @.upkeep_wanted($1, pg_catalog.make_interval(secs => $2), pg_catalog.make_interval(secs => $3))",
    );
    sql::query_scalar(sql)
        .bind(compiler)
        .bind(confirm_seconds)
        .bind(audit_seconds)
        .fetch_one(connection)
        .await
}
