//! What tests of the daemon do again and again: start it, change something, and wait for what the dictionary says.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::{Daemon, TestServer, run};

/// How long anything that must happen may take before the test fails: far longer than it ever should.
const LIMIT: Duration = Duration::from_secs(90);

/// Starts the daemon on the test's database, with debug lines and the given variables.
pub(crate) fn spawn(server: &TestServer, environment: &[(&str, &str)]) -> Daemon {
    let url = server.url();
    let arguments = ["run", "--database-url", &url, "--log-level", "debug"];
    Daemon::spawn(&arguments, environment)
}

/// Installs the module schema.
pub(crate) async fn install(server: &TestServer) {
    let finished = run(&["install", "--database-url", &server.url()], &[]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

/// Runs statements.
pub(crate) async fn execute(connection: &mut PgConnection, statements: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await;
    done.unwrap_or_else(|error| panic!("{error}\nin: {statements}"));
}

/// Whether an SQL condition holds; NULL does not.
pub(crate) async fn holds(connection: &mut PgConnection, condition: &str) -> bool {
    let sql = format!("SELECT coalesce(({condition})::boolean, false)");
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\nin: {condition}"))
}

/// The number that a query gives.
pub(crate) async fn count(connection: &mut PgConnection, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\nin: {query}"))
}

/// Waits until an SQL condition holds.
pub(crate) async fn until(connection: &mut PgConnection, condition: &str) {
    let deadline = Instant::now() + LIMIT;
    while !holds(connection, condition).await {
        assert!(Instant::now() < deadline, "still not so: {condition}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Changes base tables by this statement, again and again, until the daemon has refreshed a view fast.
pub(crate) async fn change_until_fast(connection: &mut PgConnection, name: &str, change: &str) {
    let deadline = Instant::now() + LIMIT;
    let fast = format!(
        "SELECT count(*) > 0 FROM mvrefresh.refresh_history WHERE mv_name = 'public.{name}' AND method = 'fast'"
    );
    while !holds(connection, &fast).await {
        assert!(Instant::now() < deadline, "{name} is not refreshed fast");
        execute(connection, change).await;
        sleep(Duration::from_millis(100)).await;
    }
}

/// The condition that the daemon has refreshed a view so often.
pub(crate) fn refreshed(name: &str, times: u32) -> String {
    format!(
        "SELECT count(*) >= {times} FROM mvrefresh.refresh_history \
         WHERE mv_name = 'public.{name}' AND outcome = 'succeeded' AND trigger IN ('schedule', 'request')"
    )
}

/// Asserts that no view was ever refreshed twice at a time.
pub(crate) async fn never_overlapping(connection: &mut PgConnection) {
    let overlaps = "WITH done AS (
            SELECT refresh_id, mv_id, started_at, started_at + duration_ms * interval '1 ms' AS ended_at
            FROM mvrefresh.refresh_history WHERE outcome = 'succeeded')
        SELECT count(*) FROM done a JOIN done b USING (mv_id)
        WHERE a.refresh_id < b.refresh_id AND a.started_at < b.ended_at AND b.started_at < a.ended_at";
    assert_eq!(count(connection, overlaps).await, 0);
}

/// A query whose refresh waits until no [`Gate`] is closed. One row.
pub(crate) const GATED_QUERY: &str = "SELECT public.gate() AS passed";

/// As long as this exists, refreshes of [`GATED_QUERY`] wait.
#[derive(Debug)]
pub(crate) struct Gate(PgConnection);

impl Gate {
    /// Closes the gate, and makes the function that waits for it.
    pub(crate) async fn close(server: &TestServer) -> Self {
        let mut connection = server.connect().await;
        execute(
            &mut connection,
            "CREATE OR REPLACE FUNCTION public.gate() RETURNS boolean LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN true; END';
             SELECT pg_advisory_lock(4711)",
        )
        .await;
        Self(connection)
    }

    /// Waits until so many refreshes stand before the gate.
    pub(crate) async fn until_waiting(&mut self, refreshes: u32) {
        let condition = format!(
            "SELECT count(*) = {refreshes} FROM pg_locks
             WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
        );
        until(&mut self.0, &condition).await;
    }

    /// Opens the gate.
    pub(crate) async fn open(self) {
        self.0.close().await.unwrap();
    }
}
