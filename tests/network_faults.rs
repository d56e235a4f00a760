//! Whatever the network between daemon and server does, every refresh that is due happens once, the rows are exact, and
//! the daemon goes on by itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    Break, Daemon, GATED_QUERY, Gate, Link, Proxy, TestServer, change_until_fast, count, execute,
    install, never_overlapping, options, refreshed, until,
};
use mvrefreshd::scratch::Options;
use sqlx::PgConnection;
use std::time::Duration;

const SHOP: &str = "
    CREATE TABLE base (n integer NOT NULL);
    INSERT INTO base SELECT generate_series(1, 100);
    SELECT mvrefresh.create_materialized_view('total', 'SELECT sum(n) FROM base', 1, refresh_method => 'complete');
    SELECT mvrefresh.create_materialized_view('copy', 'SELECT n FROM base', 1, refresh_method => 'fast')";

/// The daemon and its server, with a network between them; the test has a socket of its own.
struct Place {
    server: TestServer,
    proxy: Proxy,
    daemon: Daemon,
    sql: PgConnection,
}

impl Place {
    async fn new() -> Self {
        let server = TestServer::start_with(Options {
            tcp: true,
            ..options()
        })
        .await;
        install(&server).await;
        server.execute(SHOP).await;
        let proxy = Proxy::to(server.port()).await;
        let url = proxy.through(&server.tcp_url("postgres").unwrap(), server.port());
        let daemon = Daemon::spawn(
            &["run", "--database-url", &url, "--log-level", "debug"],
            &[
                ("MVREFRESHD_DATABASE__BROKEN_AFTER", "3s"),
                ("MVREFRESHD_DATABASE__CONNECT_TIMEOUT", "3s"),
                ("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0"),
                // what is to be learned soon is learned by notification
                ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "10m"),
                ("MVREFRESHD_LOGS__CHECK_EVERY", "1s"),
                ("MVREFRESHD_LOGS__LOCK_TIMEOUT", "1m"),
            ],
        );
        let mut sql = server.connect().await;
        change_until_fast(&mut sql, "copy", "INSERT INTO base VALUES (0)").await;
        Self {
            server,
            proxy,
            daemon,
            sql,
        }
    }

    /// A refresh that has been asked for and stands before the gate.
    async fn refresh_under_way(&mut self) -> Gate {
        let mut gate = Gate::close(&self.server).await;
        let create = format!(
            "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', with_data => false, refresh_method => 'complete');
             SELECT mvrefresh.request_refresh('gated')"
        );
        execute(&mut self.sql, &create).await;
        gate.until_waiting(1).await;
        gate
    }

    /// Changes what the views read, and waits until they show it.
    async fn until_going_on(&mut self) {
        execute(
            &mut self.sql,
            "INSERT INTO base SELECT max(n) + 1 FROM base",
        )
        .await;
        until(
            &mut self.sql,
            "SELECT (SELECT max(n) FROM copy) = max(n) AND (SELECT sum FROM total) = sum(n) FROM base",
        )
        .await;
    }

    /// Waits until a view made now is refreshed, which the daemon can know of by a notification only.
    async fn until_listening(&mut self, name: &str) {
        let create = format!(
            "SELECT mvrefresh.create_materialized_view('{name}', 'SELECT count(*) FROM base', 1, refresh_method => 'complete')"
        );
        execute(&mut self.sql, &create).await;
        until(&mut self.sql, &refreshed(name, 2)).await;
    }

    /// The refresh that was asked for has happened exactly once, every view is exact, and none was refreshed twice at its time.
    async fn assert_once_and_exact(&mut self) {
        let sql = &mut self.sql;
        until(sql, &refreshed("gated", 1)).await;
        self.until_listening("heard").await;
        self.until_going_on().await;
        let sql = &mut self.sql;
        let once = "SELECT count(*) FROM mvrefresh.refresh_history
            WHERE mv_name = 'public.gated' AND outcome = 'succeeded' AND trigger = 'request'";
        assert_eq!(count(sql, once).await, 1);
        let too_soon = "SELECT count(*) FROM (
                SELECT started_at - lag(started_at) OVER (PARTITION BY mv_id ORDER BY started_at) AS gap
                FROM mvrefresh.refresh_history WHERE outcome = 'succeeded' AND trigger = 'schedule') AS refresh
            WHERE gap < interval '0.5 s'";
        assert_eq!(count(sql, too_soon).await, 0);
        never_overlapping(sql).await;
        for name in ["total", "copy", "gated", "heard"] {
            let exact = format!(
                "SELECT rows_missing + rows_unexpected = 0 FROM mvrefresh.verify_materialized_view('{name}')"
            );
            // nobody writes any more
            until(sql, &exact).await;
        }
    }

    async fn failures(&mut self, name: &str) -> i64 {
        let failed = format!(
            "SELECT count(*) FROM mvrefresh.refresh_history WHERE mv_name = 'public.{name}' AND outcome = 'failed'"
        );
        count(&mut self.sql, &failed).await
    }
}

#[tokio::test]
async fn through_a_black_hole_a_refresh_goes_on_and_its_answer_is_taken_when_it_heals() {
    let mut place = Place::new().await;
    let gate = place.refresh_under_way().await;
    place.proxy.set(Link::Stalled);
    execute(&mut place.sql, "INSERT INTO base VALUES (1000)").await;
    place
        .daemon
        .wait_for_line("the database is not ready")
        .await;
    gate.open().await;
    // the server has done it, and nobody was told
    until(&mut place.sql, &refreshed("gated", 1)).await;
    place.proxy.set(Link::Up);
    place
        .daemon
        .wait_for_nth_line(2, "the database is ready")
        .await;
    place.assert_once_and_exact().await;
    assert_eq!(place.failures("gated").await, 0);
}

