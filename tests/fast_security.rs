//! Nobody gets rights, or to see rows, by a fast refresh that they don't have.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};
use mvrefreshd::refresh::compile::Compiled;

/// Declares itself harmless, and does `act` as soon as it meets the number 666.
fn trap(act: &str) -> String {
    format!(
        "CREATE TABLE mallory.seen (who text);
         CREATE FUNCTION mallory.act() RETURNS integer LANGUAGE plpgsql AS $act$ BEGIN {act}; RETURN 1; END $act$;
         CREATE FUNCTION mallory.trap(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
             $trap$ BEGIN IF $1 = 666 THEN RETURN mallory.act(); END IF; RETURN $1; END $trap$;
         CREATE TABLE mallory.base (id integer PRIMARY KEY, n integer NOT NULL);
         INSERT INTO mallory.base SELECT i, i FROM generate_series(1, 10) AS i;
         SELECT mvrefresh.create_materialized_view('mallory.mv', 'SELECT id, mallory.trap(n) AS n FROM mallory.base')"
    )
}

async fn trapped(act: &str) -> (Database, Session, Session) {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    mallory.run(&trap(act)).await;
    let mut daemon = database.session("refresher").await;
    daemon.make_fast("mallory.mv").await;
    mallory
        .run("UPDATE mallory.base SET n = 5 WHERE id = 2")
        .await;
    daemon.assert_fast("mallory.mv").await;
    mallory
        .run("UPDATE mallory.base SET n = 666 WHERE id = 1")
        .await;
    (database, mallory, daemon)
}

#[tokio::test]
async fn a_fast_refresh_runs_with_the_rights_of_the_owner_only() {
    let (_database, mut mallory, mut daemon) =
        trapped("INSERT INTO mallory.seen VALUES (current_user)").await;
    let refreshed = daemon.refresh("mallory.mv", Some("fast")).await;
    assert_eq!(refreshed.method, "fast", "{}", refreshed.reason);
    assert_eq!(
        mallory
            .values::<String>("SELECT DISTINCT who FROM mallory.seen")
            .await,
        ["mallory"]
    );
}

#[tokio::test]
async fn a_fast_refresh_can_not_climb_out_of_the_owners_rights() {
    for act in [
        "RESET ROLE",
        "SET ROLE refresher",
        "SET LOCAL ROLE alice",
        "PERFORM set_config('role', 'none', true)",
        "RESET SESSION AUTHORIZATION",
        // what is left behind would act with the rights of whoever goes on
        "PERFORM set_config('search_path', 'mallory, pg_catalog', false)",
        "PERFORM set_config('search_path', 'mallory', true)",
    ] {
        let (_database, mut mallory, mut daemon) = trapped(act).await;
        let id = daemon.view_id("mallory.mv").await;
        let error = daemon.refresh_as_daemon(id).await;
        let code = error.map_err(|error| error.code);
        assert_eq!(code.unwrap_err(), "42501", "{act}");
        assert_eq!(
            mallory
                .value::<i64>("SELECT count(*) FROM mallory.seen")
                .await,
            0,
            "{act}"
        );
    }
}

#[tokio::test]
async fn programs_logs_and_state_are_nobodys_to_write_and_rows_of_others_nobodys_to_read() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.secrets (id integer PRIMARY KEY, secret integer NOT NULL);
             INSERT INTO alice.secrets SELECT i, i FROM generate_series(1, 10) AS i;
             SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT secret, avg(id) AS a, stddev(id) AS s FROM alice.secrets GROUP BY secret');
             SELECT mvrefresh.create_materialized_view('alice.sums', 'SELECT secret % 3 AS third, avg(id) AS a FROM alice.secrets GROUP BY secret % 3')",
        )
        .await;
    let mut daemon = database.session("refresher").await;
    daemon.compile("alice.mv").await;
    daemon.make_fast("alice.sums").await;
    alice
        .run("UPDATE alice.secrets SET secret = 0 WHERE id = 1")
        .await;
    let log: i32 = alice
        .value("SELECT log_id FROM mvrefresh.materialized_view_logs")
        .await;
    let sums = alice.view_id("alice.sums").await;
    let mut mallory = database.session("mallory").await;
    for attempt in [
        format!("SELECT * FROM mvrefresh.log${log}"),
        format!("SELECT * FROM mvrefresh.guard${log}"),
        format!("INSERT INTO mvrefresh.log${log} (weight) VALUES (0)"),
        format!("SELECT * FROM mvrefresh.state${sums}"),
        format!("DELETE FROM mvrefresh.state${sums}"),
        format!("SELECT * FROM mvrefresh.fast${sums}('1:1:', NULL)"),
        "UPDATE mvrefresh.fast_programs SET body = 'DROP TABLE alice.secrets;'".to_owned(),
        "DELETE FROM mvrefresh.fast_program_logs".to_owned(),
        "INSERT INTO mvrefresh.audits (mv_id) VALUES (1)".to_owned(),
        "SELECT evidence FROM mvrefresh.audits".to_owned(),
        format!(
            "SELECT mvrefresh.install_program({sums}, 1, '', 'DROP TABLE alice.secrets;', '{{}}', true, '[]', NULL, NULL, NULL, '{{}}')"
        ),
        format!("SELECT mvrefresh.record_refusal({sums}, 1, 'x', 'y')"),
        format!("SELECT mvrefresh.perform_audit({sums})"),
        format!("SELECT mvrefresh.prune_log({log}, '1000000')"),
        "SELECT mvrefresh.prune_logs('0')".to_owned(),
        "SELECT mvrefresh.drop_unread_logs()".to_owned(),
        "SELECT mvrefresh.repair_logs()".to_owned(),
        "SELECT mvrefresh.ensure_log('mvrefresh.audits')".to_owned(),
        format!("SELECT mvrefresh.confirm_quiet_view({sums})"),
    ] {
        let error = mallory.failure(&attempt).await;
        assert_eq!(error.code, "42501", "{attempt}: {}", error.message);
    }
    // alice herself sees of the log what she may see of the table, and can't write to it
    alice
        .run(&format!("SELECT xid, weight, c2 FROM mvrefresh.log${log}"))
        .await;
    let error = alice
        .failure(&format!(
            "INSERT INTO mvrefresh.log${log} (weight) VALUES (0)"
        ))
        .await;
    assert_eq!(error.code, "42501");
    daemon.assert_fast("alice.sums").await;
}

