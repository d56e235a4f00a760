//! Scripts and cron lines written for oVirt's materialized views run unchanged, with their documented behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};

/// As oVirt has it: the functions are found by `search_path`.
async fn scripts(database: &Database) -> Session {
    let mut session = database.admin().await;
    session
        .run(
            "SET search_path TO public, mvrefresh;
             CREATE TABLE hosts AS SELECT g AS host_id, 'host' || g AS host_name FROM generate_series(1, 20) g;
             CREATE VIEW v_hosts AS SELECT * FROM hosts;",
        )
        .await;
    session
}

#[tokio::test]
async fn create_makes_a_table_that_everybody_may_read() {
    let database = Database::installed().await;
    database.server.create_role("visitor", "").await;
    let mut session = scripts(&database).await;
    session
        .run("SELECT CreateMaterializedView('mt_hosts', 'v_hosts', 10)")
        .await;
    assert_eq!(
        session.text("SELECT (mv_name, v_name, refresh_rate_in_sec, last_refresh IS NOT NULL, avg_cost_ms > 0) FROM materialized_views").await,
        "(mt_hosts,v_hosts,10,t,t)"
    );
    assert_eq!(
        database
            .session("visitor")
            .await
            .text("SELECT count(*) FROM mt_hosts")
            .await,
        "20"
    );
    let error = session
        .failure("SELECT CreateMaterializedView('mt_hosts', 'v_hosts', 10)")
        .await;
    assert_eq!(error.message, "Materialized view mt_hosts already exists.");
    session.run("SELECT DropMaterializedView('mt_hosts')").await;
    assert_eq!(session.text("SELECT to_regclass('mt_hosts')").await, "NULL");
    assert_eq!(session.text("SELECT count(*) FROM v_hosts").await, "20");
}

