//! The daemon's figures: how soon it acts, how much it gets through, what it costs when idle.
//!
//! `cargo bench --bench daemon`; with names of figures as arguments only those. Views whose refreshes are counted are refreshed
//! completely: a fast one is left alone with nothing pending.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::time::{Duration, Instant};

use common::{Daemon, TestServer};
use measure::server::pgbench;
use measure::{cpu_time, median, quantile, report, resident_mb};
use mvrefreshd::dictionary::installation;
use mvrefreshd::scratch::Options;
use mvrefreshd::sql::ModuleSchema;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wants = |figure: &str| wanted.is_empty() || wanted.iter().any(|name| name == figure);
    println!("| figure | measured | reach |");
    println!("| --- | --- | --- |");
    if wants("reaction") {
        reaction().await;
    }
    if wants("lateness") {
        lateness().await;
    }
    if wants("throughput") {
        throughput().await;
    }
    if wants("idle") {
        idle(1_000, "≤ 25 MB").await;
        idle(100_000, "≤ 120 MB").await;
    }
}

/// A server with the module installed and a small base table.
async fn prepared() -> (TestServer, PgConnection) {
    prepared_with(common::options()).await
}

async fn prepared_with(options: Options) -> (TestServer, PgConnection) {
    let server = TestServer::start_with(options).await;
    let mut connection = server.connect().await;
    installation::install(&mut connection, &ModuleSchema::new("mvrefresh"))
        .await
        .unwrap();
    connection.execute("RESET search_path").await.unwrap();
    connection.execute("CREATE TABLE base AS SELECT i AS id, i % 10 AS customer FROM generate_series(1, 100) i").await.unwrap();
    (server, connection)
}

async fn daemon(server: &TestServer, workers: u32) -> Daemon {
    let (url, workers) = (server.url(), workers.to_string());
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("MVREFRESHD_WORKERS__MAX", &workers),
    ];
    let mut daemon = Daemon::spawn(&["run"], &environment);
    daemon.wait_for_line("the dictionary has been read").await;
    daemon
}

/// From the commit of a changed dictionary row until the refresh that it makes due has begun.
async fn reaction() {
    let (server, mut connection) = prepared().await;
    connection
        .execute("SELECT mvrefresh.create_materialized_view('v', 'SELECT customer, count(*) FROM base GROUP BY 1', refresh_method => 'complete')")
        .await
        .unwrap();
    let _daemon = daemon(&server, 4).await;
    let mut delays = Vec::new();
    for _ in 0..200 {
        connection.execute("UPDATE mvrefresh.materialized_view_state SET last_refresh = last_refresh - interval '1 hour'").await.unwrap();
        let changed: f64 = sqlx::query_scalar(
            "WITH changed AS (UPDATE mvrefresh.materialized_view_settings SET refresh_rate_in_sec = 60 RETURNING 1)
             SELECT extract(epoch FROM clock_timestamp())::float8 FROM changed",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        let begun = loop {
            let begun: Option<f64> = sqlx::query_scalar(
                "SELECT extract(epoch FROM started_at)::float8 FROM mvrefresh.refresh_history
                 WHERE extract(epoch FROM started_at) > $1 ORDER BY refresh_id LIMIT 1",
            )
            .bind(changed)
            .fetch_optional(&mut connection)
            .await
            .unwrap();
            match begun {
                Some(begun) => break begun,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        delays.push((begun - changed) * 1e3);
        connection
            .execute("UPDATE mvrefresh.materialized_view_settings SET refresh_rate_in_sec = NULL")
            .await
            .unwrap();
    }
    report(
        "change of a dictionary row until its refresh begins (200 changes)",
        &format!(
            "p50 {:.1} ms, p99 {:.1} ms",
            median(&delays),
            quantile(&delays, 0.99)
        ),
        "p99 ≤ 100 ms",
    );
}

/// How much later than due a refresh begins when nothing else is to be done.
async fn lateness() {
    let (server, mut connection) = prepared().await;
    for view in 1..=3 {
        // a third of a second apart, so that each is alone
        let create = format!(
            "SELECT mvrefresh.create_materialized_view('v{view}', 'SELECT customer, count(*) FROM base GROUP BY 1', 1, refresh_method => 'complete'), pg_sleep(0.33)"
        );
        connection.execute(AssertSqlSafe(create)).await.unwrap();
    }
    let mut round_trips = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        connection.execute("SELECT 1").await.unwrap();
        round_trips.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let _daemon = daemon(&server, 4).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    let lateness: Vec<f64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM started_at - due_at) * 1000)::float8 FROM mvrefresh.refresh_history
         WHERE trigger = 'schedule' ORDER BY refresh_id OFFSET 10",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let round_trip = median(&round_trips);
    report(
        &format!(
            "lateness of a lone due view over the round trip of {round_trip:.2} ms ({} refreshes)",
            lateness.len()
        ),
        &format!(
            "p50 {:.1} ms, p99 {:.1} ms",
            median(&lateness) - round_trip,
            quantile(&lateness, 0.99) - round_trip
        ),
        "p50 ≤ 5 ms, p99 ≤ 20 ms",
    );
}