#[tokio::test]
async fn a_black_hole_while_nothing_is_refreshed_is_waited_out() {
    let mut place = Place::new().await;
    place.proxy.set(Link::Stalled);
    place
        .daemon
        .wait_for_line("the database is not ready")
        .await;
    place.proxy.set(Link::Up);
    let gate = place.refresh_under_way().await;
    gate.open().await;
    place.assert_once_and_exact().await;
}

#[tokio::test]
async fn whichever_way_connections_break_between_refreshes_they_are_all_replaced() {
    let mut place = Place::new().await;
    for (name, how) in [
        ("after_reset", Break::Reset),
        ("after_telling_the_client", Break::TellClient),
        ("after_telling_the_server", Break::TellServer),
        ("after_swallowing", Break::Swallow),
    ] {
        place.proxy.break_all(how);
        // only a new listener hears of this view, and only new workers refresh it
        place.until_listening(name).await;
        place.until_going_on().await;
    }
    let gate = place.refresh_under_way().await;
    gate.open().await;
    place.assert_once_and_exact().await;
}

#[tokio::test]
async fn connections_swallowed_for_ever_are_replaced_and_a_committed_refresh_is_no_failure() {
    let mut place = Place::new().await;
    let gate = place.refresh_under_way().await;
    place.proxy.swallow();
    gate.open().await;
    until(&mut place.sql, &refreshed("gated", 1)).await;
    place.daemon.wait_for_line("only its answer lost").await;
    place.assert_once_and_exact().await;
    assert_eq!(place.failures("gated").await, 0);
}

#[tokio::test]
async fn a_refresh_that_is_reset_is_done_again() {
    let mut place = Place::new().await;
    let mut gate = place.refresh_under_way().await;
    let first = waiting_backend(&mut place.sql).await;
    place.proxy.break_all(Break::Reset);
    // the server ends it, lock and all, though it was waiting and not sending
    until(&mut place.sql, &is_gone(first)).await;
    gate.until_waiting(1).await;
    gate.open().await;
    place.assert_once_and_exact().await;
    // every connection was, so it was not this refresh's fault
    assert_eq!(place.failures("gated").await, 0);
}

#[tokio::test]
async fn a_refresh_whose_client_is_told_and_its_server_not_is_not_done_twice() {
    let mut place = Place::new().await;
    let gate = place.refresh_under_way().await;
    place.proxy.break_all(Break::TellClient);
    // the server's half is still at it, and has the lock
    place.until_listening("meanwhile").await;
    gate.open().await;
    place.assert_once_and_exact().await;
}

#[tokio::test]
async fn a_refresh_whose_server_is_told_and_its_client_not_is_done_again() {
    let mut place = Place::new().await;
    let mut gate = place.refresh_under_way().await;
    let first = waiting_backend(&mut place.sql).await;
    place.proxy.break_all(Break::TellServer);
    until(&mut place.sql, &is_gone(first)).await;
    gate.until_waiting(1).await;
    gate.open().await;
    place.assert_once_and_exact().await;
    assert_eq!(place.failures("gated").await, 1);
}

#[tokio::test]
async fn a_server_that_refuses_connections_for_a_while_is_waited_for() {
    let mut place = Place::new().await;
    let gate = place.refresh_under_way().await;
    place.proxy.set(Link::Refusing);
    place
        .daemon
        .wait_for_line("the database is not ready")
        .await;
    gate.open().await;
    place.proxy.set(Link::Up);
    place.assert_once_and_exact().await;
}

#[tokio::test]
async fn a_slow_network_makes_nothing_but_delay() {
    let mut place = Place::new().await;
    place.proxy.set(Link::Slow(Duration::from_millis(100)));
    let gate = place.refresh_under_way().await;
    gate.open().await;
    place.assert_once_and_exact().await;
    let lines = place.daemon.lines();
    assert!(!lines.iter().any(|line| line.contains("not ready")));
    assert_eq!(place.failures("gated").await, 0);
}

#[tokio::test]
async fn upkeep_goes_on_after_its_connection_was_swallowed_in_the_middle_of_a_round() {
    let mut place = Place::new().await;
    execute(&mut place.sql, "CREATE TABLE busy (n integer NOT NULL)").await;
    let mut writer = place.server.connect().await;
    execute(&mut writer, "BEGIN; INSERT INTO busy VALUES (1)").await;
    execute(
        &mut place.sql,
        "SELECT mvrefresh.create_materialized_view('of_busy', 'SELECT n FROM busy', 1)",
    )
    .await;
    let waiting = "SELECT count(*) = 1 FROM pg_stat_activity
        WHERE application_name = 'mvrefreshd upkeep' AND wait_event_type = 'Lock'";
    until(&mut place.sql, waiting).await;
    place.proxy.swallow();
    execute(&mut writer, "COMMIT").await;
    change_until_fast(&mut place.sql, "of_busy", "INSERT INTO busy VALUES (2)").await;
}

async fn waiting_backend(sql: &mut PgConnection) -> i64 {
    count(
        sql,
        "SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted",
    )
    .await
}

fn is_gone(pid: i64) -> String {
    format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})")
}
