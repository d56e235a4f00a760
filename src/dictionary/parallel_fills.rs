//! The first fill of a materialized view by several sessions: what each of them has the database do.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;
use sqlx::{Executor, FromRow};

use super::refreshes::MARK;
use crate::sql::{self, ModuleSchema, composed, quote_literal};

/// What was made to fill a materialized view in slices.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Prepared {
    /// Where one range of the column ends and the next begins, in order; none: slices are told apart by hash.
    pub bounds: Option<Vec<String>>,
    /// Whether there is a state table to be filled beside the rows.
    pub has_state: bool,
    /// The statements that make the indexes again; none if that is for the user's hook.
    pub index_definitions: Option<Vec<String>>,
    /// A fingerprint of what the rows mean.
    pub meaning: String,
}

/// What the rows are divided by: a column of the materialized view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Its name.
    pub column: String,
    /// The column of a base table that it shows as it is (`oid`, `attnum`), if it does.
    pub origin: Option<(u32, i16)>,
    /// Into how many slices.
    pub slices: i32,
}

/// Prepares an empty materialized view, in the transaction that has made it.
pub async fn prepare(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    split: &Split,
) -> sqlx::Result<Prepared> {
    let sql = schema.sql(
        "SELECT bounds, has_state, index_definitions, meaning FROM @.prepare_parallel_fill($1, $2::text::name, $3, $4, $5)",
    );
    sql::query_as(sql)
        .bind(mv_id)
        .bind(&split.column)
        .bind(split.slices)
        .bind(split.origin.map(|(table, _)| Oid(table)))
        .bind(split.origin.map(|(_, column)| column))
        .fetch_one(connection)
        .await
}

/// Begins a transaction that lasts for as long as other sessions work: the server must not end it for being idle.
async fn begin(connection: &mut PgConnection, statement: &'static str) -> sqlx::Result<()> {
    connection.execute(statement).await?;
    connection
        .execute("SET LOCAL idle_in_transaction_session_timeout TO 0")
        .await?;
    Ok(())
}

