//! A complete refresh makes the materialized view equal its query, writes no more than it must, and fails without harm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};

const REFRESH: &str = "SELECT mvrefresh.refresh_materialized_view('mv')";

/// A base table of 100 rows and a materialized view `mv` of it.
async fn with_base_table(database: &Database) -> Session {
    let mut session = database.admin().await;
    session
        .run(
            "CREATE TABLE base AS SELECT g AS id, 'row ' || g AS label, g::numeric AS amount FROM generate_series(1, 100) g;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base');
             CREATE TABLE addresses_before (row_address tid, writer xid);",
        )
        .await;
    session
}

/// Rows of `mv` whose version was there when `note_versions` was called.
async fn untouched(session: &mut Session) -> i64 {
    session
        .value("SELECT count(*) FROM mv JOIN addresses_before b ON b.row_address = mv.ctid AND b.writer = mv.xmin")
        .await
}

async fn note_versions(session: &mut Session) {
    session
        .run("TRUNCATE addresses_before; INSERT INTO addresses_before SELECT ctid, xmin FROM mv")
        .await;
}

async fn last_history(session: &mut Session) -> String {
    session
        .text("SELECT (outcome, form, rows_inserted, rows_updated, rows_deleted) FROM mvrefresh.refresh_history ORDER BY refresh_id DESC LIMIT 1")
        .await
}

#[tokio::test]
async fn in_place_only_rows_that_differ_are_written() {
    let database = Database::installed().await;
    let mut session = with_base_table(&database).await;
    note_versions(&mut session).await;
    session.run(REFRESH).await;
    assert_eq!(untouched(&mut session).await, 100);
    assert_eq!(
        last_history(&mut session).await,
        "(succeeded,in_place,0,0,0)"
    );

    let change = "UPDATE base SET amount = amount + 1000 WHERE id % 50 = 7; DELETE FROM base WHERE id = (SELECT min(id) FROM base);
                  INSERT INTO base SELECT max(id) + 1, NULL, NULL FROM base";
    session.run(change).await;
    session.run(REFRESH).await;
    assert_eq!(untouched(&mut session).await, 97);
    assert_eq!(
        last_history(&mut session).await,
        "(succeeded,in_place,3,0,3)"
    );

    // with a key, a changed row is updated
    session.run("CREATE UNIQUE INDEX ON mv (id)").await;
    note_versions(&mut session).await;
    session.run(change).await;
    session.run(REFRESH).await;
    assert_eq!(untouched(&mut session).await, 97);
    assert_eq!(
        last_history(&mut session).await,
        "(succeeded,in_place,1,2,1)"
    );
    session.assert_exact("mv").await;
}

#[tokio::test]
async fn values_that_are_equal_but_not_the_same_are_written() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run(
            "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             CREATE TABLE base (id int, n numeric, f float8, t text COLLATE nocase, j json, a numeric[]);
             INSERT INTO base VALUES (1, 1.0, 0.0, 'a', '{\"a\":1}', '{1.0}'), (2, 'NaN', 'NaN', 'x', NULL, '{}');
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base');",
        )
        .await;
    for key in [
        "",
        "CREATE UNIQUE INDEX ON mv (t)",
        "CREATE UNIQUE INDEX ON mv (n, id)",
    ] {
        session.run(key).await;
        session
            .run(
                "UPDATE base SET n = 1.00, f = '-0', t = 'A', j = '{\"a\": 1}', a = '{1.00}' WHERE id = 1;
                 SELECT mvrefresh.refresh_materialized_view('mv')",
            )
            .await;
        assert_eq!(
            session.text("SELECT mv FROM mv WHERE id = 1").await,
            r#"(1,1.00,-0,A,"{""a"": 1}",{1.00})"#
        );
        session
            .run(
                "UPDATE base SET n = 1.0, f = '0', t = 'a', j = '{\"a\":1}', a = '{1.0}' WHERE id = 1;
                 SELECT mvrefresh.refresh_materialized_view('mv')",
            )
            .await;
        assert_eq!(
            session.text("SELECT mv FROM mv WHERE id = 1").await,
            r#"(1,1.0,0,a,"{""a"":1}",{1.0})"#
        );
    }
}

#[tokio::test]
async fn rows_may_exchange_the_values_of_unique_indexes() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run(
            "CREATE EXTENSION btree_gist;
             CREATE TABLE base AS SELECT g AS id, g AS place, int4range(g, g + 1) AS span FROM generate_series(1, 20) g;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base');
             ALTER TABLE mv ADD PRIMARY KEY (id);
             CREATE UNIQUE INDEX ON mv (place) WHERE place > 3;
             ALTER TABLE mv ADD CONSTRAINT later UNIQUE (place) DEFERRABLE INITIALLY DEFERRED;
             CREATE UNIQUE INDEX ON mv ((place * 2)) INCLUDE (span);
             ALTER TABLE mv ADD EXCLUDE USING gist (span WITH &&);",
        )
        .await;
    for change in [
        "UPDATE base SET place = 21 - place, span = int4range(21 - place, 22 - place)",
        "UPDATE base SET id = 21 - id",
        "UPDATE base SET id = id + 1, place = 21 - place, span = int4range(21 - place, 22 - place); DELETE FROM base WHERE id = 21",
    ] {
        session.run(change).await;
        session.run(REFRESH).await;
        session.assert_exact("mv").await;
    }
}

