//! Who may have a table logged, what writers need for it (nothing), and how a log comes and goes under load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::Database;

const CREATE: &str = "SELECT mvrefresh.create_materialized_view_log('alice.t')";

#[tokio::test]
async fn a_missing_privilege_is_told_with_the_grant_that_helps() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    // nobody whose rights the module has as a member
    database
        .server
        .create_role("carol", "IN ROLE mvrefresh_execute")
        .await;
    let mut carol = database.session("carol").await;
    alice
        .run("CREATE TABLE alice.t (a int, secret text) PARTITION BY LIST (a); CREATE TABLE alice.t1 PARTITION OF alice.t FOR VALUES IN (1)")
        .await;
    // the module is a member of alice and needs no grant; take that away
    database
        .server
        .execute("REVOKE alice FROM refresher; GRANT USAGE ON SCHEMA alice TO carol")
        .await;
    for (session, grants) in [
        (
            &mut carol,
            vec![
                "GRANT SELECT, TRIGGER ON alice.t TO carol;",
                "GRANT USAGE ON SCHEMA alice TO refresher;",
                "GRANT TRIGGER ON alice.t, alice.t1 TO refresher;",
            ],
        ),
        (&mut alice, vec![]),
    ] {
        for grant in grants {
            let error = session.failure(CREATE).await;
            assert_eq!(error.code, "42501", "{error:?}");
            assert_eq!(error.hint, format!("As its owner: {grant}"));
            database.server.execute(grant).await;
        }
        session.run(CREATE).await;
        session
            .run("SELECT mvrefresh.drop_materialized_view_log('alice.t')")
            .await;
    }
    // somebody without these rights may not drop it either, nor forge a permit
    alice.run(CREATE).await;
    let mut bob = database.session("bob").await;
    database
        .server
        .execute("GRANT USAGE ON SCHEMA alice TO bob")
        .await;
    for forbidden in [
        "SELECT mvrefresh.drop_materialized_view_log('alice.t')",
        "INSERT INTO mvrefresh.log_permits (base_table) VALUES ('alice.t'::regclass)",
        "SELECT mvrefresh.drop_permitted_log('alice.t', 0)",
        "SELECT mvrefresh.create_permitted_log('alice.t', 0)",
        "SELECT mvrefresh.ensure_log('alice.t')",
        "SELECT mvrefresh.drop_log(1)",
        "SELECT mvrefresh.prune_log(1, '1000000')",
        "SELECT * FROM mvrefresh.repair_logs()",
    ] {
        assert_eq!(bob.failure(forbidden).await.code, "42501", "{forbidden}");
    }
}

#[tokio::test]
async fn logs_are_readable_and_writable_by_the_module_only() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    let mut mallory = database.session("mallory").await;
    alice.run("CREATE TABLE alice.t (a int, secret text)").await;
    let log = alice.create_log("alice.t").await;
    alice.run("INSERT INTO alice.t VALUES (1, 'x')").await;
    mallory
        .run("CREATE TABLE mallory.own (a int, secret text)")
        .await;
    for forbidden in [
        format!("SELECT * FROM mvrefresh.log${log}"),
        format!("SELECT * FROM mvrefresh.guard${log}"),
        format!("INSERT INTO mvrefresh.log${log} (weight) VALUES (0)"),
        format!(
            "CREATE TRIGGER forger AFTER INSERT ON mallory.own REFERENCING NEW TABLE AS new_rows
             FOR EACH STATEMENT EXECUTE FUNCTION mvrefresh.capture${log}()"
        ),
        format!("SELECT mvrefresh.pending_in_log({log}, pg_current_snapshot())"),
    ] {
        assert_eq!(
            mallory.failure(&forbidden).await.code,
            "42501",
            "{forbidden}"
        );
    }
    let mut module = database.session("refresher").await;
    assert_eq!(module.log_rows(log).await, 1);
}

