//! Behind a transaction pooler, where each transaction may have another server session: exact, lively, and nothing is
//! left in sessions that belong to everybody.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    Daemon, GATED_QUERY, Gate, Pooler, Signal, TestServer, change_until_fast, count, execute, get,
    holds, never_overlapping, options, refreshed, run, until, url_of,
};
use mvrefreshd::scratch::Options;
use sqlx::{PgConnection, Row};

/// Sessions of the server that the pooler hands out.
const SESSIONS: u32 = 12;

/// A server with settings that are not the driver's, so that a statement that relies on the driver's is found out, and
/// the pooler before it.
async fn pooled() -> Option<(TestServer, Pooler)> {
    let settings = [("timezone", "Asia/Kolkata"), ("datestyle", "German, DMY")];
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let server = TestServer::start_with(Options {
        tcp: true,
        settings: settings.map(own).to_vec(),
        ..options()
    })
    .await;
    let pooler = Pooler::start(&server, SESSIONS).await?;
    Some((server, pooler))
}

fn spawn(pooler: &Pooler, environment: &[(&str, &str)]) -> Daemon {
    let url = pooler.url();
    let arguments = ["run", "--database-url", &url, "--log-level", "debug"];
    let all: Vec<_> = [("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0")]
        .iter()
        .chain(environment)
        .copied()
        .collect();
    Daemon::spawn(&arguments, &all)
}

/// Carries out a command through the pooler.
async fn command(pooler: &Pooler, arguments: &[&str]) -> String {
    let url = pooler.url();
    let finished = run(&[arguments, &["--database-url", &url]].concat(), &[]).await;
    assert_eq!(
        finished.code,
        Some(0),
        "{arguments:?}: {}{}",
        finished.stdout,
        finished.stderr
    );
    finished.stdout
}

const TABLES: &str = "CREATE TABLE orders (id integer PRIMARY KEY, region integer NOT NULL, amount integer NOT NULL);
     INSERT INTO orders SELECT i, i % 7, i FROM generate_series(1, 1000) i";

const BY_REGION: &str =
    "SELECT region, count(*) AS n, sum(amount) AS total FROM orders GROUP BY region";

async fn assert_exact(sql: &mut PgConnection, view: &str, query: &str) {
    let same = format!(
        "SELECT NOT EXISTS (SELECT * FROM {view} EXCEPT ALL ({query})) AND NOT EXISTS (({query}) EXCEPT ALL SELECT * FROM {view})"
    );
    until(sql, &same).await;
}

/// What every session of the pooler must be as it was: looked at through the pooler, session after session.
async fn assert_nothing_is_left(server: &TestServer, pooler: &Pooler) {
    let mut sql = server.connect().await;
    until(
        &mut sql,
        "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'",
    )
    .await;
    let mut through = pooler.connect().await;
    let look = "SELECT pg_backend_pid(), coalesce((SELECT string_agg(statement, '; ') FROM pg_prepared_statements), ''),
        concat_ws(' | ', current_setting('search_path'), current_setting('default_transaction_read_only'), current_setting('statement_timeout'),
                  current_setting('lock_timeout'), current_setting('client_min_messages'), current_setting('role'))";
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 * SESSIONS {
        let row = sqlx::raw_sql(look).fetch_one(&mut through).await.unwrap();
        seen.insert(row.get::<i32, _>(0));
        assert_eq!(row.get::<String, _>(1), "", "prepared statements");
        assert_eq!(
            row.get::<String, _>(2),
            "\"$user\", public | off | 0 | 0 | notice | none"
        );
    }
    assert!(seen.len() > 1, "the pooler has handed out one session only");
}

#[tokio::test]
async fn from_the_installation_on_everything_works_and_nothing_is_left_in_the_sessions() {
    let Some((server, pooler)) = pooled().await else {
        return;
    };
    server.execute(TABLES).await;
    // the module is installed through the pooler; nothing but polling can tell of new views
    let http = ("MVREFRESHD_HTTP__LISTEN", "127.0.0.1:0");
    let mut daemon = spawn(
        &pooler,
        &[http, ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "1h")],
    );
    let address = url_of(&mut daemon).await;
    daemon
        .wait_for_line("the module schema has been installed")
        .await;
    daemon.wait_for_line("notifications do not arrive").await;

    let mut sql = server.connect().await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('by_region', '{BY_REGION}', 1, refresh_method => 'fast')"
    );
    execute(&mut sql, &create).await;
    change_until_fast(
        &mut sql,
        "by_region",
        "UPDATE orders SET amount = amount + 1 WHERE id % 50 = 0",
    )
    .await;
    for round in 0..20 {
        let change = format!(
            "INSERT INTO orders VALUES ({}, 3, 5); DELETE FROM orders WHERE id = {round}",
            5000 + round
        );
        execute(&mut sql, &change).await;
    }
    assert_exact(&mut sql, "by_region", BY_REGION).await;

    // a last refresh read an hour off would have it refreshed again and again
    execute(&mut sql, "SELECT mvrefresh.create_materialized_view('hourly', 'SELECT count(*) FROM orders', 3600, refresh_method => 'complete')").await;
    let create = "SELECT mvrefresh.create_materialized_view('clock', 'SELECT clock_timestamp() AS t', 1, refresh_method => 'complete')";
    execute(&mut sql, create).await;
    until(&mut sql, &refreshed("clock", 5)).await;
    let hourly = "SELECT count(*) FROM mvrefresh.refresh_history WHERE mv_name = 'public.hourly'";
    assert!(count(&mut sql, hourly).await <= 1);

    assert_eq!(get(&address, "/readyz").await.status, 200);
    let shown = get(&address, "/api/views").await.json();
    assert_eq!(shown["views"].as_array().unwrap().len(), 3, "{shown}");
    assert!(shown["problem"].is_null(), "{shown}");
    let staleness = shown["views"][2]["staleness_s"].as_f64().unwrap();
    assert!((0.0..1800.0).contains(&staleness), "{shown}");
    assert_eq!(get(&address, "/api/views/1").await.status, 200);
    assert_eq!(get(&address, "/api/views/1/explanation").await.status, 200);

    daemon.signal(Signal::Terminate).await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
    let failures = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failures).await, 0);
    assert_nothing_is_left(&server, &pooler).await;
}

