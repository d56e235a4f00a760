//! Several databases kept by one daemon: each with its own limits, told apart everywhere, and none disturbed by another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use common::{
    Daemon, GATED_QUERY, Gate, NotifySocket, Signal, TestServer, count, execute, get, options,
    refreshed, run, until, url_of,
};
use mvrefreshd::scratch::Options;
use sqlx::PgConnection;
use tempfile::TempDir;

/// A configuration file of one `[[database]]` table after the other.
struct File {
    directory: TempDir,
    text: String,
}

impl File {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            text: "[http]\nlisten = '127.0.0.1:0'\ncache = '100ms'\n".to_owned(),
        }
    }

    fn with(mut self, name: &str, url: &str, more: &str) -> Self {
        writeln!(
            self.text,
            "[[database]]\nname = '{name}'\nurl = '{url}'\n{more}"
        )
        .unwrap();
        self
    }

    fn path(&self) -> PathBuf {
        let path = self.directory.path().join("m.toml");
        fs::write(&path, &self.text).unwrap();
        path
    }

    fn spawn(&self, environment: &[(&str, &str)]) -> Daemon {
        let path = self.path();
        // the tests' daemons have no HTTP by default
        let own = [("MVREFRESHD_HTTP__LISTEN", "127.0.0.1:0")];
        let environment: Vec<_> = own.iter().chain(environment).copied().collect();
        let arguments = [
            "run",
            "--log-level",
            "debug",
            "--config",
            path.to_str().unwrap(),
        ];
        Daemon::spawn(&arguments, &environment)
    }
}

/// A URL of another database of the server.
fn url_of_database(server: &TestServer, database: &str) -> String {
    server.url().replace("/postgres?", &format!("/{database}?"))
}