#[tokio::test]
async fn a_writer_needs_no_rights_and_no_search_path_and_bends_nothing() {
    let database = Database::with_ordinary_roles().await;
    database.server.create_role("writer", "").await;
    let mut alice = database.session("alice").await;
    alice
        .run("CREATE TABLE alice.t (a int, b text); GRANT USAGE ON SCHEMA alice TO writer; GRANT ALL ON alice.t TO writer")
        .await;
    let log = alice.create_log("alice.t").await;
    let mut admin = database.admin().await;
    admin.remember(log).await;
    let mut writer = database.session("writer").await;
    writer
        .run(
            "CREATE TEMP TABLE old_rows (a int, b text); CREATE TEMP TABLE new_rows (a int, b text); CREATE TEMP TABLE log$1 (a int);
             CREATE FUNCTION pg_temp.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS 'SELECT NULL::xid8';
             SET search_path TO pg_temp",
        )
        .await;
    for statement in [
        "INSERT INTO alice.t SELECT i, i FROM generate_series(1, 10) i",
        "UPDATE alice.t SET b = 'y'",
        "UPDATE alice.t SET b = b",
        "DELETE FROM alice.t WHERE a < 4",
    ] {
        writer.run(statement).await;
        admin.assert_log_is_exact(log, statement).await;
    }
    writer.run("SET search_path TO ''; TRUNCATE alice.t").await;
    assert!(admin.is_marked(log).await);
}

#[tokio::test]
async fn a_log_waits_for_those_who_have_written_and_fails_soon_where_they_stay() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let mut writer = database.admin().await;
    let mut observer = database.admin().await;
    admin.run("CREATE TABLE t (a int)").await;
    writer.run("BEGIN; INSERT INTO t VALUES (1)").await;
    let error = admin
        .failure("SELECT mvrefresh.create_materialized_view_log('t', 10)")
        .await;
    assert_eq!(error.code, "55P03");
    assert!(error.hint.contains("Try again"), "{error:?}");
    assert_eq!(
        admin.text("SELECT current_setting('lock_timeout')").await,
        "0"
    );
    assert_eq!(
        admin
            .text("SELECT count(*) FROM mvrefresh.materialized_view_logs")
            .await,
        "0"
    );
    // a snapshot from before the log exists, while the first writer's row is not there yet
    let before = observer.text("SELECT pg_current_snapshot()").await;
    let pid = admin.pid().await;
    let create = async {
        admin
            .value::<i32>("SELECT mvrefresh.create_materialized_view_log('t', 60000)")
            .await
    };
    let commit = async {
        observer
            .wait_until(&format!(
                "EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"
            ))
            .await;
        writer.run("COMMIT").await;
    };
    let (log, ()) = tokio::join!(create, commit);
    assert_eq!(
        observer.log_rows(log).await,
        0,
        "the row was written before the log was there"
    );
    assert_eq!(
        observer
            .text(&format!("SELECT mvrefresh.log_reaches({log}, '{before}')"))
            .await,
        "false"
    );
    observer.remember(log).await;
    assert_eq!(
        observer
            .text(&format!(
                "SELECT mvrefresh.log_reaches({log}, snapshot) FROM kept.snapshots"
            ))
            .await,
        "true"
    );
    writer.run("INSERT INTO t VALUES (2)").await;
    observer.assert_log_is_exact(log, "creation").await;
}

#[tokio::test]
async fn two_who_want_the_same_log_get_one() {
    let database = Database::installed().await;
    let mut one = database.admin().await;
    let mut other = database.admin().await;
    one.run("CREATE TABLE t (a int, b int)").await;
    let (a, b) = tokio::join!(
        one.value::<i32>("SELECT mvrefresh.ensure_log('t', '{a}', 60000)"),
        other.value::<i32>("SELECT mvrefresh.ensure_log('t', '{b}', 60000)")
    );
    assert_eq!(a, b);
    assert_eq!(one.log_problem(a).await, "NULL");
    one.remember(a).await;
    other.run("INSERT INTO t VALUES (1, 2)").await;
    one.assert_log_is_exact(a, "both").await;
    assert_eq!(
        one.text("SELECT array(SELECT unnest(logged_columns) ORDER BY 1) FROM mvrefresh.materialized_view_logs").await,
        "{a,b}"
    );
}

#[tokio::test]
async fn an_uninstallation_leaves_no_trigger_behind() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run("CREATE TABLE alice.t (a int) PARTITION BY LIST (a); CREATE TABLE alice.t1 PARTITION OF alice.t FOR VALUES IN (1)")
        .await;
    alice.create_log("alice.t").await;
    let mut module = database.session("refresher").await;
    mvrefreshd::dictionary::installation::uninstall(&mut module.connection, &database.schema)
        .await
        .unwrap();
    assert_eq!(
        alice
            .text("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal")
            .await,
        "0"
    );
    alice
        .run("INSERT INTO alice.t VALUES (1); UPDATE alice.t SET a = 1; DELETE FROM alice.t; TRUNCATE alice.t")
        .await;
}
