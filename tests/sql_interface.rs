//! The functions and the dictionary do what they say, with the daemon down.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};
use mvrefreshd::dictionary::schedules;
use sqlx::postgres::PgListener;

async fn with_base_table() -> (Database, Session) {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run("CREATE TABLE base AS SELECT g AS id FROM generate_series(1, 10) g")
        .await;
    (database, session)
}

#[tokio::test]
async fn names_mean_what_they_mean_to_the_caller() {
    let (_database, mut session) = with_base_table().await;
    session
        .run(
            "CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE two.base AS SELECT 1 AS other;
             SET search_path TO one, public;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base; ', 60);
             SET search_path TO two, public;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base -- of two', 60);
             SELECT mvrefresh.refresh_materialized_view('mv');
             SELECT mvrefresh.drop_materialized_view('mv');",
        )
        .await;
    assert_eq!(
        session
            .text("SELECT array_agg(mv_schema) FROM mvrefresh.materialized_views")
            .await,
        "{one}"
    );
    assert_eq!(
        session.value::<String>("SHOW search_path").await,
        "two, public"
    );
    session
        .run("SET search_path TO two, one; SELECT mvrefresh.refresh_materialized_view('mv')")
        .await;
    assert_eq!(session.text("SELECT count(*) FROM mv").await, "10");
}

#[tokio::test]
async fn every_setting_is_taken_and_wrong_ones_are_refused() {
    let (_database, mut session) = with_base_table().await;
    session
        .run(
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base', refresh_cron => '*/5 1-3 * * mon', refresh_time_zone => 'Europe/Berlin',
                 refresh_method => 'complete', complete_form => 'rebuild', refresh_group => 'g', with_data => false)",
        )
        .await;
    let settings = "SELECT (refresh_rate_in_sec, refresh_cron, refresh_time_zone, refresh_method, complete_form, refresh_group, enabled, status) FROM mvrefresh.materialized_views";
    let as_created = r#"(,"*/5 1-3 * * mon",Europe/Berlin,complete,rebuild,g,t,empty)"#;
    assert_eq!(session.text(settings).await, as_created);
    for wrong in [
        "refresh_rate_in_sec = 0",
        "refresh_rate_in_sec = -1",
        "refresh_cron = '* * * *'",
        "refresh_cron = '61 * * * *'",
        "refresh_time_zone = 'Mars/Olympus'",
        "refresh_method = 'quick'",
        "refresh_method = NULL",
        "complete_form = 'slow'",
        "refresh_group = ' '",
        "enabled = NULL",
        "statement_timeout_in_sec = 0",
        "lock_timeout_in_sec = -5",
    ] {
        for target in ["materialized_views", "materialized_view_settings"] {
            let error = session
                .failure(&format!("UPDATE mvrefresh.{target} SET {wrong}"))
                .await;
            assert_eq!(error.code, "22023", "{wrong}");
            assert!(
                error.message.starts_with("materialized view \"mv\": "),
                "{}",
                error.message
            );
        }
    }
    for kept in [
        "last_refresh = now()",
        "mv_name = 'x'",
        "avg_cost_ms = 1",
        "mv_id = 5",
        "owner = 'postgres'::regrole, staleness = '1 s', failures = 3",
    ] {
        let error = session
            .failure(&format!("UPDATE mvrefresh.materialized_views SET {kept}"))
            .await;
        assert_eq!(error.code, "55000", "{kept}");
    }
    assert_eq!(
        session
            .failure("DELETE FROM mvrefresh.materialized_views")
            .await
            .code,
        "0A000"
    );
    assert_eq!(session.text(settings).await, as_created);
}

