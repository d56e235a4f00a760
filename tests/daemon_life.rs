//! The daemon's life: it waits for its database, stops as it is told, reloads its configuration, and leaves nothing
//! running behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{
    Daemon, GATED_QUERY, Gate, Signal, TestServer, count, execute, holds, install, options,
    refreshed, run, spawn, until,
};
use mvrefreshd::scratch::Options;
use tempfile::TempDir;

const NO_LOCK_TIMEOUT: (&str, &str) = ("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0");
const NO_WORKER: &str =
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'mvrefreshd%'";

/// The module, and a view whose refresh stands before the gate.
async fn gated() -> (TestServer, Gate) {
    let server = TestServer::start().await;
    install(&server).await;
    let gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('v', '{GATED_QUERY}', 3600, with_data => false, refresh_method => 'complete')"
    );
    server.execute(&create).await;
    (server, gate)
}

/// A daemon with a configuration file.
fn with_file(server: &TestServer, file: &Path) -> Daemon {
    let (url, file) = (server.url(), file.to_str().unwrap());
    Daemon::spawn(&["run", "--database-url", &url, "--config", file], &[])
}

fn logged(directory: &TempDir, name: &str) -> String {
    fs::read_to_string(directory.path().join(name)).unwrap_or_default()
}

async fn until_logged(directory: &TempDir, name: &str, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !logged(directory, name).contains(text) {
        let so_far = logged(directory, name);
        assert!(
            Instant::now() < deadline,
            "{name} lacks {text:?}:\n{so_far}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn sigterm_lets_running_refreshes_end_and_exits_with_0() {
    let (server, mut gate) = gated().await;
    let mut daemon = spawn(&server, &[NO_LOCK_TIMEOUT]);
    gate.until_waiting(1).await;
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_line("waiting for running refreshes").await;
    gate.open().await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
    let mut sql = server.connect().await;
    assert!(holds(&mut sql, &refreshed("v", 1)).await);
    until(&mut sql, NO_WORKER).await;
}

#[tokio::test]
async fn when_the_drain_timeout_is_over_refreshes_are_cancelled_on_the_server() {
    let (server, mut gate) = gated().await;
    let drain = ("MVREFRESHD_SCHEDULER__DRAIN_TIMEOUT", "300ms");
    let mut daemon = spawn(&server, &[NO_LOCK_TIMEOUT, drain]);
    gate.until_waiting(1).await;
    daemon.signal(Signal::Interrupt).await;
    daemon.wait_for_line("cancelling running refreshes").await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
    gate.until_waiting(0).await;
    assert!(
        server
            .log()
            .contains("canceling statement due to user request")
    );
    // our own doing is no failure of the view
    let mut sql = server.connect().await;
    let failures = "SELECT sum(failures)::bigint FROM mvrefresh.materialized_view_state";
    assert_eq!(count(&mut sql, failures).await, 0);
}

#[tokio::test]
async fn a_second_signal_cancels_at_once() {
    let (server, mut gate) = gated().await;
    let drain = ("MVREFRESHD_SCHEDULER__DRAIN_TIMEOUT", "1h");
    let mut daemon = spawn(&server, &[NO_LOCK_TIMEOUT, drain]);
    gate.until_waiting(1).await;
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_line("waiting for running refreshes").await;
    daemon.signal(Signal::Terminate).await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
    gate.until_waiting(0).await;
}

#[tokio::test]
async fn an_idle_daemon_stops_at_once_and_so_does_one_that_waits_for_its_database() {
    let mut server = TestServer::start().await;
    let mut daemon = spawn(&server, &[]);
    daemon.wait_for_line("the dictionary has been read").await;
    daemon.signal(Signal::Terminate).await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));

    server.halt().unwrap();
    let mut daemon = spawn(&server, &[]);
    daemon.wait_for_line("the database is not ready").await;
    daemon.signal(Signal::Hangup).await;
    daemon
        .wait_for_line("the new configuration is in force")
        .await;
    daemon.signal(Signal::Terminate).await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
}

