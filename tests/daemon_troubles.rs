//! One view's trouble is no other's, nobody waits for a running refresh, and daemons share the work.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    GATED_QUERY, Gate, TestServer, count, execute, holds, install, never_overlapping, refreshed,
    spawn, until,
};
use sqlx::Connection;

/// A base table, a view that is fine and refreshed each second, and the module.
async fn shop() -> TestServer {
    let server = TestServer::start().await;
    install(&server).await;
    server
        .execute(
            "CREATE TABLE base (id integer PRIMARY KEY, n integer NOT NULL);
             INSERT INTO base SELECT i, i FROM generate_series(1, 100) AS i;
             SELECT mvrefresh.create_materialized_view('fine', 'SELECT sum(n) FROM base', 1, refresh_method => 'complete')",
        )
        .await;
    server
}

#[tokio::test]
async fn daemons_share_the_work_and_never_refresh_a_view_twice_at_a_time() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        "SELECT mvrefresh.create_materialized_view(format('v%s', i),
             'SELECT count(*), pg_sleep(0.2)::text FROM base', 1, with_data => false, refresh_method => 'complete')
         FROM generate_series(1, 6) AS i",
    )
    .await;
    let two = [("MVREFRESHD_WORKERS__MAX", "2")];
    let mut daemons = [spawn(&server, &two), spawn(&server, &two)];
    for i in 1..=6 {
        until(&mut sql, &refreshed(&format!("v{i}"), 4)).await;
    }
    never_overlapping(&mut sql).await;
    for daemon in &mut daemons {
        daemon.wait_for_nth_line(3, "status=\"refreshed\"").await;
    }
    let failures = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failures).await, 0);
}

#[tokio::test]
async fn daemons_that_race_for_a_group_note_no_failure() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        "SELECT mvrefresh.create_materialized_view(format('v%s', i), 'SELECT count(*) FROM base', 1,
             refresh_group => 'together', refresh_method => 'complete')
         FROM generate_series(1, 3) AS i",
    )
    .await;
    let _daemons = [
        spawn(&server, &[]),
        spawn(&server, &[]),
        spawn(&server, &[]),
    ];
    until(&mut sql, &refreshed("v3", 6)).await;
    never_overlapping(&mut sql).await;
    let failures = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failures).await, 0);
}

#[tokio::test]
async fn a_group_that_loses_a_race_is_refreshed_again_at_once_and_has_not_failed() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('{{name}}', '{GATED_QUERY}', 3600, refresh_group => 'g', with_data => false, refresh_method => 'complete');"
    );
    let both = create.replace("{name}", "g1") + &create.replace("{name}", "g2");
    execute(&mut sql, &both).await;
    let _daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0")]);
    gate.until_waiting(1).await;
    // what another session's refresh would do: a change that the group's snapshot does not see
    execute(
        &mut sql,
        "UPDATE mvrefresh.materialized_view_state SET last_method = 'complete'",
    )
    .await;
    gate.open().await;
    until(&mut sql, &refreshed("g2", 1)).await;
    let failures = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failures).await, 0);
    assert!(server.log().contains("could not serialize access"));
}

#[tokio::test]
async fn a_failing_view_backs_off_keeps_its_rows_delays_nobody_and_recovers() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        "SELECT mvrefresh.create_materialized_view('inverse', 'SELECT id, 100 / n AS inverse FROM base', 1, refresh_method => 'complete');
         UPDATE base SET n = 0 WHERE id = 1",
    )
    .await;
    let mut daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__RETRY_BASE", "400ms")]);
    daemon.wait_for_line("refresh failed, trying again").await;
    until(
        &mut sql,
        "SELECT failures >= 4 FROM mvrefresh.materialized_views WHERE mv_name = 'inverse'",
    )
    .await;
    until(&mut sql, &refreshed("fine", 3)).await;
    // at least half of base, then of twice base, and so on
    let too_soon = "WITH failures AS (
            SELECT started_at - lag(started_at) OVER (ORDER BY refresh_id) AS pause,
                   row_number() OVER (ORDER BY refresh_id) - 2 AS doublings
            FROM mvrefresh.refresh_history WHERE mv_name = 'public.inverse' AND outcome = 'failed')
        SELECT count(*) FROM failures WHERE pause < interval '190 ms' * power(2, doublings)";
    assert_eq!(count(&mut sql, too_soon).await, 0);
    let kept = "SELECT status = 'failing' AND last_error LIKE '%division by zero%' AND last_error_code = '22012'
            AND (SELECT count(*) = 100 FROM inverse)
        FROM mvrefresh.materialized_views WHERE mv_name = 'inverse'";
    assert!(holds(&mut sql, kept).await);

    execute(&mut sql, "UPDATE base SET n = 5 WHERE id = 1").await;
    daemon.wait_for_line("refreshed again after failures").await;
    until(&mut sql, "SELECT status = 'ok' AND failures = 0 FROM mvrefresh.materialized_views WHERE mv_name = 'inverse'").await;
    assert!(holds(&mut sql, "SELECT inverse = 20 FROM inverse WHERE id = 1").await);
}