#[tokio::test]
async fn create_as_takes_the_views_name_and_drop_gives_it_back() {
    let database = Database::installed().await;
    database.server.create_role("visitor", "").await;
    let mut session = scripts(&database).await;
    session
        .run("SELECT CreateMaterializedViewAs('v_hosts', 10)")
        .await;
    assert_eq!(session.text("SELECT array_agg((relname, relkind) ORDER BY relname) FROM pg_class WHERE relname LIKE 'v\\_hosts%'").await, r#"{"(v_hosts,r)","(v_hosts_mt_base,v)"}"#);
    session
        .run("DELETE FROM hosts WHERE host_id = 1; SELECT RefreshMaterializedView('v_hosts')")
        .await;
    assert_eq!(
        database
            .session("visitor")
            .await
            .text("SELECT count(*) FROM v_hosts")
            .await,
        "19"
    );
    session.run("SELECT DropMaterializedView('v_hosts')").await;
    assert_eq!(
        session
            .text(
                "SELECT array_agg((relname, relkind)) FROM pg_class WHERE relname LIKE 'v\\_hosts%'"
            )
            .await,
        r#"{"(v_hosts,v)"}"#
    );
}

#[tokio::test]
async fn create_as_keeps_the_readers_of_the_view() {
    let database = Database::installed().await;
    database.server.create_role("visitor", "").await;
    let mut session = scripts(&database).await;
    session
        .run(
            "GRANT SELECT ON v_hosts TO visitor; SELECT create_materialized_view_as('v_hosts', 10)",
        )
        .await;
    assert_eq!(
        database
            .session("visitor")
            .await
            .text("SELECT count(*) FROM v_hosts")
            .await,
        "20"
    );
}

#[tokio::test]
async fn a_view_is_refreshed_as_long_as_its_rate_has_not_passed() {
    let database = Database::installed().await;
    let mut session = scripts(&database).await;
    session
        .run("SELECT CreateMaterializedView('mt_hosts', 'v_hosts', 3600)")
        .await;
    let refreshed = "SELECT IsMaterializedViewRefreshed('mt_hosts')";
    assert_eq!(session.text(refreshed).await, "true");
    let age = |seconds: i32| {
        format!(
            "UPDATE materialized_view_state SET last_refresh = clock_timestamp() - make_interval(secs => {seconds})"
        )
    };
    session.run(&age(3700)).await;
    assert_eq!(session.text(refreshed).await, "false");
    session
        .run("SELECT UpdateMaterializedViewRefreshRate('mt_hosts', 7200)")
        .await;
    assert_eq!(session.text(refreshed).await, "true");
    session
        .run("SELECT UpdateMaterializedViewRefreshRate('mt_hosts', NULL)")
        .await;
    assert_eq!(session.text(refreshed).await, "NULL");
    // the clock was set back
    session
        .run("SELECT UpdateMaterializedViewRefreshRate('mt_hosts', 7200)")
        .await;
    session.run(&age(-600)).await;
    assert_eq!(session.text(refreshed).await, "false");
    let error = session
        .failure("SELECT IsMaterializedViewRefreshed('nothing')")
        .await;
    assert_eq!(error.code, "42P01");
}

#[tokio::test]
async fn refresh_all_from_cron_refreshes_those_past_their_rate_or_all_if_forced() {
    let database = Database::installed().await;
    let mut session = scripts(&database).await;
    session
        .run(
            "SELECT CreateMaterializedView('mt_old', 'v_hosts', 10);
             SELECT CreateMaterializedView('mt_new', 'v_hosts', 3600);
             SELECT CreateMaterializedView('mt_manual', 'v_hosts', NULL);
             UPDATE materialized_view_state SET last_refresh = now() - interval '1 minute';
             DELETE FROM hosts WHERE host_id > 5;",
        )
        .await;
    let counts = "SELECT ((SELECT count(*) FROM mt_old), (SELECT count(*) FROM mt_new), (SELECT count(*) FROM mt_manual))";
    database
        .server
        .psql("SELECT mvrefresh.RefreshAllMaterializedViews(false)");
    assert_eq!(session.text(counts).await, "(5,20,20)");
    // one that fails stands in nobody's way
    session.run("CREATE TABLE zero AS SELECT 1 AS z; CREATE VIEW v_bad AS SELECT 1 / z AS q FROM zero; SELECT CreateMaterializedView('mt_bad', 'v_bad', 1); UPDATE zero SET z = 0").await;
    database
        .server
        .psql("SELECT mvrefresh.RefreshAllMaterializedViews(true)");
    assert_eq!(session.text(counts).await, "(5,5,5)");
    assert_eq!(
        session
            .text("SELECT last_error FROM materialized_views WHERE mv_name = 'mt_bad'")
            .await,
        "division by zero"
    );
}

#[tokio::test]
async fn index_hooks_are_called_around_a_rebuild() {
    let database = Database::installed().await;
    let mut session = scripts(&database).await;
    let created = "SELECT array_agg(indexname ORDER BY indexname) FROM pg_indexes WHERE tablename = 'mt_hosts'";
    let rebuild = "SELECT refresh_materialized_view('mt_hosts', 'rebuild')";
    session
        .run(
            "SELECT CreateMaterializedView('mt_hosts', 'v_hosts', 10);
             CREATE FUNCTION MtCreatemt_hostsIndexes() RETURNS void LANGUAGE plpgsql AS
                 $$ BEGIN CREATE INDEX idx_mt_hosts ON mt_hosts (host_name); END $$;
             SELECT CreateAllMaterializedViewsiIndexes();",
        )
        .await;
    assert_eq!(session.text(created).await, "{idx_mt_hosts}");
    // as long as there is no function that drops them, the module does both
    session.run(rebuild).await;
    assert_eq!(session.text(created).await, "{idx_mt_hosts}");
    session
        .run(
            "CREATE TABLE calls (what text);
             CREATE FUNCTION MtDropmt_hostsIndexes() RETURNS void LANGUAGE plpgsql AS
                 $$ BEGIN DROP INDEX IF EXISTS idx_mt_hosts; INSERT INTO calls SELECT 'dropped with ' || count(*) FROM mt_hosts; END $$;
             CREATE OR REPLACE FUNCTION MtCreatemt_hostsIndexes() RETURNS void LANGUAGE plpgsql AS
                 $$ BEGIN CREATE INDEX idx_mt_hosts ON mt_hosts (host_name DESC); INSERT INTO calls SELECT 'created with ' || count(*) FROM mt_hosts; END $$;
             DELETE FROM hosts WHERE host_id = 1;",
        )
        .await;
    session.run(rebuild).await;
    assert_eq!(
        session.text("SELECT array_agg(what) FROM calls").await,
        r#"{"dropped with 20","created with 19"}"#
    );
    assert!(
        session
            .text("SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_mt_hosts'")
            .await
            .contains("DESC")
    );
    // a hook of another, ordinary role is nobody's
    database.server.create_role("other", "").await;
    session
        .run("ALTER FUNCTION MtDropmt_hostsIndexes() OWNER TO other; TRUNCATE calls")
        .await;
    session.run(rebuild).await;
    assert_eq!(session.text("SELECT count(*) FROM calls").await, "0");
    assert_eq!(session.text(created).await, "{idx_mt_hosts}");
}

#[tokio::test]
async fn an_upgrade_by_scripts_keeps_the_rates_set_at_run_time() {
    let database = Database::installed().await;
    let mut session = scripts(&database).await;
    let script = "SELECT CreateMaterializedView('mt_hosts', 'v_hosts', 10)";
    session.run(script).await;
    session
        .run("SELECT UpdateMaterializedViewRefreshRate('mt_hosts', 42); SELECT DropAllMaterializedViews()")
        .await;
    assert_eq!(session.text("SELECT to_regclass('mt_hosts')").await, "NULL");
    assert_eq!(
        session
            .text("SELECT (status, refresh_rate_in_sec) FROM materialized_views")
            .await,
        "(dropped,42)"
    );
    assert_eq!(
        session
            .failure("SELECT RefreshMaterializedView('mt_hosts')")
            .await
            .code,
        "55000"
    );
    session
        .run("DROP VIEW v_hosts; ALTER TABLE hosts ADD COLUMN added int; CREATE VIEW v_hosts AS SELECT * FROM hosts;")
        .await;
    session.run(script).await;
    session
        .run("SELECT RefreshAllMaterializedViews(true)")
        .await;
    assert_eq!(
        session
            .text(
                "SELECT array_agg((mv_name, status, refresh_rate_in_sec)) FROM materialized_views"
            )
            .await,
        "{\"(mt_hosts,ok,42)\"}"
    );
    session.run("SELECT added FROM mt_hosts").await;
    session.assert_exact("mt_hosts").await;
}