#[tokio::test]
async fn killed_with_9_it_leaves_nothing_running_in_the_server() {
    let server = TestServer::start().await;
    install(&server).await;
    let mut sql = server.connect().await;
    // busy rather than waiting
    execute(
        &mut sql,
        "SELECT mvrefresh.create_materialized_view('busy',
             'SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a # b = 7', 1,
             with_data => false, refresh_method => 'complete')",
    )
    .await;
    let mut daemon = spawn(&server, &[]);
    let running = "SELECT count(*) = 1 FROM pg_stat_activity
        WHERE application_name = 'mvrefreshd worker' AND state = 'active' AND query LIKE '%perform_refresh%'";
    until(&mut sql, running).await;
    daemon.signal(Signal::Kill).await;
    let killed = Instant::now();
    until(&mut sql, NO_WORKER).await;
    let took = killed.elapsed();
    println!("gone after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    daemon.wait_for_exit().await;
    assert!(holds(&mut sql, "SELECT count(*) = 0 FROM busy").await);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = TestServer::start().await;
    server.halt().unwrap();
    let mut daemon = spawn(&server, &[]);
    daemon.wait_for_line("the database is not ready").await;
    server.start_again().unwrap();
    daemon
        .wait_for_line("the module schema has been installed")
        .await;
    daemon.wait_for_line("the dictionary has been read").await;
}

#[tokio::test]
async fn told_not_to_install_it_waits_until_somebody_else_has() {
    let server = TestServer::start().await;
    let url = server.url();
    let mut daemon = Daemon::spawn(&["run", "--no-install", "--database-url", &url], &[]);
    let line = daemon.wait_for_line("the database is not ready").await;
    assert!(line.contains("run mvrefreshd install"), "{line}");
    let mut sql = server.connect().await;
    assert!(holds(&mut sql, "SELECT to_regnamespace('mvrefresh') IS NULL").await);
    install(&server).await;
    daemon.wait_for_line("the dictionary has been read").await;
}

#[tokio::test]
async fn what_waiting_can_not_cure_ends_it_with_an_exit_code() {
    let server = TestServer::start_with(Options {
        tcp: true,
        ..options()
    })
    .await;
    install(&server).await;
    let url = server.tcp_url("postgres").unwrap();
    let (_, place) = url.split_once('@').unwrap();
    let wrong = format!("postgres://postgres:wrong@{place}");
    for no_install in [&["--no-install"][..], &[]] {
        let with = |url| [&["run", "--database-url", url], no_install].concat();
        let finished = run(&with(&wrong), &[]).await;
        assert_eq!(finished.code, Some(77), "{}", finished.stderr);
        assert!(finished.stderr.contains("password"), "{}", finished.stderr);

        let bad = run(&with(&url), &[("MVREFRESHD_WORKERS__MAX", "none")]).await;
        assert_eq!(bad.code, Some(78), "{}", bad.stderr);
        assert!(
            bad.stderr.contains("MVREFRESHD_WORKERS__MAX"),
            "{}",
            bad.stderr
        );
    }
    server
        .execute(
            "INSERT INTO mvrefresh._sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (999999, 'of the future', true, '', 0)",
        )
        .await;
    for arguments in [&["run", "--no-install"][..], &["run"]] {
        let finished = run(&[arguments, &["--database-url", &url]].concat(), &[]).await;
        assert_eq!(finished.code, Some(78), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("newer mvrefreshd"),
            "{}",
            finished.stderr
        );
    }
}