#[tokio::test]
async fn a_permanent_error_suspends_until_the_settings_are_changed_or_the_view_is_resumed() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        "CREATE TABLE hidden (n integer);
         CREATE FUNCTION peek() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM public.hidden); END';
         SELECT mvrefresh.create_materialized_view('peeking', 'SELECT peek() AS n', 1, refresh_method => 'complete');
         DROP TABLE hidden",
    )
    .await;
    let mut daemon = spawn(&server, &[]);
    let suspended =
        "SELECT status = 'suspended' FROM mvrefresh.materialized_views WHERE mv_name = 'peeking'";
    let line = daemon.wait_for_line("suspended until").await;
    assert!(
        line.contains("public.hidden") && line.contains("42P01"),
        "{line}"
    );
    until(&mut sql, suspended).await;
    let attempts = "SELECT count(*) FROM mvrefresh.refresh_history WHERE mv_name = 'public.peeking' AND outcome = 'failed'";
    let tried = count(&mut sql, attempts).await;
    let goes_on = format!(
        "SELECT count(*) >= {} FROM mvrefresh.refresh_history WHERE mv_name = 'public.fine'",
        6
    );
    until(&mut sql, &goes_on).await;
    assert_eq!(count(&mut sql, attempts).await, tried);

    execute(
        &mut sql,
        "UPDATE mvrefresh.materialized_views SET refresh_rate_in_sec = 2 WHERE mv_name = 'peeking'",
    )
    .await;
    daemon.wait_for_nth_line(2, "suspended until").await;
    until(&mut sql, suspended).await;
    execute(
        &mut sql,
        "CREATE TABLE hidden (n integer); SELECT mvrefresh.resume_materialized_view('peeking')",
    )
    .await;
    until(&mut sql, &refreshed("peeking", 1)).await;
}

#[tokio::test]
async fn a_view_whose_settings_were_changed_during_the_failing_refresh_is_not_suspended() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    execute(
        &mut sql,
        "CREATE FUNCTION stumble() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN
             PERFORM public.gate();
             IF to_regclass(''public.repaired'') IS NULL THEN RAISE undefined_table; END IF;
             RETURN true; END';
         SELECT mvrefresh.create_materialized_view('stumbling', 'SELECT stumble()', 1, with_data => false, refresh_method => 'complete')",
    )
    .await;
    let _daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0")]);
    gate.until_waiting(1).await;
    execute(
        &mut sql,
        "UPDATE mvrefresh.materialized_views SET refresh_rate_in_sec = 2 WHERE mv_name = 'stumbling'",
    )
    .await;
    gate.open().await;
    until(
        &mut sql,
        "SELECT count(*) > 0 FROM mvrefresh.refresh_history WHERE outcome = 'failed'",
    )
    .await;
    execute(&mut sql, "CREATE TABLE repaired ()").await;
    // at the latest after the next settings change; here it must not need one
    until(
        &mut sql,
        "SELECT last_refresh IS NOT NULL OR failures > 1 FROM mvrefresh.materialized_views WHERE mv_name = 'stumbling'",
    )
    .await;
}

#[tokio::test]
async fn a_view_has_its_own_statement_and_lock_timeouts() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        "CREATE TABLE locked ();
         SELECT mvrefresh.create_materialized_view('slow', 'SELECT pg_sleep(600)::text', 1, with_data => false, refresh_method => 'complete');
         SELECT mvrefresh.create_materialized_view('waiting', 'SELECT count(*) FROM locked', 1, with_data => false, refresh_method => 'complete');
         UPDATE mvrefresh.materialized_views SET statement_timeout_in_sec = 1 WHERE mv_name = 'slow';
         UPDATE mvrefresh.materialized_views SET lock_timeout_in_sec = 1 WHERE mv_name = 'waiting'",
    )
    .await;
    let mut holder = server.connect().await;
    execute(&mut holder, "BEGIN; LOCK TABLE locked").await;
    let _daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0")]);
    let failed = |code, name| {
        format!(
            "SELECT count(*) > 0 FROM mvrefresh.refresh_history
             WHERE mv_name = 'public.{name}' AND outcome = 'failed' AND error_code = '{code}'"
        )
    };
    until(&mut sql, &failed("57014", "slow")).await;
    until(&mut sql, &failed("55P03", "waiting")).await;
    holder.close().await.unwrap();
    until(&mut sql, &refreshed("waiting", 1)).await;
}