async fn database(server: &TestServer, name: &str) -> PgConnection {
    server.create_database(name).await;
    let url = url_of_database(server, name);
    let finished = run(&["install", "--database-url", &url], &[]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    server.connect_to(name, "postgres").await
}

/// A base table, and a view of this name that is refreshed each second.
async fn with_view(sql: &mut PgConnection, view: &str) {
    execute(
        sql,
        &format!(
            "CREATE TABLE base (n integer); INSERT INTO base VALUES (1);
             SELECT mvrefresh.create_materialized_view('{view}', 'SELECT sum(n) FROM base', 1, refresh_method => 'complete')"
        ),
    )
    .await;
}

/// Waits until the view has been refreshed twice from now on.
async fn until_going_on(sql: &mut PgConnection, view: &str) {
    let refreshes = format!(
        "SELECT count(*) FROM mvrefresh.refresh_history WHERE mv_name = 'public.{view}' AND outcome = 'succeeded'"
    );
    let before = count(sql, &refreshes).await;
    until(sql, &format!("({refreshes}) >= {}", before + 2)).await;
}

async fn assert_told_apart_in_metrics(address: &str) {
    let metrics = get(address, "/metrics").await.body;
    for part in [
        "mvrefreshd_database_up{database=\"shop\"} 1\n",
        "mvrefreshd_database_up{database=\"crm\"} 1\n",
        "mvrefreshd_database_up{database=\"gone\"} 0\n",
        "mvrefreshd_database_up{database=\"refused\"} 0\n",
        "mvrefreshd_workers{database=\"shop\"} 7\n",
        "mvrefreshd_workers{database=\"crm\"} 4\n",
        "mvrefreshd_view_staleness_seconds{database=\"shop\",view=\"public.totals\"} ",
        "mvrefreshd_view_staleness_seconds{database=\"crm\",view=\"public.contacts\"} ",
    ] {
        assert!(metrics.contains(part), "no {part:?} in:\n{metrics}");
    }
    let types: Vec<&str> = metrics
        .lines()
        .filter(|l| l.starts_with("# TYPE"))
        .collect();
    let mut unique = types.clone();
    unique.dedup();
    assert_eq!(types, unique, "a metric stands in one place only");
}

async fn assert_told_apart_in_health_and_data(address: &str) {
    let ready = get(address, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready
            .body
            .starts_with("shop: ready\ngone: not ready: cannot connect"),
        "{}",
        ready.body
    );
    assert_eq!(
        get(address, "/readyz?database=crm").await.body,
        "crm: ready\n"
    );
    assert_eq!(get(address, "/readyz?database=gone").await.status, 503);
    assert_eq!(get(address, "/healthz").await.status, 200);

    let first = get(address, "/api/views").await.json();
    assert_eq!(first["database"], "shop");
    assert_eq!(first["views"][0]["name"], "public.totals");
    let up: Vec<_> = first["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (&d["database"], &d["is_up"]))
        .collect();
    assert_eq!(
        serde_json::json!(up),
        serde_json::json!([
            ["shop", true],
            ["gone", false],
            ["crm", true],
            ["refused", false]
        ])
    );
    let crm_views = get(address, "/api/views?database=crm").await.json();
    assert_eq!(crm_views["views"][0]["name"], "public.contacts");
    let detail = get(address, "/api/views/1?database=crm").await.json();
    assert_eq!(detail["history"][0]["mv_name"], "public.contacts");
    assert_eq!(
        get(address, "/api/views?database=nobodys").await.status,
        404
    );
}

#[tokio::test]
async fn all_are_kept_and_told_apart_and_those_that_can_not_be_had_disturb_none() {
    let server = TestServer::start_with(Options {
        tcp: true,
        ..options()
    })
    .await;
    let mut shop = database(&server, "shop_db").await;
    let mut crm = database(&server, "crm_db").await;
    with_view(&mut shop, "totals").await;
    with_view(&mut crm, "contacts").await;
    let wrong = format!(
        "postgres://postgres:wrong@127.0.0.1:{}/shop_db",
        server.port()
    );
    let file = File::new()
        .with(
            "shop",
            &url_of_database(&server, "shop_db"),
            "[database.workers]\nmax = 7",
        )
        .with("gone", "host=/nowhere dbname=x", "")
        .with("crm", &url_of_database(&server, "crm_db"), "")
        .with("refused", &wrong, "schema = 'other'");
    let mut manager = NotifySocket::open();
    let mut daemon = file.spawn(&[("NOTIFY_SOCKET", manager.path())]);
    let address = url_of(&mut daemon).await;
    until(&mut shop, &refreshed("totals", 2)).await;
    until(&mut crm, &refreshed("contacts", 2)).await;

    // each line of the log says which one it is about
    let line = daemon
        .wait_for_line("can not be kept until that is put right")
        .await;
    assert!(line.contains(r#"database{name="refused"}"#), "{line}");
    let line = daemon.wait_for_line("there is no socket").await;
    assert!(line.contains(r#"database{name="gone"}"#), "{line}");
    for name in ["shop", "crm"] {
        daemon
            .wait_for_line(&format!("database{{name=\"{name}\"}}: refresh ended"))
            .await;
    }
    manager.wait_for("READY=1").await;
    let line = manager.wait_for("STATUS=shop: 1 view,").await;
    assert!(
        line.contains("; gone: waiting for the database: cannot connect"),
        "{line}"
    );
    assert!(
        line.contains("; refused: waiting for the database: cannot connect"),
        "{line}"
    );

    assert_told_apart_in_metrics(&address).await;
    assert_told_apart_in_health_and_data(&address).await;
    daemon.signal(Signal::Terminate).await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
}

#[tokio::test]
async fn one_that_goes_away_or_stands_still_does_not_disturb_the_other() {
    let mut first = TestServer::start().await;
    let second = TestServer::start().await;
    let mut one = database(&first, "one").await;
    let mut two = database(&second, "two").await;
    with_view(&mut one, "v").await;
    with_view(&mut two, "v").await;
    let file = File::new()
        .with("one", &url_of_database(&first, "one"), "")
        .with("two", &url_of_database(&second, "two"), "");
    let mut daemon = file.spawn(&[]);
    until(&mut one, &refreshed("v", 1)).await;
    first.halt().unwrap();
    let line = daemon.wait_for_line("the database is not ready").await;
    assert!(line.contains(r#"database{name="one"}"#), "{line}");
    until_going_on(&mut two, "v").await;
    first.start_again().unwrap();
    let mut one = first.connect_to("one", "postgres").await;
    until_going_on(&mut one, "v").await;
    // refreshes that stand still hold only the workers of their own database
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated' || i, '{GATED_QUERY}', 1, with_data => false, refresh_method => 'complete') FROM generate_series(1, 6) i"
    );
    execute(&mut one, "CREATE FUNCTION public.gate() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN true; END'").await;
    let mut holder = first.connect_to("one", "postgres").await;
    execute(&mut holder, "SELECT pg_advisory_lock(4711)").await;
    execute(&mut one, &create).await;
    until(&mut one, "SELECT count(*) >= 3 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted").await;
    until_going_on(&mut two, "v").await;
}

#[tokio::test]
async fn limits_of_one_are_changed_while_it_runs_and_the_others_stay() {
    let server = TestServer::start().await;
    let mut gate = Gate::close(&server).await;
    let mut one = database(&server, "one").await;
    execute(&mut one, "CREATE FUNCTION public.gate() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN true; END'").await;
    // locks are of one database
    let mut holder = server.connect_to("one", "postgres").await;
    execute(&mut holder, "SELECT pg_advisory_lock(4711)").await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated' || i, '{GATED_QUERY}', 1, with_data => false, refresh_method => 'complete') FROM generate_series(1, 6) i"
    );
    execute(&mut one, &create).await;
    let limits = "[database.workers]\nmax = 1\n[database.scheduler]\nlock_timeout = 0";
    let mut file = File::new()
        .with("one", &url_of_database(&server, "one"), limits)
        .with("main", &server.url(), "");
    let mut daemon = file.spawn(&[]);
    gate.until_waiting(1).await;
    file.text = file.text.replace("max = 1\n", "max = 3\nlong_max = 3\n");
    file.path();
    daemon.signal(Signal::Hangup).await;
    let line = daemon
        .wait_for_line("the new configuration is in force")
        .await;
    assert!(
        line.contains(r#"changed="workers.long_max, workers.max""#),
        "{line}"
    );
    gate.until_waiting(3).await;
    file.text = file.text.replace("name = 'main'", "name = 'renamed'");
    file.path();
    daemon.signal(Signal::Hangup).await;
    let line = daemon.wait_for_line("only after a restart").await;
    assert!(line.contains("[[database]]"), "{line}");
}

#[tokio::test]
async fn a_command_is_told_which_one_is_meant() {
    let server = TestServer::start().await;
    let mut shop = database(&server, "shop_db").await;
    let mut crm = database(&server, "crm_db").await;
    with_view(&mut shop, "totals").await;
    with_view(&mut crm, "contacts").await;
    let file = File::new()
        .with("shop", &url_of_database(&server, "shop_db"), "")
        .with("crm", &url_of_database(&server, "crm_db"), "");
    let path = file.path();
    let path = path.to_str().unwrap();
    let status =
        async |more: &[&str]| run(&[&["status", "--config", path], more].concat(), &[]).await;
    let both = status(&[]).await;
    assert_eq!(both.code, Some(78));
    assert!(
        both.stderr.contains(r#"--database NAME, of "shop", "crm""#),
        "{}",
        both.stderr
    );
    let one = status(&["--database", "crm"]).await;
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    assert!(
        one.stdout.contains("contacts") && !one.stdout.contains("totals"),
        "{}",
        one.stdout
    );
    let none = status(&["--database", "nobodys"]).await;
    assert_eq!(none.code, Some(78));
    assert!(
        none.stderr.contains("no database is called"),
        "{}",
        none.stderr
    );

    let shown = run(&["check-config", "--config", path], &[]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(shown.stdout.matches("[[database]]").count(), 2);
    assert!(
        shown.stdout.contains("[database.workers]"),
        "{}",
        shown.stdout
    );
    let shown = run(&["check-config", "--json", "--config", path], &[]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["databases"][1]["database"]["name"], "crm");
    assert!(shown["configuration"].is_null());

    // run keeps the chosen one only
    let arguments = ["run", "--config", path, "--database", "crm"];
    let mut daemon = Daemon::spawn(&arguments, &[]);
    until_going_on(&mut crm, "contacts").await;
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_exit().await;
    assert_eq!(
        count(
            &mut shop,
            "SELECT count(*) FROM mvrefresh.refresh_history WHERE trigger = 'schedule'"
        )
        .await,
        0
    );
}
