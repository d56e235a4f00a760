//! A log never makes a writer fail, needs no rights of the writer, and is noticed when it may have missed something.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};

async fn logged_table(session: &mut Session) -> i32 {
    session
        .run("CREATE TABLE t (id int PRIMARY KEY, a text, b varchar(5), unread int); INSERT INTO t SELECT i, 'a', 'b' FROM generate_series(1, 10) i")
        .await;
    session
        .value("SELECT mvrefresh.ensure_log('t', '{id,a,b}')")
        .await
}

const WRITES: &str = "INSERT INTO t (id) VALUES (100); UPDATE t SET id = id + 1000; DELETE FROM t WHERE id = 1100; UPDATE t SET id = id - 1000";

/// What somebody does, and what `log_problem` says of it.
const DAMAGES: &[(&str, &str)] = &[
    ("ALTER TABLE t DISABLE TRIGGER USER", "is disabled"),
    (
        "ALTER TABLE t DISABLE TRIGGER USER; DELETE FROM t WHERE id < 4; ALTER TABLE t ENABLE TRIGGER USER",
        "changed back",
    ),
    (
        "BEGIN; ALTER TABLE t DISABLE TRIGGER ALL; DELETE FROM t WHERE id < 4; ALTER TABLE t ENABLE TRIGGER ALL; COMMIT",
        "changed back",
    ),
    (
        "DROP TRIGGER mvrefresh$1_update ON t",
        "the trigger for UPDATE has been dropped",
    ),
    (
        "ALTER TRIGGER mvrefresh$1_update ON t RENAME TO other",
        "the trigger for UPDATE has been dropped",
    ),
    (
        "DROP TRIGGER mvrefresh$1_guard ON t; ALTER TABLE t DROP a",
        "column \"a\" has been dropped",
    ),
    (
        "ALTER TABLE t DROP a CASCADE",
        "column \"a\" has been dropped",
    ),
    (
        "ALTER TABLE t DROP id CASCADE; ALTER TABLE t ADD id int",
        "column \"id\" has been dropped",
    ),
    (
        "ALTER TABLE t RENAME a TO z",
        "column \"a\" has been renamed to \"z\"",
    ),
    (
        "ALTER TABLE t RENAME a TO z; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME z TO b",
        "has been renamed",
    ),
    (
        "ALTER TABLE t RENAME a TO z; UPDATE t SET z = 'q'; ALTER TABLE t RENAME z TO a",
        "changed back",
    ),
    (
        "CREATE OR REPLACE FUNCTION mvrefresh.capture$1() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "changed",
    ),
    (
        "DROP FUNCTION mvrefresh.capture$1() CASCADE",
        "has been dropped",
    ),
    (
        "DROP TABLE mvrefresh.log$1 CASCADE",
        "log table has been dropped",
    ),
    (
        "ALTER TABLE mvrefresh.log$1 DROP c2 CASCADE",
        "columns of its log table",
    ),
    ("TRUNCATE mvrefresh.log$1", "changed"),
    ("ALTER TABLE mvrefresh.log$1 SET UNLOGGED", "unlogged"),
    ("DROP INDEX mvrefresh.log$1_xid", "index"),
];

#[tokio::test]
async fn whatever_happened_to_table_or_log_is_noticed_and_repaired_and_no_writer_fails() {
    for (damage, words) in DAMAGES {
        let database = Database::installed().await;
        let mut admin = database.admin().await;
        let log = logged_table(&mut admin).await;
        admin.remember(log).await;
        // this session has the function's plans, the other has to make them
        let mut writer = database.admin().await;
        writer.run(WRITES).await;
        admin.run(damage).await;
        writer.run(&WRITES.replace("(100)", "(200)")).await;
        database
            .admin()
            .await
            .run(&WRITES.replace("(100)", "(300)"))
            .await;
        assert!(
            admin.log_problem(log).await.contains(words),
            "{damage}: {}",
            admin.log_problem(log).await
        );
        assert_eq!(
            admin.text("SELECT count(*) FROM mvrefresh.self_check() WHERE object_kind = 'materialized view log' AND status <> 'fine'").await,
            "1"
        );
        assert!(
            admin.repair_logs().await[0].starts_with("made "),
            "{damage}"
        );
        assert_eq!(admin.log_problem(log).await, "NULL", "{damage}");
        assert!(admin.is_marked(log).await, "{damage}");
        assert_eq!(
            admin
                .text(&format!(
                    "SELECT mvrefresh.log_reaches({log}, snapshot) FROM kept.snapshots"
                ))
                .await,
            "false"
        );
        admin.remember(log).await;
        writer.run(&WRITES.replace("(100)", "(400)")).await;
        admin.assert_log_is_exact(log, damage).await;
    }
}

