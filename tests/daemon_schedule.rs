//! The daemon refreshes when it should: by rate, crontab and request, in order, and as soon as settings change.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    TestServer, count, execute, holds, install, never_overlapping, refreshed, spawn, until,
};

const NO_POLLING: (&str, &str) = ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "10m");

/// A base table, and the module.
async fn shop() -> TestServer {
    let server = TestServer::start().await;
    install(&server).await;
    server
        .execute(
            "CREATE TABLE base (id integer PRIMARY KEY, n integer NOT NULL);
             INSERT INTO base SELECT i, i FROM generate_series(1, 100) AS i",
        )
        .await;
    server
}

fn create(name: &str, query: &str, more: &str) -> String {
    format!(
        "SELECT mvrefresh.create_materialized_view('{name}', '{query}'{more}, refresh_method => 'complete');"
    )
}

#[tokio::test]
async fn a_rate_is_kept_never_early_and_each_time_from_the_last_refresh() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        &create(
            "v",
            "SELECT sum(n) AS total FROM base",
            ", refresh_rate_in_sec => 1",
        ),
    )
    .await;
    let _daemon = spawn(&server, &[NO_POLLING]);
    execute(&mut sql, "INSERT INTO base VALUES (1000, 1000)").await;
    until(&mut sql, &refreshed("v", 4)).await;
    assert!(holds(&mut sql, "SELECT total = 6050 FROM v").await);
    // a hundredth of a second for the estimate of the database's clock
    let wrong = "WITH runs AS (
            SELECT due_at, started_at, lag(started_at + prepare_ms * interval '1 ms') OVER (ORDER BY refresh_id) AS before
            FROM mvrefresh.refresh_history)
        SELECT count(*) FROM runs
        WHERE before IS NOT NULL AND (started_at < due_at - interval '10 ms'
            OR due_at < before + interval '999 ms' OR due_at > before + interval '1001 ms')";
    assert_eq!(count(&mut sql, wrong).await, 0);
}

#[tokio::test]
async fn a_changed_rate_acts_at_once() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        &create(
            "v",
            "SELECT count(*) FROM base",
            ", refresh_rate_in_sec => 3600",
        ),
    )
    .await;
    let mut daemon = spawn(&server, &[NO_POLLING]);
    daemon.wait_for_line("the dictionary has been read").await;
    until(
        &mut sql,
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name LIKE '%listener' AND query LIKE 'LISTEN%'",
    )
    .await;
    execute(
        &mut sql,
        "UPDATE mvrefresh.materialized_views SET refresh_rate_in_sec = 1 WHERE mv_name = 'v'",
    )
    .await;
    until(&mut sql, &refreshed("v", 2)).await;
}

#[tokio::test]
async fn a_changed_rate_is_found_by_polling_where_no_notification_arrives() {
    let server = shop().await;
    let mut sql = server.connect().await;
    execute(
        &mut sql,
        "DROP TRIGGER announce_settings ON mvrefresh.materialized_view_settings",
    )
    .await;
    let mut daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "200ms")]);
    daemon.wait_for_line("the dictionary has been read").await;
    execute(
        &mut sql,
        &create(
            "v",
            "SELECT count(*) FROM base",
            ", refresh_rate_in_sec => 3600",
        ),
    )
    .await;
    execute(
        &mut sql,
        "UPDATE mvrefresh.materialized_view_settings SET refresh_rate_in_sec = 1",
    )
    .await;
    until(&mut sql, &refreshed("v", 2)).await;
}

#[tokio::test]
async fn a_crontab_missed_for_a_day_is_caught_up_once() {
    let server = shop().await;
    let mut sql = server.connect().await;
    // far enough from the next time that it can't come during the test
    execute(
        &mut sql,
        &create(
            "daily",
            "SELECT count(*) FROM base",
            ", refresh_cron => to_char(now() - interval ''2 hours'', ''MI HH24'') || '' * * *'', refresh_time_zone => ''UTC''",
        )
        .replace("''", "'"),
    )
    .await;
    execute(
        &mut sql,
        &create(
            "often",
            "SELECT count(*) FROM base",
            ", refresh_rate_in_sec => 1",
        ),
    )
    .await;
    execute(
        &mut sql,
        "UPDATE mvrefresh.materialized_view_state SET last_refresh = last_refresh - interval '5 days'",
    )
    .await;
    let _daemon = spawn(&server, &[]);
    until(&mut sql, &refreshed("daily", 1)).await;
    until(&mut sql, &refreshed("often", 4)).await;
    assert!(!holds(&mut sql, &refreshed("daily", 2)).await);
}

#[tokio::test]
async fn a_crontab_refreshes_at_its_minute() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let _daemon = spawn(&server, &[NO_POLLING]);
    until(
        &mut sql,
        "SELECT to_regclass('mvrefresh.refresh_history') IS NOT NULL",
    )
    .await;
    execute(
        &mut sql,
        &create(
            "v",
            "SELECT count(*) FROM base",
            ", refresh_cron => '* * * * *'",
        ),
    )
    .await;
    until(&mut sql, &refreshed("v", 1)).await;
    let late = "SELECT count(*) FROM mvrefresh.refresh_history WHERE trigger = 'schedule'
        AND (due_at <> date_trunc('minute', due_at) OR started_at < due_at - interval '10 ms')";
    assert_eq!(count(&mut sql, late).await, 0);
}

