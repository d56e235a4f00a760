//! All materialized views are dropped for an upgrade of the user's schema and made again with all that belonged to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::Database;

const DROP_ALL: &str = "SELECT coalesce(array_agg((mv_name, outcome, error)), '{}') FROM mvrefresh.drop_all_materialized_views()";
const RECREATE_ALL: &str =
    "SELECT array_agg((mv_name, outcome, error)) FROM mvrefresh.recreate_all_materialized_views()";

#[tokio::test]
async fn whatever_was_added_to_a_view_is_there_again() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "SET search_path TO alice;
             CREATE TABLE base AS SELECT g AS id, g % 3 AS kind, 'r' || g AS label FROM generate_series(1, 30) g;
             CREATE TABLE kinds AS SELECT DISTINCT kind FROM base; ALTER TABLE kinds ADD PRIMARY KEY (kind);
             CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base', 33, complete_form => 'rebuild');
             ALTER TABLE mv ADD PRIMARY KEY (id), ADD CHECK (id > 0), ADD UNIQUE (label) DEFERRABLE,
                 ADD FOREIGN KEY (kind) REFERENCES kinds, ALTER label SET NOT NULL, ALTER kind SET STATISTICS 7,
                 SET (fillfactor = 55, autovacuum_enabled = false), REPLICA IDENTITY FULL;
             CREATE INDEX partial ON mv (lower(label)) WHERE id > 5;
             ALTER TABLE mv CLUSTER ON mv_pkey;
             CREATE STATISTICS related ON kind, label FROM mv;
             CREATE TRIGGER note AFTER INSERT ON mv FOR EACH ROW EXECUTE FUNCTION noted();
             CREATE TRIGGER asleep AFTER DELETE ON mv FOR EACH ROW EXECUTE FUNCTION noted();
             ALTER TABLE mv DISABLE TRIGGER asleep;
             GRANT SELECT ON mv TO bob WITH GRANT OPTION; GRANT SELECT (id) ON mv TO mallory;
             COMMENT ON TABLE mv IS 'a ''comment'''; COMMENT ON COLUMN mv.id IS 'the key';
             ALTER TABLE mv ENABLE ROW LEVEL SECURITY;
             CREATE POLICY small ON mv AS RESTRICTIVE FOR SELECT TO bob, PUBLIC USING (id < 20);
             CREATE POLICY mine ON mv FOR INSERT WITH CHECK (id > 1);
             ALTER TABLE mv SET UNLOGGED;",
        )
        .await;
    let extras = "SELECT mvrefresh.relation_extras('alice.mv')";
    let before = alice.text(extras).await;
    assert_eq!(alice.text(DROP_ALL).await, r#"{"(alice.mv,dropped,)"}"#);
    assert_eq!(
        alice.text(RECREATE_ALL).await,
        r#"{"(alice.mv,recreated,)"}"#
    );
    assert_eq!(alice.text(extras).await, before);
    assert_eq!(
        alice.text("SELECT (refresh_rate_in_sec, complete_form, status) FROM mvrefresh.materialized_views").await,
        "(33,rebuild,ok)"
    );
    alice.assert_exact("mv").await;
    // an administrator does it for the owner
    let mut admin = database.admin().await;
    admin
        .run("SELECT mvrefresh.recreate_materialized_view('alice.mv')")
        .await;
    assert_eq!(alice.text(extras).await, before);
    assert_eq!(
        alice
            .text("SELECT relowner::regrole FROM pg_class WHERE oid = 'mv'::regclass")
            .await,
        "alice"
    );
    alice
        .run("SELECT mvrefresh.refresh_materialized_view('mv')")
        .await;
}