#[tokio::test]
async fn what_would_break_a_log_is_refused_by_postgresql_and_the_rest_is_not() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = logged_table(&mut admin).await;
    for refused in [
        "ALTER TABLE t DROP a",
        "ALTER TABLE t ALTER b TYPE text",
        "DROP TABLE mvrefresh.log$1",
        "ALTER TABLE mvrefresh.log$1 DROP c2",
        "DROP FUNCTION mvrefresh.capture$1()",
    ] {
        admin.failure(refused).await;
    }
    for harmless in [
        "ALTER TABLE t ENABLE TRIGGER ALL",
        "ALTER TABLE t DROP unread",
        "ALTER TABLE t ADD later int DEFAULT 5",
        "ALTER TABLE t RENAME TO renamed",
        "CREATE SCHEMA elsewhere; ALTER TABLE renamed SET SCHEMA elsewhere",
        "ALTER TABLE elsewhere.renamed ADD CHECK (id > 0)",
        "CREATE INDEX ON elsewhere.renamed (a)",
        "VACUUM FULL elsewhere.renamed",
        "ANALYZE elsewhere.renamed",
    ] {
        admin.run(harmless).await;
        assert_eq!(admin.log_problem(log).await, "NULL", "{harmless}");
        admin.remember(log).await;
        let name = base_name(&mut admin).await;
        admin.run(&format!("UPDATE {name} SET a = a || 'x'")).await;
        admin.assert_log_is_exact(log, harmless).await;
    }
    admin.run("DROP TABLE elsewhere.renamed").await;
    assert_eq!(
        admin.log_problem(log).await,
        "its base table has been dropped"
    );
    assert_eq!(admin.repair_logs().await, ["dropped the log"]);
    assert_eq!(
        admin.text("SELECT count(*) FROM pg_class WHERE relnamespace = 'mvrefresh'::regnamespace AND relname ~ '^(log|guard)\\$'").await,
        "0"
    );
}

/// Of one trigger with this ending of its name, whether it is enabled.
async fn is_enabled(session: &mut Session, ending: &str) -> String {
    session
        .text(&format!(
            "SELECT string_agg(tgenabled::text, '') FROM pg_trigger WHERE tgrelid = 't'::regclass AND tgname ~ '_{ending}$'"
        ))
        .await
}

#[tokio::test]
async fn an_update_does_not_look_at_what_guards_the_columns_which_holds_all_the_same() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = logged_table(&mut admin).await;
    assert_eq!(is_enabled(&mut admin, "guard").await, "D");
    assert_eq!(is_enabled(&mut admin, "update").await, "O");
    let error = admin.failure("ALTER TABLE t ALTER b TYPE text").await;
    assert!(error.message.contains("trigger"), "{error:?}");
    admin
        .run("ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ENABLE TRIGGER ALL")
        .await;
    admin.repair_logs().await;
    assert_eq!(is_enabled(&mut admin, "guard").await, "D");
    assert_eq!(admin.log_problem(log).await, "NULL");
}

async fn base_name(admin: &mut Session) -> String {
    admin
        .text("SELECT base_table FROM mvrefresh.materialized_view_logs")
        .await
}

#[tokio::test]
async fn what_can_not_be_logged_any_more_is_reported() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = logged_table(&mut admin).await;
    admin.run("CREATE TABLE child () INHERITS (t)").await;
    assert_eq!(
        admin.log_problem(log).await,
        "can not be logged any more: public.t has an inheritance child, public.child"
    );
    assert_eq!(
        admin.repair_logs().await,
        ["not repaired: no log for public.t has an inheritance child, public.child"]
    );
    admin.run("DROP TABLE child").await;
    assert_eq!(admin.log_problem(log).await, "NULL");
    admin.run("ALTER TABLE t SET UNLOGGED").await;
    assert!(admin.log_problem(log).await.contains("is unlogged"));
}