#[tokio::test]
async fn several_rows_for_one_key_fail_the_refresh_and_change_nothing() {
    let database = Database::installed().await;
    let mut session = with_base_table(&database).await;
    session
        .run("CREATE UNIQUE INDEX one_per_id ON mv (id)")
        .await;
    for duplicate in [
        // as stored, as stored but for one value, new
        "INSERT INTO base SELECT * FROM base WHERE id = 5",
        "INSERT INTO base SELECT id, 'other', amount FROM base WHERE id = 5",
        "INSERT INTO base VALUES (777, 'a', 1), (777, 'b', 1)",
        // hidden by as many missing rows
        "INSERT INTO base SELECT * FROM base WHERE id = 5; DELETE FROM base WHERE id = 6",
    ] {
        session.run("BEGIN").await;
        session.run(duplicate).await;
        let error = session.failure(REFRESH).await;
        assert_eq!(error.code, "23505", "{duplicate}");
        assert!(error.message.contains("one_per_id"), "{}", error.message);
        session.run("ROLLBACK").await;
    }
    session.assert_exact("mv").await;
    // one key by a finer collation than the column's is none to pair by
    session
        .run(
            "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             CREATE TABLE words (w text COLLATE nocase); INSERT INTO words VALUES ('a'), ('A');
             SELECT mvrefresh.create_materialized_view('spelled', 'SELECT * FROM words');
             CREATE UNIQUE INDEX ON spelled (w COLLATE \"C\");
             DELETE FROM words WHERE w::bytea = 'A';
             SELECT mvrefresh.refresh_materialized_view('spelled');",
        )
        .await;
    assert_eq!(
        session.values::<String>("SELECT w FROM spelled").await,
        ["a"]
    );
}

#[tokio::test]
async fn a_failing_view_keeps_its_rows_and_stops_no_other() {
    let database = Database::installed().await;
    let mut session = with_base_table(&database).await;
    session
        .run(
            "CREATE TABLE divisor AS SELECT 1 AS d;
             SELECT mvrefresh.create_materialized_view('fails', 'SELECT id / d AS q FROM base, divisor', 60);
             SELECT mvrefresh.create_materialized_view('later', 'SELECT count(*) AS n FROM base', 60);
             UPDATE divisor SET d = 0; DELETE FROM base WHERE id = 1;",
        )
        .await;
    let outcomes = session
        .text("SELECT array_agg((mv_name, outcome, error) ORDER BY mv_name) FROM mvrefresh.refresh_all_materialized_views(true)")
        .await;
    assert_eq!(
        outcomes,
        r#"{"(public.fails,failed,\"division by zero\")","(public.later,succeeded,)","(public.mv,succeeded,)"}"#
    );
    assert_eq!(session.text("SELECT count(*) FROM fails").await, "100");
    assert_eq!(session.text("SELECT n FROM later").await, "99");
    assert_eq!(
        session
            .text("SELECT (status, failures, last_error, last_error_code, last_error_at > last_refresh) FROM mvrefresh.materialized_views WHERE mv_name = 'fails'")
            .await,
        r#"(failing,1,"division by zero",22012,t)"#
    );
    session
        .run("UPDATE divisor SET d = 2; SELECT mvrefresh.refresh_materialized_view('fails')")
        .await;
    session.assert_exact("fails").await;
    assert_eq!(
        session
            .text("SELECT (status, failures, last_error) FROM mvrefresh.materialized_views WHERE mv_name = 'fails'")
            .await,
        "(ok,0,)"
    );
}

#[tokio::test]
async fn the_average_cost_is_measured_and_moves() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run("SELECT mvrefresh.create_materialized_view('mv', 'SELECT pg_sleep(0.03)::text AS nothing')")
        .await;
    let mut before: f64 = session
        .value("SELECT avg_cost_ms FROM mvrefresh.materialized_views")
        .await;
    assert!(before >= 30.0, "{before}");
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        session
            .run(&format!(
                "BEGIN ISOLATION LEVEL {isolation}; {REFRESH}; COMMIT"
            ))
            .await;
        let rows = session
            .rows("SELECT avg_cost_ms, last_duration_ms FROM mvrefresh.materialized_views")
            .await;
        let (average, duration): (f64, f64) =
            (sqlx::Row::get(&rows[0], 0), sqlx::Row::get(&rows[0], 1));
        assert!(duration >= 30.0, "{duration}");
        assert!(
            (average - f64::midpoint(before, duration)).abs() < 1e-6,
            "{before} {duration} {average}"
        );
        assert_eq!(
            session
                .text("SELECT prepare_ms >= 0 AND execute_ms >= 30 AND duration_ms >= execute_ms FROM mvrefresh.refresh_history ORDER BY refresh_id DESC LIMIT 1")
                .await,
            "true"
        );
        before = average;
    }
}

