//! Servers restart, connections break, databases become read-only and standbys are promoted: the daemon says so, goes
//! on trying, and recovers by itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    Daemon, GATED_QUERY, Gate, Proxy, TestServer, count, execute, holds, install, installation,
    options, refreshed, spawn, until,
};
use mvrefreshd::scratch::{Cluster, Options};
use sqlx::{Connection, PgConnection};

const NO_LOCK_TIMEOUT: (&str, &str) = ("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0");
const REFRESHES: &str = "SELECT count(*) FROM mvrefresh.refresh_history WHERE mv_name = 'public.v' AND outcome = 'succeeded'";

/// The module, and a view refreshed each second.
async fn shop_with(options: Options) -> TestServer {
    let server = TestServer::start_with(options).await;
    install(&server).await;
    server
        .execute(
            "CREATE TABLE base (n integer NOT NULL);
             INSERT INTO base SELECT generate_series(1, 100);
             SELECT mvrefresh.create_materialized_view('v', 'SELECT sum(n) FROM base', 1, refresh_method => 'complete')",
        )
        .await;
    server
}

async fn shop() -> TestServer {
    shop_with(options()).await
}

/// Waits until the view has been refreshed twice more: one refresh may have been under way.
async fn until_going_on(sql: &mut PgConnection) {
    let before = count(sql, REFRESHES).await;
    until(sql, &format!("({REFRESHES}) >= {}", before + 2)).await;
}

#[tokio::test]
async fn after_restarts_and_crashes_of_the_server_it_goes_on() {
    let mut server = shop().await;
    let mut daemon = spawn(&server, &[]);
    let mut sql = server.connect().await;
    until_going_on(&mut sql).await;
    for round in 1..=3 {
        sql.close().await.ok();
        if round == 2 {
            server.kill_immediately().unwrap();
        } else {
            server.halt().unwrap();
        }
        daemon
            .wait_for_nth_line(round, "the database is not ready")
            .await;
        server.start_again().unwrap();
        daemon
            .wait_for_nth_line(round + 1, "the database is ready")
            .await;
        sql = server.connect().await;
        until_going_on(&mut sql).await;
    }
}

#[tokio::test]
async fn sessions_ended_by_an_administrator_are_replaced() {
    let server = shop().await;
    let _daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "10m")]);
    let mut sql = server.connect().await;
    until_going_on(&mut sql).await;
    for role in ["scheduler", "worker", "listener", ""] {
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'mvrefreshd%{role}'"
        );
        assert!(count(&mut sql, &end).await > 0, "no {role} session");
        until_going_on(&mut sql).await;
    }
    // idle sessions were ended, so nothing of this was a failure of the view, unless it was just being refreshed
    let interrupted = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed' AND error_code IS DISTINCT FROM '57P01'";
    assert_eq!(count(&mut sql, interrupted).await, 0);
    // the new listener hears
    execute(
        &mut sql,
        "SELECT mvrefresh.create_materialized_view('w', 'SELECT count(*) FROM base', 1, refresh_method => 'complete')",
    )
    .await;
    until(&mut sql, &refreshed("w", 2)).await;
}

#[tokio::test]
async fn an_idle_workers_broken_session_is_no_failure() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut daemon = spawn(&server, &[]);
    for round in 1..=5 {
        daemon
            .wait_for_nth_line(round, "status=\"refreshed\"")
            .await;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'mvrefreshd worker' AND state = 'idle'";
        assert_eq!(count(&mut sql, end).await, 1);
    }
    until_going_on(&mut sql).await;
    let failures = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failures).await, 0);
}

#[tokio::test]
async fn a_refresh_whose_session_is_ended_has_failed_and_is_tried_again() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', 1, with_data => false, refresh_method => 'complete')"
    );
    execute(&mut sql, &create).await;
    let mut daemon = spawn(&server, &[NO_LOCK_TIMEOUT]);
    gate.until_waiting(1).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    assert_eq!(count(&mut sql, end).await, 1);
    daemon.wait_for_line("refresh failed, trying again").await;
    gate.until_waiting(1).await;
    gate.open().await;
    until(&mut sql, &refreshed("gated", 2)).await;
    let noted = "SELECT count(*) FROM mvrefresh.refresh_history
        WHERE mv_name = 'public.gated' AND outcome = 'failed' AND error_code = '57P01'";
    assert_eq!(count(&mut sql, noted).await, 1);
}