/// A thousand views due at once, against the same refreshes issued by pgbench over as many connections.
async fn throughput() {
    const VIEWS: u32 = 1_000;
    const ROUNDS: usize = 5;
    const CONNECTIONS: u32 = 4;
    let (server, mut connection) = prepared().await;
    for view in 1..=VIEWS {
        let create = format!(
            "SELECT mvrefresh.create_materialized_view('v{view}', 'SELECT customer, count(*) FROM base GROUP BY 1', refresh_method => 'complete')"
        );
        connection.execute(AssertSqlSafe(create)).await.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("refresh.sql");
    std::fs::write(
        &script,
        "SELECT mvrefresh.perform_refresh(nextval('turn')::int, 'request');\n",
    )
    .unwrap();
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        connection
            .execute("TRUNCATE mvrefresh.refresh_history")
            .await
            .unwrap();
        connection
            .execute("DROP SEQUENCE IF EXISTS turn; CREATE SEQUENCE turn")
            .await
            .unwrap();
        connection
            .execute("VACUUM ANALYZE mvrefresh.materialized_view_state")
            .await
            .unwrap();
        let (clients, transactions) = (CONNECTIONS.to_string(), (VIEWS / CONNECTIONS).to_string());
        let arguments = ["-c", &clients, "-t", &transactions, "-M", "simple"];
        pgbench(&server, &script, &arguments).await;
        let by_pgbench = refreshes_per_second(&mut connection).await;

        connection
            .execute("TRUNCATE mvrefresh.refresh_history")
            .await
            .unwrap();
        connection
            .execute("VACUUM ANALYZE mvrefresh.materialized_view_state")
            .await
            .unwrap();
        let mut daemon = daemon(&server, CONNECTIONS).await;
        connection
            .execute(
                "UPDATE mvrefresh.materialized_view_settings SET requested_at = clock_timestamp()",
            )
            .await
            .unwrap();
        until(
            &mut connection,
            "SELECT count(*) >= 1000 FROM mvrefresh.refresh_history",
        )
        .await;
        let by_daemon = refreshes_per_second(&mut connection).await;
        daemon.signal(common::Signal::Terminate).await;
        daemon.wait_for_exit().await;
        ratios.push(by_daemon / by_pgbench);
        rates.push(by_daemon);
    }
    report(
        "1,000 tiny views due at once, in times of pgbench with as many connections (4)",
        &format!("{:.2} ({:.0} refreshes/s)", median(&ratios), median(&rates)),
        "≥ 0.9",
    );
}

/// From the beginning of the first to the end of the last in the history.
async fn refreshes_per_second(connection: &mut PgConnection) -> f64 {
    sqlx::query_scalar(
        "SELECT (count(*) / extract(epoch FROM max(started_at + duration_ms * interval '1 ms') - min(started_at)))::float8
         FROM mvrefresh.refresh_history",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

async fn until(connection: &mut PgConnection, condition: &'static str) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !sqlx::query_scalar::<_, bool>(condition)
        .fetch_one(&mut *connection)
        .await
        .unwrap()
    {
        assert!(Instant::now() < deadline, "never true: {condition}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Many registered views and nothing due.
async fn idle(views: u32, memory_reach: &str) {
    const SECONDS: u64 = 120;
    // the server's own transactions are not the daemon's
    let mut options = common::options();
    options
        .settings
        .push(("autovacuum".to_owned(), "off".to_owned()));
    let (server, mut connection) = prepared_with(options).await;
    // Registered without being made: what is measured never looks at the relations.
    let register = format!(
        "ALTER TABLE mvrefresh.materialized_view_settings DISABLE TRIGGER USER;
         INSERT INTO mvrefresh.materialized_view_settings (mv_relation, mv_schema, mv_name, refresh_rate_in_sec)
         SELECT (1000000000 + i)::oid::regclass, 'public', 'registered_view_' || i, 86400 + i FROM generate_series(1, {views}) i;
         INSERT INTO mvrefresh.materialized_view_state (mv_id, last_refresh, avg_cost_ms)
         SELECT mv_id, clock_timestamp(), 10 FROM mvrefresh.materialized_view_settings;
         ALTER TABLE mvrefresh.materialized_view_settings ENABLE TRIGGER USER;
         ANALYZE mvrefresh.materialized_view_settings, mvrefresh.materialized_view_state"
    );
    connection.execute(AssertSqlSafe(register)).await.unwrap();
    server.create_database("observer").await;
    let mut observer = server.connect_to("observer", server.superuser()).await;
    let daemon = daemon(&server, 4).await;
    // past the first poll, and until what the loading sessions did has been counted
    tokio::time::sleep(Duration::from_secs(40)).await;
    drop(connection);

    let before = (transactions(&mut observer).await, cpu_time(daemon.pid()));
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let after = (transactions(&mut observer).await, cpu_time(daemon.pid()));
    #[allow(clippy::cast_precision_loss)]
    let seconds = SECONDS as f64;
    report(
        &format!("idle, {views} registered views: transactions, daemon's CPU"),
        &format!(
            "{:.3}/s, {:.2} ms/s",
            (after.0 - before.0) / seconds,
            after.1.checked_sub(before.1).unwrap().as_secs_f64() * 1e3 / seconds
        ),
        "≤ 0.1/s, ≤ 1 ms/s",
    );
    report(
        &format!("resident memory, {views} registered views"),
        &format!("{:.0} MB", resident_mb(daemon.pid())),
        memory_reach,
    );
}

/// Transactions in the daemon's database so far; what a session did is reported when it has been idle for a while.
async fn transactions(observer: &mut PgConnection) -> f64 {
    sqlx::query_scalar(
        "SELECT (xact_commit + xact_rollback)::float8 FROM pg_stat_database WHERE datname = 'postgres'",
    )
    .fetch_one(observer)
    .await
    .unwrap()
}