#[tokio::test]
async fn long_refreshes_leave_a_worker_for_quick_ones() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    for i in 1..=3 {
        let long = format!(
            "SELECT mvrefresh.create_materialized_view('long{i}', '{GATED_QUERY}', 3600, with_data => false, refresh_method => 'complete')"
        );
        execute(&mut sql, &long).await;
    }
    let _daemon = spawn(
        &server,
        &[
            ("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0"),
            ("MVREFRESHD_WORKERS__MAX", "2"),
        ],
    );
    gate.until_waiting(1).await;
    until(&mut sql, &refreshed("fine", 3)).await;
    gate.until_waiting(1).await;
    gate.open().await;
    for i in 1..=3 {
        until(&mut sql, &refreshed(&format!("long{i}"), 1)).await;
    }
}

#[tokio::test]
async fn an_update_of_settings_never_waits_for_a_running_refresh() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', 3600, with_data => false, refresh_method => 'complete')"
    );
    execute(&mut sql, &create).await;
    let _daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0")]);
    gate.until_waiting(1).await;
    execute(
        &mut sql,
        "SET lock_timeout = '2s';
         UPDATE mvrefresh.materialized_views SET refresh_rate_in_sec = 1, enabled = true WHERE mv_name = 'gated';
         SELECT mvrefresh.update_materialized_view_refresh_rate('gated', 1);
         SELECT mvrefresh.request_refresh('gated')",
    )
    .await;
    gate.until_waiting(1).await;
    gate.open().await;
    until(&mut sql, &refreshed("gated", 3)).await;
}

/// Calls a function that drops the view `gated` while it is being refreshed.
async fn drop_during_refresh(call: &str) {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', 1, with_data => false, refresh_method => 'complete');
         SELECT mvrefresh.create_materialized_view('above', 'SELECT * FROM gated', 1, with_data => false, refresh_method => 'complete')"
    );
    execute(&mut sql, &create).await;
    let _daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0")]);
    gate.until_waiting(1).await;
    let mut other = server.connect().await;
    let statements =
        format!("SELECT mvrefresh.drop_materialized_view('above'); SELECT * FROM mvrefresh.{call}");
    let drop = tokio::spawn(async move { execute(&mut other, &statements).await });
    until(
        &mut sql,
        "SELECT count(*) = 1 FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT mvrefresh.drop%'",
    )
    .await;
    gate.open().await;
    drop.await.unwrap();
    assert!(holds(&mut sql, "SELECT to_regclass('public.gated') IS NULL").await);
    let create = "SELECT mvrefresh.create_materialized_view('next', 'SELECT count(*) FROM base', 1, refresh_method => 'complete')";
    execute(&mut sql, create).await;
    until(&mut sql, &refreshed("next", 2)).await;
}

#[tokio::test]
async fn a_view_dropped_during_its_refresh_goes_when_that_ends() {
    drop_during_refresh("drop_materialized_view('gated')").await;
}

#[tokio::test]
async fn views_dropped_for_an_upgrade_during_a_refresh_go_when_that_ends() {
    drop_during_refresh("drop_all_materialized_views()").await;
}

#[tokio::test]
async fn a_query_that_claims_that_the_database_is_away_or_read_only_harms_only_its_own_view() {
    let server = shop().await;
    let mut sql = server.connect().await;
    for code in ["25006", "57P01", "08006", "53300"] {
        let view = format!(
            "CREATE FUNCTION lie_{code}() RETURNS int LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''a lie'' USING ERRCODE = ''{code}''; END';
             SELECT mvrefresh.create_materialized_view('liar_{code}', 'SELECT lie_{code}()', 1, with_data => false, refresh_method => 'complete')"
        );
        execute(&mut sql, &view).await;
    }
    let daemon = spawn(&server, &[]);
    until(
        &mut sql,
        "SELECT count(*) = 4 FROM mvrefresh.materialized_views WHERE failures >= 3 AND status = 'failing'",
    )
    .await;
    until(&mut sql, &refreshed("fine", 3)).await;
    let away = daemon
        .lines()
        .iter()
        .filter(|line| line.contains("not ready"))
        .count();
    assert_eq!(away, 0);
}