#[tokio::test]
async fn a_refresh_is_part_of_its_transaction() {
    let database = Database::installed().await;
    let mut session = with_base_table(&database).await;
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        session
            .run(&format!(
                "BEGIN ISOLATION LEVEL {isolation};
                 DELETE FROM base WHERE id % 7 = 1;
                 SAVEPOINT before; {REFRESH}; INSERT INTO base VALUES (1000, 'x', NULL); {REFRESH}; ROLLBACK TO before;"
            ))
            .await;
        assert_eq!(session.text("SELECT count(*) FROM mv").await, "100");
        session.run(REFRESH).await;
        session.assert_exact("mv").await;
        session.run("ROLLBACK").await;
        session.assert_exact("mv").await;
    }
    let error = session
        .failure(&format!("BEGIN READ ONLY; {REFRESH}"))
        .await;
    assert_eq!(error.code, "25006");
    session.run("ROLLBACK").await;
}

#[tokio::test]
async fn a_complete_refresh_is_compiled_only_where_that_is_worth_more_than_for_its_query_alone() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run(
            "SELECT mvrefresh.create_materialized_view('mv', $$
                 SELECT name, setting FROM pg_catalog.pg_settings WHERE name ~ '^jit_.*above_cost' $$);
             SET jit_above_cost = 1000; SET jit_inline_above_cost = -1; SET jit_optimize_above_cost = 2000.5",
        )
        .await;
    session.refresh("public.mv", None).await;
    let seen = "SELECT string_agg(name || ' ' || setting, ', ' ORDER BY name)";
    assert_eq!(
        session.text(&format!("{seen} FROM mv")).await,
        "jit_above_cost 2000, jit_inline_above_cost -1, jit_optimize_above_cost 20005"
    );
    let own = format!("{seen} FROM pg_settings WHERE name ~ '^jit_.*above_cost'");
    assert_eq!(
        session.text(&own).await,
        "jit_above_cost 1000, jit_inline_above_cost -1, jit_optimize_above_cost 2000.5"
    );
}

#[tokio::test]
async fn a_rebuild_makes_indexes_again_as_they_were_and_analyzes() {
    let database = Database::installed().await;
    let mut session = with_base_table(&database).await;
    session
        .run(
            "ALTER TABLE mv ADD PRIMARY KEY (id);
             CREATE INDEX by_label ON mv (lower(label) text_pattern_ops DESC) INCLUDE (amount) WITH (fillfactor = 70) WHERE id > 3;
             COMMENT ON INDEX by_label IS 'it''s mine';
             SET default_tablespace TO pg_default;
             CREATE TABLE indexes_before AS SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'mv';
             DELETE FROM base WHERE id > 40;",
        )
        .await;
    let before = session.text("SELECT 'by_label'::regclass::oid").await;
    session
        .run("BEGIN; SELECT mvrefresh.refresh_materialized_view('mv', 'rebuild')")
        .await;
    assert_eq!(
        session.value::<String>("SHOW default_tablespace").await,
        "pg_default"
    );
    session.run("COMMIT").await;
    session.assert_exact("mv").await;
    assert_ne!(
        session.text("SELECT 'by_label'::regclass::oid").await,
        before
    );
    assert_eq!(
        session
            .text("SELECT count(*) FROM indexes_before FULL JOIN (SELECT * FROM pg_indexes WHERE tablename = 'mv') i USING (indexname, indexdef) WHERE indexdef IS NULL OR i.tablename IS NULL")
            .await,
        "0"
    );
    assert_eq!(
        session
            .text("SELECT obj_description('by_label'::regclass)")
            .await,
        "it's mine"
    );
    assert_eq!(
        session
            .text("SELECT reltuples FROM pg_class WHERE relname = 'mv'")
            .await,
        "40"
    );
}

#[tokio::test]
async fn row_security_that_would_hide_stored_rows_is_refused() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.base AS SELECT g AS id FROM generate_series(1, 5) g;
             SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT * FROM alice.base');
             ALTER TABLE alice.mv ENABLE ROW LEVEL SECURITY;
             CREATE POLICY few ON alice.mv USING (id < 3);
             SELECT mvrefresh.refresh_materialized_view('alice.mv');",
        )
        .await;
    alice
        .run("ALTER TABLE alice.mv FORCE ROW LEVEL SECURITY")
        .await;
    let error = alice
        .failure("SELECT mvrefresh.refresh_materialized_view('alice.mv')")
        .await;
    assert_eq!(error.code, "55000");
    alice.run(&error.hint).await;
    alice.run("DELETE FROM alice.base WHERE id = 5; SELECT mvrefresh.refresh_materialized_view('alice.mv')").await;
    alice.assert_exact("alice.mv").await;
    assert_eq!(alice.text("SELECT count(*) FROM alice.mv").await, "4");
}