#[tokio::test]
async fn a_table_filled_by_a_subscription_is_not_trusted_to_have_a_complete_log() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    admin
        .run(
            "CREATE TABLE base (id integer PRIMARY KEY);
             SELECT mvrefresh.create_materialized_view('public.mv', 'SELECT id FROM base')",
        )
        .await;
    admin.make_fast("public.mv").await;
    admin.run("INSERT INTO base VALUES (1)").await;
    admin.assert_fast("public.mv").await;
    // as CREATE SUBSCRIPTION does, which would need a publisher
    admin
        .run(
            "CREATE SUBSCRIPTION elsewhere CONNECTION 'dbname=none' PUBLICATION changes WITH (connect = false, slot_name = NONE);
             SET allow_system_table_mods = on;
             INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
                 SELECT oid, 'base'::regclass, 'r' FROM pg_subscription;
             SET allow_system_table_mods = off;
             INSERT INTO base VALUES (2)",
        )
        .await;
    admin
        .assert_complete("public.mv", "is filled by a subscription")
        .await;
    let Compiled::Refused(refusal) = admin.compile("public.mv").await else {
        panic!("a log that can't be complete");
    };
    assert!(
        refusal
            .reason
            .contains("logical replication fires no statement triggers"),
        "{refusal}"
    );
    admin
        .run("DELETE FROM pg_subscription_rel; DROP SUBSCRIPTION elsewhere")
        .await;
}