#[tokio::test]
async fn a_refresh_that_brings_the_server_down_is_not_repeated_at_once() {
    let server = shop().await;
    let mut sql = server.connect().await;
    // a backend that is killed makes the server end all sessions and recover
    execute(
        &mut sql,
        "CREATE FUNCTION crash() RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             EXECUTE format('COPY (SELECT) TO PROGRAM ''kill -9 %s''', pg_backend_pid());
             PERFORM pg_sleep(60);
             RETURN true;
         END $$;
         SELECT mvrefresh.create_materialized_view('fatal', 'SELECT crash()', 1, with_data => false, refresh_method => 'complete')",
    )
    .await;
    let mut daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__RETRY_BASE", "30s")]);
    daemon
        .wait_for_nth_line(2, "the database is not ready")
        .await;
    daemon.wait_for_nth_line(3, "the database is ready").await;
    // it has crashed twice and has to wait for 15 s at least; others go on
    let mut sql = server.connect().await;
    until_going_on(&mut sql).await;
    until_going_on(&mut sql).await;
    let crashes = daemon
        .lines()
        .iter()
        .filter(|line| line.contains("is not ready"))
        .count();
    assert_eq!(crashes, 2);
}

#[tokio::test]
async fn a_read_only_phase_is_waited_out() {
    let server = shop().await;
    let mut daemon = spawn(&server, &[]);
    let mut sql = server.connect().await;
    until_going_on(&mut sql).await;
    execute(
        &mut sql,
        "ALTER SYSTEM SET default_transaction_read_only = on",
    )
    .await;
    execute(&mut sql, "SELECT pg_reload_conf()").await;
    let line = daemon.wait_for_line("the database is not ready").await;
    assert!(line.contains("read-only"), "{line}");
    execute(&mut sql, "ALTER SYSTEM RESET default_transaction_read_only").await;
    execute(&mut sql, "SELECT pg_reload_conf()").await;
    daemon.wait_for_nth_line(2, "the database is ready").await;
    until_going_on(&mut sql).await;
    let failures = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failures).await, 0);
}

#[tokio::test]
async fn on_a_standby_it_waits_for_the_promotion() {
    let Some(installation) = installation(15) else {
        eprintln!("not tested: there is no PostgreSQL 15 here");
        return;
    };
    let mut primary = shop_with(Options {
        installation: Some(installation),
        ..options()
    })
    .await;
    let standby = Cluster::standby_of(&primary).unwrap();
    let url = standby.url("postgres");
    let mut daemon = Daemon::spawn(&["run", "--database-url", &url], &[]);
    let line = daemon.wait_for_line("the database is not ready").await;
    assert!(line.contains("standby"), "{line}");
    primary.kill_immediately().unwrap();
    standby.promote().unwrap();
    daemon.wait_for_line("the database is ready").await;
    let mut sql = PgConnection::connect(&url).await.unwrap();
    until_going_on(&mut sql).await;
}

#[tokio::test]
async fn a_refresh_whose_connection_is_lost_in_silence_is_not_waited_for_for_ever() {
    let server = shop_with(Options {
        tcp: true,
        ..options()
    })
    .await;
    let mut gate = Gate::close(&server).await;
    let mut sql = server.connect().await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', 1, with_data => false, refresh_method => 'complete')"
    );
    execute(&mut sql, &create).await;
    let proxy = Proxy::to(server.port()).await;
    let url = proxy.through(&server.tcp_url("postgres").unwrap(), server.port());
    let arguments = ["run", "--database-url", &url];
    let mut daemon = Daemon::spawn(
        &arguments,
        &[
            NO_LOCK_TIMEOUT,
            ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "1s"),
        ],
    );
    gate.until_waiting(1).await;
    proxy.swallow();
    gate.open().await;
    // the server has done it, and nobody was told
    until(&mut sql, &refreshed("gated", 1)).await;
    until(&mut sql, &refreshed("gated", 2)).await;
    daemon.wait_for_line("no answer for").await;
    until_going_on(&mut sql).await;
    assert!(holds(&mut sql, "SELECT passed FROM gated").await);
}