#[tokio::test]
async fn views_over_views_come_back_in_order_and_those_that_no_longer_fit_are_reported() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run(
            "CREATE TABLE base AS SELECT g AS id, g AS gone FROM generate_series(1, 5) g;
             SELECT mvrefresh.create_materialized_view('z_below', 'SELECT id FROM base', 1);
             SELECT mvrefresh.create_materialized_view('fits_not', 'SELECT gone FROM base', 2);
             SELECT mvrefresh.create_materialized_view('a_above', 'SELECT count(*) FROM z_below', 3);
             CREATE VIEW named AS SELECT * FROM base WHERE id > 1;
             SELECT mvrefresh.create_materialized_view_as('named', 4);",
        )
        .await;
    let dropped = session.text(DROP_ALL).await;
    assert!(!dropped.contains("failed"), "{dropped}");
    assert_eq!(
        session
            .text("SELECT relkind FROM pg_class WHERE oid = 'named'::regclass")
            .await,
        "v"
    );
    session
        .run("DROP VIEW named; ALTER TABLE base DROP COLUMN gone; CREATE VIEW named AS SELECT *, 1 AS more FROM base")
        .await;
    let made = session.text(RECREATE_ALL).await;
    for name in ["z_below", "a_above", "named"] {
        assert!(
            made.contains(&format!("(public.{name},recreated,)")),
            "{made}"
        );
        session.assert_exact(name).await;
    }
    assert!(
        made.contains("(public.fits_not,failed,") && made.contains("gone"),
        "{made}"
    );
    assert_eq!(
        session.text("SELECT array_agg((mv_name, refresh_rate_in_sec, status) ORDER BY mv_name) FROM mvrefresh.materialized_views").await,
        r#"{"(a_above,3,ok)","(fits_not,2,dropped)","(named,4,ok)","(z_below,1,ok)"}"#
    );
    session
        .run("SELECT more FROM named; SELECT mvrefresh.drop_materialized_view('fits_not')")
        .await;
}

#[tokio::test]
async fn made_again_without_rows_a_view_is_not_taken_for_fresh() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run(
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT 1 AS x', 3600);
             SELECT * FROM mvrefresh.drop_all_materialized_views();
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT 1 AS x', with_data => false);",
        )
        .await;
    assert_eq!(
        session
            .text("SELECT mvrefresh.is_materialized_view_refreshed('mv')")
            .await,
        "false"
    );
    session
        .run("SELECT * FROM mvrefresh.refresh_all_materialized_views()")
        .await;
    session.assert_exact("mv").await;
    // its table dropped by hand
    session.run("DROP TABLE mv").await;
    assert_eq!(
        session
            .text("SELECT status FROM mvrefresh.materialized_views")
            .await,
        "dropped"
    );
    session
        .run("SELECT mvrefresh.recreate_materialized_view('mv')")
        .await;
    session.assert_exact("mv").await;
}

#[tokio::test]
async fn with_its_owner_a_view_changes_its_rights() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.base AS SELECT 1 AS x;
             SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT x, current_user::text AS who FROM alice.base')",
        )
        .await;
    let id: i32 = alice
        .value("SELECT mv_id FROM mvrefresh.materialized_views")
        .await;
    let mut admin = database.admin().await;
    admin.run("ALTER TABLE alice.mv OWNER TO bob").await;
    let mut daemon = database.session("refresher").await;
    let error = daemon.refresh_as_daemon(id).await.unwrap_err();
    assert_eq!(
        error.code, "42501",
        "bob may not read alice's tables: {error:?}"
    );
    admin
        .run("GRANT USAGE ON SCHEMA alice TO bob; GRANT SELECT ON alice.base TO bob")
        .await;
    daemon.refresh_as_daemon(id).await.unwrap();
    assert_eq!(admin.text("SELECT who FROM alice.mv").await, "bob");
    assert_eq!(
        alice
            .failure("SELECT mvrefresh.refresh_materialized_view('alice.mv')")
            .await
            .code,
        "42501"
    );
    let mut bob = database.session("bob").await;
    bob.run("SELECT mvrefresh.drop_materialized_view('alice.mv')")
        .await;
    assert_eq!(
        admin
            .text("SELECT count(*) FROM pg_class WHERE relname ~ '^view\\$'")
            .await,
        "0"
    );
}