#[tokio::test]
async fn a_log_is_widened_without_loss_to_who_reads_the_columns_it_had() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    admin.run("CREATE TABLE t (a int, b int, c text)").await;
    let log: i32 = admin.value("SELECT mvrefresh.ensure_log('t', '{a}')").await;
    admin.remember(log).await;
    let reaches = format!("SELECT mvrefresh.log_reaches({log}, snapshot) FROM kept.snapshots");
    assert_eq!(admin.text(&reaches).await, "true");
    admin
        .run("INSERT INTO t VALUES (1, 1); SELECT mvrefresh.ensure_log('t', '{a}')")
        .await;
    assert_eq!(admin.text(&reaches).await, "true", "nothing was added");
    admin.run("SELECT mvrefresh.ensure_log('t', '{c,a}')").await;
    assert_eq!(admin.text(&reaches).await, "true");
    assert_eq!(
        admin
            .text("SELECT logged_columns FROM mvrefresh.materialized_view_logs")
            .await,
        "{a,c}"
    );
    admin.remember(log).await;
    assert_eq!(admin.text(&reaches).await, "true");
    admin.run("UPDATE t SET c = 'x'").await;
    admin.assert_log_is_exact(log, "widening").await;
    assert_eq!(admin.log_problem(log).await, "NULL");
    let error = admin
        .failure("SELECT mvrefresh.ensure_log('t', '{nothing}')")
        .await;
    assert_eq!(error.code, "42703");
}

#[tokio::test]
async fn pruning_deletes_a_bounded_number_of_old_rows_and_nobody_misses_them_unnoticed() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = logged_table(&mut admin).await;
    admin.remember(log).await;
    admin
        .run("UPDATE t SET a = 'x'; UPDATE t SET a = 'y'")
        .await;
    let pending = format!(
        "SELECT (mvrefresh.pending_in_log({log}, snapshot)).pending_rows FROM kept.snapshots"
    );
    let reaches = format!("SELECT mvrefresh.log_reaches({log}, snapshot) FROM kept.snapshots");
    assert_eq!(admin.text(&pending).await, "40");
    let prune = format!(
        "SELECT mvrefresh.prune_log({log}, pg_snapshot_xmin(snapshot), 15) FROM kept.snapshots"
    );
    assert_eq!(admin.text(&prune).await, "0", "they are all pending");
    assert_eq!(admin.text(&reaches).await, "true");
    let everything =
        format!("SELECT mvrefresh.prune_log({log}, pg_snapshot_xmin(pg_current_snapshot()), 15)");
    for expected in ["15", "15", "10", "0"] {
        assert_eq!(admin.text(&everything).await, expected);
        assert_eq!(admin.text(&reaches).await, "false");
    }
    admin.remember(log).await;
    assert_eq!(admin.text(&reaches).await, "true");
    assert_eq!(admin.text(&pending).await, "0");
}

#[tokio::test]
async fn a_log_that_nobody_reads_is_reported() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    logged_table(&mut admin).await;
    let remedy = "SELECT remedy FROM mvrefresh.self_check() WHERE object_kind = 'materialized view log' AND status = 'fine'";
    assert!(
        admin
            .text(remedy)
            .await
            .starts_with("no materialized view reads it")
    );
    admin
        .run("SELECT mvrefresh.create_materialized_view('mv', 'SELECT a FROM t')")
        .await;
    assert_eq!(admin.text(remedy).await, "NULL");
    admin
        .run("SELECT mvrefresh.drop_materialized_view('mv')")
        .await;
    assert!(
        admin
            .text(remedy)
            .await
            .starts_with("no materialized view reads it")
    );
    admin
        .run("SELECT mvrefresh.drop_materialized_view_log('t')")
        .await;
    assert_eq!(
        admin
            .text(
                "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal"
            )
            .await,
        "0"
    );
    admin.run(WRITES).await;
}