/// Begins the transaction that will note the fill; its server process.
pub async fn begin_to_hold(connection: &mut PgConnection) -> sqlx::Result<i32> {
    begin(connection, "BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    sqlx::query_scalar("SELECT pg_catalog.pg_backend_pid()")
        .persistent(false)
        .fetch_one(connection)
        .await
}

/// Waits for the refresh lock, which that transaction holds to its end. Since when it has waited.
pub async fn hold(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<DateTime<Utc>> {
    let sql = schema.sql(
        "SELECT pg_catalog.statement_timestamp() FROM @.try_refresh_lock($1, true) AS l WHERE l IS NOT NULL",
    );
    sqlx::query_scalar(sql)
        .persistent(false)
        .bind(mv_id)
        .fetch_one(connection)
        .await
}

/// Waits until a session holds an advisory lock, or waits for one.
pub async fn wait_for_holder(connection: &mut PgConnection, pid: i32) -> sqlx::Result<()> {
    let sql =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE pid = $1 AND locktype = 'advisory')";
    loop {
        let holds: bool = sql::query_scalar(sql)
            .bind(pid)
            .fetch_one(&mut *connection)
            .await?;
        if holds {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Refreshes what the materialized view reads and nobody else keeps fresh.
pub async fn refresh_needed(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<()> {
    let sql = schema.sql("SELECT @.refresh_needed_view(n) FROM @.needed_views($1) AS n");
    sql::query(sql).bind(mv_id).execute(connection).await?;
    Ok(())
}

/// A snapshot that other sessions can take for their own, for as long as the transaction that exported it lasts.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Exported {
    /// What the others call it by.
    pub id: String,
    /// Which transactions it sees.
    pub snapshot: String,
    /// An instant not later than it.
    pub as_of: DateTime<Utc>,
}

/// Exports a snapshot in a transaction that goes on. Until its end nobody can empty, replace or drop what the query
/// of the materialized view reads: `TRUNCATE` would be seen by sessions that begin to read later, whatever their snapshot.
pub async fn export(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Exported> {
    let sql = schema.sql(
        "SELECT @.qualified_name(v_relation) FROM @.materialized_view_settings WHERE mv_id = $1",
    );
    let view: String = sql::query_scalar(sql)
        .bind(mv_id)
        .fetch_one(&mut *connection)
        .await?;
    begin(
        connection,
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    )
    .await?;
    // a lock takes no snapshot; the one below is taken when it is held
    let lock = format!("LOCK TABLE {view} IN ACCESS SHARE MODE");
    connection.execute(composed(lock)).await?;
    let sql = "SELECT pg_catalog.pg_export_snapshot() AS id, pg_catalog.pg_current_snapshot()::text AS snapshot,
                      pg_catalog.now() AS as_of";
    sqlx::query_as(sql)
        .persistent(false)
        .fetch_one(connection)
        .await
}

/// One part of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slice {
    /// The state table.
    State,
    /// Rows whose value is at least the first and less than the second bound.
    Range(Option<String>, Option<String>),
    /// Rows without a value.
    Nulls,
    /// Rows by the remainder of a hash: this one, of so many.
    Hash(i32, i32),
}

/// Begins a transaction at an exported snapshot.
pub async fn join_in(connection: &mut PgConnection, exported: &Exported) -> sqlx::Result<()> {
    connection
        .execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await?;
    let take = format!("SET TRANSACTION SNAPSHOT {}", quote_literal(&exported.id));
    connection.execute(composed(take)).await?;
    connection
        .execute("SET LOCAL idle_in_transaction_session_timeout TO 0")
        .await?;
    Ok(())
}

/// Inserts one slice, in a transaction that has [joined in](join_in); the number of rows.
pub async fn insert(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    slice: &Slice,
    exported: &Exported,
) -> sqlx::Result<i64> {
    let (kind, number, lower, upper) = match slice {
        Slice::State => ("state", (0, 0), None, None),
        Slice::Range(lower, upper) => ("range", (0, 0), lower.as_deref(), upper.as_deref()),
        Slice::Nulls => ("nulls", (0, 0), None, None),
        Slice::Hash(slice, slices) => ("hash", (*slice, *slices), None, None),
    };
    let sql = schema.sql(&format!(
        "{mark} SELECT @.fill_slice($1, $2, $3, $4, $5, $6, $7::text::pg_snapshot)",
        mark = *MARK,
    ));
    sqlx::query_scalar(sql)
        .persistent(false)
        .bind(mv_id)
        .bind(kind)
        .bind(number.0)
        .bind(number.1)
        .bind(lower)
        .bind(upper)
        .bind(&exported.snapshot)
        .fetch_one(connection)
        .await
}

/// What all slices together came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// How many rows.
    pub rows: i64,
    /// Milliseconds that the sessions worked, added up.
    pub work_ms: f64,
}

/// Builds the indexes and notes the fill, in the transaction that [holds](hold) the refresh lock.
pub async fn finish(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    prepared: &Prepared,
    exported: &Exported,
    begun: DateTime<Utc>,
    total: Total,
) -> sqlx::Result<()> {
    let sql = schema.sql(&format!(
        "{mark} SELECT @.finish_parallel_fill($1, ROW($2::text[], $3::boolean, $4::text[], $5::text)::@.parallel_fill,
                                              $6::text::pg_snapshot, $7, $8, $9, $10)",
        mark = *MARK,
    ));
    sqlx::query(sql)
        .persistent(false)
        .bind(mv_id)
        .bind(&prepared.bounds)
        .bind(prepared.has_state)
        .bind(&prepared.index_definitions)
        .bind(&prepared.meaning)
        .bind(&exported.snapshot)
        .bind(exported.as_of)
        .bind(begun)
        .bind(total.rows)
        .bind(total.work_ms)
        .execute(&mut *connection)
        .await?;
    connection.execute("COMMIT").await?;
    Ok(())
}

/// Has the server break off the fills that this process is at.
pub async fn cancel(connection: &mut PgConnection) -> sqlx::Result<()> {
    let sql = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity
               WHERE state = 'active' AND pg_catalog.starts_with(query, $1) AND datname = pg_catalog.current_database()";
    sql::query(sql)
        .bind(MARK.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