#[tokio::test]
async fn commands_work_through_it_too() {
    let Some((server, pooler)) = pooled().await else {
        return;
    };
    server.execute(TABLES).await;
    command(&pooler, &["install"]).await;
    let made = command(
        &pooler,
        &[
            "create",
            "by_region",
            "--query",
            BY_REGION,
            "--every",
            "1h",
            "--method",
            "fast",
        ],
    )
    .await;
    assert!(made.contains("fast"), "{made}");
    let query = "SELECT id, region, amount FROM orders WHERE amount > 10";
    let parallel = [
        "create",
        "large",
        "--query",
        query,
        "--every",
        "1h",
        "--parallel",
        "4",
        "--split-by",
        "id",
    ];
    command(&pooler, &parallel).await;
    server
        .execute("UPDATE orders SET amount = amount + 7 WHERE id < 100")
        .await;
    for view in ["by_region", "large"] {
        let refreshed = command(&pooler, &["refresh", view]).await;
        assert!(refreshed.contains("fast"), "{refreshed}");
    }
    command(&pooler, &["verify", "--all"]).await;
    let mut sql = server.connect().await;
    assert_exact(&mut sql, "by_region", BY_REGION).await;
    assert_exact(&mut sql, "large", query).await;
    for arguments in [
        &["status"][..],
        &["history"],
        &["explain", "large"],
        &["explain", "--query", BY_REGION],
        &["alter", "large", "--every", "5m"],
        &["self-check"],
        &["drop", "large"],
    ] {
        command(&pooler, arguments).await;
    }
    assert_nothing_is_left(&server, &pooler).await;
    command(&pooler, &["uninstall", "--yes", "--drop-views"]).await;
    assert!(
        holds(
            &mut sql,
            "SELECT to_regnamespace('mvrefresh') IS NULL AND to_regclass('by_region') IS NULL"
        )
        .await
    );
}

#[tokio::test]
async fn a_stop_cancels_what_runs_and_nobody_elses_statement() {
    let Some((server, pooler)) = pooled().await else {
        return;
    };
    command(&pooler, &["install"]).await;
    let mut gate = Gate::close(&server).await;
    let create = |name| {
        format!(
            "SELECT mvrefresh.create_materialized_view('{name}', '{GATED_QUERY}', 3600, with_data => false, refresh_method => 'complete')"
        )
    };
    server.execute(&create("mine")).await;
    let mut daemon = spawn(&pooler, &[("MVREFRESHD_SCHEDULER__DRAIN_TIMEOUT", "300ms")]);
    gate.until_waiting(1).await;
    // another daemon's, through the same sessions
    let other = spawn(&pooler, &[]);
    server.execute(&create("others")).await;
    gate.until_waiting(2).await;
    let lines = daemon.lines();
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_line("cancelling running refreshes").await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0), "{lines:?}");
    assert!(
        !daemon
            .lines()
            .iter()
            .any(|line| line.contains("could not be cancelled"))
    );
    let cancelled = || {
        server
            .log()
            .matches("canceling statement due to user request")
            .count()
    };
    let expected = cancelled();
    assert!((1..=2).contains(&expected), "{}", server.log());
    // whatever was not the first one's has gone on waiting, or is taken up by the other
    gate.until_waiting(2).await;
    assert_eq!(cancelled(), expected);
    gate.open().await;
    let mut sql = server.connect().await;
    for view in ["mine", "others"] {
        until(&mut sql, &refreshed(view, 1)).await;
    }
    drop(other);
}

#[tokio::test]
async fn daemons_behind_it_share_the_work_and_survive_each_other() {
    let Some((server, pooler)) = pooled().await else {
        return;
    };
    server.execute(TABLES).await;
    command(&pooler, &["install"]).await;
    let create = "SELECT mvrefresh.create_materialized_view(format('v%s', i), 'SELECT region, sum(amount) AS total FROM orders GROUP BY region', 1,
             refresh_group => CASE WHEN i < 3 THEN 'g' END, refresh_method => 'complete')
         FROM generate_series(1, 6) AS i";
    server.execute(create).await;
    let mut daemons = [spawn(&pooler, &[]), spawn(&pooler, &[])];
    for daemon in &mut daemons {
        daemon.wait_for_nth_line(3, "status=\"refreshed\"").await;
    }
    let [mut dies, _lives] = daemons;
    dies.signal(Signal::Kill).await;
    dies.wait_for_exit().await;
    let mut sql = server.connect().await;
    let before = count(
        &mut sql,
        "SELECT max(refresh_id) FROM mvrefresh.refresh_history",
    )
    .await;
    for i in 1..=6 {
        let after = format!(
            "SELECT count(*) >= 3 FROM mvrefresh.refresh_history WHERE mv_name = 'public.v{i}' AND refresh_id > {before} AND outcome = 'succeeded'"
        );
        until(&mut sql, &after).await;
    }
    never_overlapping(&mut sql).await;
    let failures = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failures).await, 0);
}