#[tokio::test]
async fn sighup_puts_a_valid_configuration_in_force_and_keeps_the_old_one_otherwise() {
    let (server, gate) = gated().await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("daemon.toml");
    fs::write(&file, "[scheduler]\nlock_timeout = \"0s\"\n").unwrap();
    let mut daemon = with_file(&server, &file);
    daemon.wait_for_line("the dictionary has been read").await;

    fs::write(&file, "[scheduler]\nretry_base = \"soon\"\n").unwrap();
    daemon.signal(Signal::Hangup).await;
    daemon.wait_for_line("retry_base").await;
    daemon.wait_for_line("the old one stays in force").await;
    assert!(
        !daemon
            .lines()
            .iter()
            .any(|line| line.contains("refresh ended"))
    );

    fs::write(
        &file,
        "[log]\nlevel = \"debug\"\n[workers]\nmax = 7\n[database]\nschema = \"x\"\n",
    )
    .unwrap();
    daemon.signal(Signal::Hangup).await;
    let line = daemon
        .wait_for_line("the new configuration is in force")
        .await;
    assert!(
        line.contains("log.level") && line.contains("workers.max"),
        "{line}"
    );
    let line = daemon.wait_for_line("only after a restart").await;
    assert!(line.contains("database.schema"), "{line}");
    gate.open().await;
    daemon.wait_for_line("refresh ended").await;
}

#[tokio::test]
async fn a_log_in_json_is_an_object_per_line() {
    let server = TestServer::start().await;
    let url = server.url();
    let arguments = ["run", "--database-url", &url, "--log-level", "debug"];
    let mut daemon = Daemon::spawn(&arguments, &[("MVREFRESHD_LOG__FORMAT", "json")]);
    daemon.wait_for_line("the dictionary has been read").await;
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_exit().await;
    let messages: Vec<String> = daemon
        .lines()
        .iter()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["message"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(messages.first().unwrap(), "starting");
    assert_eq!(messages.last().unwrap(), "stopped");
}

#[tokio::test]
async fn a_log_file_moved_away_is_begun_anew_on_sighup_and_nothing_is_lost() {
    let server = TestServer::start().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut daemon = spawn(
        &server,
        &[
            ("MVREFRESHD_LOG__TARGET", "file"),
            ("MVREFRESHD_LOG__DIRECTORY", path),
            ("MVREFRESHD_LOG__ROTATION", "never"),
        ],
    );
    until_logged(&directory, "mvrefreshd.log", "the dictionary has been read").await;
    let moved = directory.path().join("old.log");
    fs::rename(directory.path().join("mvrefreshd.log"), &moved).unwrap();
    daemon.signal(Signal::Hangup).await;
    until_logged(
        &directory,
        "mvrefreshd.log",
        "the new configuration is in force",
    )
    .await;
    daemon.signal(Signal::Terminate).await;
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
    assert!(
        logged(&directory, "mvrefreshd.log")
            .trim_end()
            .ends_with("stopped")
    );
    assert!(logged(&directory, "old.log").contains("starting"));
    assert!(daemon.lines().is_empty(), "{:?}", daemon.lines());
}

#[tokio::test]
async fn a_session_that_has_refreshed_many_views_gives_way_to_a_new_one() {
    let server = TestServer::start().await;
    install(&server).await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        "DO $$ BEGIN
             FOR i IN 1..210 LOOP
                 PERFORM mvrefresh.create_materialized_view('v' || i, 'SELECT pg_backend_pid() AS pid', 3600,
                     with_data => false, refresh_method => 'complete');
             END LOOP;
         END $$",
    )
    .await;
    let daemon = spawn(&server, &[("MVREFRESHD_WORKERS__MAX", "1")]);
    let all = "SELECT count(*) = 210 FROM mvrefresh.refresh_history WHERE outcome = 'succeeded'";
    until(&mut sql, all).await;
    let pids: Vec<String> = (1..=210).map(|n| format!("SELECT pid FROM v{n}")).collect();
    let sessions = format!(
        "SELECT count(DISTINCT pid) FROM ({}) AS pids",
        pids.join(" UNION ALL ")
    );
    assert_eq!(count(&mut sql, &sessions).await, 2);
    // and the first one, with all its plans, is gone
    let workers =
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'mvrefreshd worker'";
    until(&mut sql, workers).await;
    drop(daemon);
}