#[tokio::test]
async fn changes_are_announced_and_found_whenever_they_commit() {
    let (database, mut session) = with_base_table().await;
    session
        .run("SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base', 60)")
        .await;
    let mut listener = PgListener::connect(&database.server.url()).await.unwrap();
    listener.listen("mvrefresh").await.unwrap();

    let mut slow = database.admin().await;
    slow.run("BEGIN; UPDATE mvrefresh.materialized_views SET refresh_rate_in_sec = 7")
        .await;
    let mut daemon = database.admin().await;
    let look = schedules::look(&mut daemon.connection, &database.schema, None).await;
    let since = look.unwrap().watermark;
    assert_eq!(
        schedules::changed_since(&mut daemon.connection, &database.schema, &since)
            .await
            .unwrap(),
        []
    );
    slow.run("COMMIT").await;
    listener.recv().await.unwrap();
    let look = schedules::look(&mut daemon.connection, &database.schema, Some(&since)).await;
    assert!(look.unwrap().has_changes);
    let changed = schedules::changed_since(&mut daemon.connection, &database.schema, &since)
        .await
        .unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].refresh_rate_in_sec, Some(7));

    for statement in [
        "SELECT mvrefresh.request_refresh('mv', 'rebuild')",
        "SELECT mvrefresh.suspend_materialized_view('mv')",
        "SELECT mvrefresh.drop_materialized_view('mv')",
    ] {
        session.run(statement).await;
        listener.recv().await.unwrap();
    }
    // rows of a restored dump bring transaction ids of another cluster
    session
        .run("SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base', 60)")
        .await;
    session
        .run("SET session_replication_role TO replica; UPDATE mvrefresh.materialized_view_settings SET changed_xid = '1000000000'; RESET session_replication_role")
        .await;
    let look = schedules::look(&mut daemon.connection, &database.schema, None).await;
    let since = look.unwrap().watermark;
    assert_eq!(
        schedules::changed_since(&mut daemon.connection, &database.schema, &since)
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
async fn a_view_over_a_view_is_refreshed_after_it_and_cycles_are_refused() {
    let (_database, mut session) = with_base_table().await;
    session
        .run(
            "CREATE VIEW below_v AS SELECT * FROM base;
             SELECT mvrefresh.create_materialized_view('below', view_name => 'below_v', refresh_rate_in_sec => 60);
             SELECT mvrefresh.create_materialized_view('above', 'SELECT count(*) AS n FROM below', 60);
             SELECT mvrefresh.create_materialized_view('top', 'SELECT n + 1 AS n FROM above', 60);
             DELETE FROM base WHERE id > 4;",
        )
        .await;
    let order = session
        .values::<String>("SELECT mv_name FROM mvrefresh.refresh_all_materialized_views(true)")
        .await;
    assert_eq!(order, ["public.below", "public.above", "public.top"]);
    assert_eq!(session.text("SELECT n FROM top").await, "5");
    session.run("CREATE OR REPLACE VIEW below_v AS SELECT id FROM base WHERE id > (SELECT count(*) - 10 FROM top)").await;
    let error = session
        .failure("SELECT mvrefresh.refresh_materialized_view('below')")
        .await;
    assert_eq!(error.code, "42P19");
    assert!(
        error.message.ends_with("below -> top -> above -> below"),
        "{}",
        error.message
    );
    assert_eq!(session.text("SELECT count(*) FROM below").await, "4");
}

#[tokio::test]
async fn a_group_is_refreshed_at_one_snapshot() {
    let (database, mut session) = with_base_table().await;
    for name in ["first", "second"] {
        session
            .run(&format!("SELECT mvrefresh.create_materialized_view('{name}', 'SELECT count(*) AS n FROM base', 60, refresh_group => 'g')"))
            .await;
    }
    assert_eq!(
        session
            .failure("SELECT mvrefresh.refresh_materialized_view('first')")
            .await
            .code,
        "25000"
    );
    session
        .run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM base")
        .await;
    database
        .server
        .execute("DELETE FROM base WHERE id = 1")
        .await;
    let refreshed = session
        .values::<i32>("SELECT mv_id FROM mvrefresh.refresh_materialized_view('first')")
        .await;
    assert_eq!(refreshed.len(), 2);
    session.run("COMMIT").await;
    assert_eq!(
        session
            .text("SELECT (SELECT n FROM first) + (SELECT n FROM second)")
            .await,
        "20"
    );
}

#[tokio::test]
async fn native_materialized_views_are_taken_in_and_let_go() {
    let (_database, mut session) = with_base_table().await;
    session
        .run(
            "CREATE MATERIALIZED VIEW native AS SELECT * FROM base;
             SELECT mvrefresh.adopt_materialized_view('native', 60);
             DELETE FROM base WHERE id = 1;
             SELECT mvrefresh.refresh_materialized_view('native');
             CREATE UNIQUE INDEX ON native (id);
             DELETE FROM base WHERE id = 2;
             SELECT mvrefresh.refresh_materialized_view('native');",
        )
        .await;
    session.assert_exact("native").await;
    assert_eq!(session.text("SELECT count(*) FROM native").await, "8");
    assert_eq!(
        session
            .text("SELECT array_agg(form ORDER BY refresh_id) FROM mvrefresh.refresh_history")
            .await,
        "{plain,concurrently}"
    );
    assert_eq!(
        session
            .failure("SELECT mvrefresh.adopt_materialized_view('native')")
            .await
            .code,
        "42710"
    );
    session
        .run("SELECT mvrefresh.drop_materialized_view('native')")
        .await;
    assert_eq!(session.text("SELECT count(*) FROM native").await, "8");
}

#[tokio::test]
async fn results_do_not_depend_on_who_refreshes() {
    let (_database, mut session) = with_base_table().await;
    session
        .run(
            "SET TimeZone TO 'Asia/Tokyo'; SET DateStyle TO 'German'; SET IntervalStyle TO 'iso_8601';
             CREATE TABLE moments AS SELECT timestamptz '2024-02-29 12:00Z' AS at, interval '1 day' AS long;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT at::text || long::text AS told, at::date AS day FROM moments');",
        )
        .await;
    let told = session.text("SELECT mv FROM mv").await;
    session
        .run("SET TimeZone TO 'America/New_York'; SET DateStyle TO 'ISO'; SET IntervalStyle TO 'postgres'; SELECT mvrefresh.refresh_materialized_view('mv')")
        .await;
    assert_eq!(
        session
            .text("SELECT last_rows_changed FROM mvrefresh.materialized_views")
            .await,
        "0"
    );
    session.run("SELECT mvrefresh.refresh_materialized_view('mv', 'rebuild'); RESET ALL; SET TimeZone TO 'Asia/Tokyo'; SET DateStyle TO 'German'").await;
    assert_eq!(session.text("SELECT mv FROM mv").await, told);
}

#[tokio::test]
async fn a_transaction_id_that_is_the_number_of_a_view_is_in_nobodys_way() {
    let (_database, mut session) = with_base_table().await;
    session
        .run("SELECT mvrefresh.create_materialized_view('first', 'SELECT 1 AS n');
              BEGIN;
              DO $$ BEGIN EXECUTE format('ALTER VIEW mvrefresh.view$1 RENAME TO view$%s', pg_current_xact_id()); END $$;
              SELECT mvrefresh.create_materialized_view('second', 'SELECT 2 AS n');
              COMMIT")
        .await;
    assert_eq!(session.value::<i32>("SELECT n FROM second").await, 2);
}

#[tokio::test]
async fn every_function_table_and_view_has_a_comment() {
    let (_database, mut session) = with_base_table().await;
    let bare = session
        .values::<String>(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'mvrefresh'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
             UNION ALL
             SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'mvrefresh'::regnamespace AND relkind IN ('r', 'v')
                 AND obj_description(oid, 'pg_class') IS NULL AND relname <> '_sqlx_migrations'
             UNION ALL
             SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'mvrefresh'::regnamespace AND proconfig IS NULL AND prosqlbody IS NULL",
        )
        .await;
    assert_eq!(bare, Vec::<String>::new());
}