#[tokio::test]
async fn a_requested_refresh_is_done_also_where_there_is_no_schedule() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut daemon = spawn(&server, &[NO_POLLING]);
    daemon.wait_for_line("the dictionary has been read").await;
    execute(
        &mut sql,
        &create("v", "SELECT count(*) AS rows FROM base", ""),
    )
    .await;
    execute(&mut sql, "DELETE FROM base WHERE id > 10").await;
    execute(&mut sql, "SELECT mvrefresh.request_refresh('v', 'rebuild')").await;
    until(&mut sql, "SELECT rows = 10 FROM v").await;
    let as_requested = "SELECT trigger = 'request' AND form = 'rebuild' AND due_at IS NOT NULL
        FROM mvrefresh.refresh_history ORDER BY refresh_id DESC LIMIT 1";
    assert!(holds(&mut sql, as_requested).await);
}

#[tokio::test]
async fn a_view_over_views_is_refreshed_after_what_it_reads() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let chain: String = [
        ("a", "SELECT id, n FROM base"),
        ("b", "SELECT id, n + 1 AS n FROM a"),
        ("c", "SELECT id, n + 1 AS n FROM b"),
        (
            "d",
            "SELECT sum(c.n) - sum(a.n) AS difference, count(*) FROM c JOIN a USING (id)",
        ),
    ]
    .iter()
    .map(|(name, query)| create(name, query, ""))
    .collect();
    execute(&mut sql, &chain).await;
    let mut daemon = spawn(&server, &[NO_POLLING]);
    daemon.wait_for_line("the dictionary has been read").await;
    for round in 1..=5 {
        execute(
            &mut sql,
            &format!(
                "INSERT INTO base SELECT 1000 * {round} + i, i FROM generate_series(1, 10) AS i"
            ),
        )
        .await;
        // the last first, and all in one transaction
        execute(
            &mut sql,
            "BEGIN;
             SELECT mvrefresh.request_refresh(name) FROM unnest('{d,c,b,a}'::text[]) AS name;
             COMMIT",
        )
        .await;
        until(&mut sql, &refreshed("d", round)).await;
        let seen = format!("SELECT count = 100 + 10 * {round} AND difference = 2 * count FROM d");
        assert!(holds(&mut sql, &seen).await, "round {round}");
    }
    never_overlapping(&mut sql).await;
}

#[tokio::test]
async fn the_views_of_a_group_always_show_the_same_snapshot() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let member = ", refresh_rate_in_sec => 1, refresh_group => 'sums'";
    execute(
        &mut sql,
        &[
            create("g1", "SELECT sum(n) AS total FROM base", member),
            create(
                "g2",
                "SELECT sum(n) AS total, pg_sleep(0.05)::text FROM base",
                member,
            ),
            create("g3", "SELECT g1.total FROM g1", member),
        ]
        .join(" "),
    )
    .await;
    // created one after the other: equal from the first refresh of the group on
    let _daemon = spawn(&server, &[]);
    until(&mut sql, &refreshed("g3", 1)).await;
    let mut writer = server.connect().await;
    let mut totals = std::collections::BTreeSet::new();
    while !holds(&mut sql, &refreshed("g1", 5)).await {
        execute(&mut writer, "UPDATE base SET n = n + 1 WHERE id = 1").await;
        let equal = "SELECT CASE WHEN g1.total = g2.total AND g1.total = g3.total THEN g1.total ELSE -1 END FROM g1, g2, g3";
        totals.insert(count(&mut sql, equal).await);
    }
    assert!(!totals.contains(&-1), "the members differed");
    assert!(
        totals.len() > 2,
        "no refresh brought anything new: {totals:?}"
    );
}

#[tokio::test]
async fn views_come_and_go_while_the_daemon_runs() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut daemon = spawn(&server, &[NO_POLLING]);
    daemon.wait_for_line("the dictionary has been read").await;
    for round in 1..=3 {
        let name = format!("v{round}");
        execute(
            &mut sql,
            &create(
                &name,
                "SELECT count(*) FROM base",
                ", refresh_rate_in_sec => 1",
            ),
        )
        .await;
        until(&mut sql, &refreshed(&name, 1)).await;
        execute(
            &mut sql,
            &format!("SELECT mvrefresh.drop_materialized_view('{name}')"),
        )
        .await;
    }
    execute(
        &mut sql,
        &create(
            "last",
            "SELECT count(*) FROM base",
            ", refresh_rate_in_sec => 1",
        ),
    )
    .await;
    until(&mut sql, &refreshed("last", 2)).await;
    assert_eq!(
        count(
            &mut sql,
            "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'"
        )
        .await,
        0
    );
}
