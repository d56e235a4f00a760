//! Nobody gets rights by a materialized view that they don't have. The daemon's role is no superuser here unless said.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session, TestServer, covered_majors};

/// A materialized view of mallory's over her function `trap`, not filled yet; its `mv_id`.
async fn trapped(mallory: &mut Session, body: &str) -> i32 {
    mallory
        .run(&format!(
            "CREATE TABLE IF NOT EXISTS mallory.seen (who text);
             CREATE OR REPLACE FUNCTION mallory.trap() RETURNS integer LANGUAGE plpgsql AS $trap$ {body} $trap$"
        ))
        .await;
    mallory
        .value(
            "SELECT mvrefresh.create_materialized_view('mallory.mv', 'SELECT mallory.trap() AS x', with_data => false)",
        )
        .await
}

#[tokio::test]
async fn a_query_runs_with_the_rights_of_the_owner_only() {
    for major in covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::with_ordinary_roles_on(server).await;
        let mut mallory = database.session("mallory").await;
        let mut daemon = database.session("refresher").await;
        let id = trapped(
            &mut mallory,
            "BEGIN INSERT INTO mallory.seen VALUES (current_user); RETURN 1; END",
        )
        .await;
        daemon.refresh_as_daemon(id).await.unwrap();
        mallory
            .run("SELECT * FROM mvrefresh.verify_materialized_view('mallory.mv')")
            .await;
        assert_eq!(
            mallory
                .values::<String>("SELECT DISTINCT who FROM mallory.seen")
                .await,
            ["mallory"]
        );
    }
}

#[tokio::test]
async fn a_query_can_not_climb_out_of_the_owners_rights() {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    let mut daemon = database.session("refresher").await;
    let id = trapped(&mut mallory, "BEGIN RETURN 1; END").await;
    for attempt in [
        "BEGIN RESET ROLE; RETURN 1; END",
        "BEGIN SET ROLE refresher; RETURN 1; END",
        "BEGIN SET LOCAL ROLE alice; RETURN 1; END",
        "BEGIN PERFORM set_config('role', 'none', true); RETURN 1; END",
        "BEGIN SET SESSION AUTHORIZATION DEFAULT; RETURN 1; END",
        "BEGIN RESET SESSION AUTHORIZATION; RETURN 1; END",
    ] {
        trapped_again(&mut mallory, attempt).await;
        let error = daemon.refresh_as_daemon(id).await.unwrap_err();
        assert_eq!(error.code, "42501", "{attempt}: {}", error.message);
    }
}

async fn trapped_again(mallory: &mut Session, body: &str) {
    mallory
        .run(&format!(
            "CREATE OR REPLACE FUNCTION mallory.trap() RETURNS integer LANGUAGE plpgsql AS $trap$ {body} $trap$"
        ))
        .await;
}

/// Operators in schema `bent` that note who runs them.
async fn bend_operators(mallory: &mut Session) {
    mallory
        .run(
            "CREATE SCHEMA mallory_bent;
             GRANT USAGE ON SCHEMA mallory_bent TO PUBLIC;
             CREATE TABLE mallory_bent.seen (who text);
             GRANT ALL ON mallory_bent.seen TO PUBLIC;
             CREATE FUNCTION mallory_bent.plus(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO mallory_bent.seen VALUES (current_user); RETURN 0; END $$;
             CREATE OPERATOR mallory_bent.+ (FUNCTION = mallory_bent.plus, LEFTARG = bigint, RIGHTARG = bigint);
             CREATE FUNCTION mallory_bent.more(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO mallory_bent.seen VALUES (current_user); RETURN false; END $$;
             CREATE OPERATOR mallory_bent.> (FUNCTION = mallory_bent.more, LEFTARG = bigint, RIGHTARG = bigint);
             CREATE FUNCTION mallory_bent.elapsed_ms(timestamptz) RETURNS double precision LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO mallory_bent.seen VALUES (current_user); RETURN 0; END $$;",
        )
        .await;
}

#[tokio::test]
async fn a_search_path_set_by_a_query_bends_nobodys_operators() {
    let database = Database::with_ordinary_roles().await;
    database
        .server
        .execute("GRANT CREATE ON DATABASE postgres TO mallory")
        .await;
    let mut mallory = database.session("mallory").await;
    bend_operators(&mut mallory).await;
    let id = trapped(&mut mallory, "BEGIN RETURN 1; END").await;
    let session =
        "PERFORM set_config('search_path', 'mallory_bent, pg_catalog, mvrefresh, pg_temp', false);";
    for attempt in [
        session.to_owned(),
        session.replace("false", "true"),
        // hidden again behind what is expected at one place or the other
        format!("{session} SET LOCAL search_path TO pg_catalog, pg_temp;"),
        format!("{session} SET LOCAL search_path TO mvrefresh, pg_temp;"),
        format!("{session} PERFORM set_config('search_path', 'mvrefresh, pg_temp', true);"),
    ] {
        trapped_again(&mut mallory, &format!("BEGIN {attempt} RETURN 1; END")).await;
        let mut daemon = database.session("refresher").await;
        let error = daemon.refresh_as_daemon(id).await.unwrap_err();
        assert_eq!(error.code, "42501", "{attempt}: {}", error.message);

        // an administrator's psql and cron line
        let mut admin = database.admin().await;
        admin
            .failure("SELECT mvrefresh.refresh_materialized_view('mallory.mv')")
            .await;
        admin
            .failure("SELECT * FROM mvrefresh.verify_materialized_view('mallory.mv')")
            .await;
        let outcome: String = admin
            .value("SELECT outcome FROM mvrefresh.refresh_all_materialized_views(true)")
            .await;
        assert_eq!(outcome, "failed");
        assert_eq!(
            admin.value::<String>("SHOW search_path").await,
            "\"$user\", public"
        );
        assert_eq!(
            admin
                .values::<String>("SELECT who FROM mallory_bent.seen WHERE who <> 'mallory'")
                .await,
            Vec::<String>::new(),
            "{attempt}"
        );
    }
}

#[tokio::test]
async fn index_hooks_bend_nothing_either() {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    trapped(&mut mallory, "BEGIN RETURN 1; END").await;
    mallory
        .run(
            "CREATE FUNCTION mallory.MtCreateMvIndexes() RETURNS void LANGUAGE sql AS
                 $$ SELECT set_config('search_path', 'mallory, pg_catalog', false) $$",
        )
        .await;
    let mut admin = database.admin().await;
    admin
        .failure("SELECT mvrefresh.CreateAllMaterializedViewsiIndexes()")
        .await;
    assert_eq!(
        admin.value::<String>("SHOW search_path").await,
        "\"$user\", public"
    );
}

#[tokio::test]
async fn work_left_for_the_commit_is_refused() {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    mallory
        .run(
            "CREATE TABLE mallory.later (x int);
             CREATE TABLE mallory.seen (who text);
             CREATE FUNCTION mallory.at_commit() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO mallory.seen VALUES (current_user); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER later AFTER INSERT ON mallory.later DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION mallory.at_commit();",
        )
        .await;
    let id = trapped(
        &mut mallory,
        "BEGIN INSERT INTO mallory.later VALUES (1); RETURN 1; END",
    )
    .await;
    let harmless: i32 = mallory
        .value("SELECT mvrefresh.create_materialized_view('mallory.harmless', 'SELECT 1 AS x')")
        .await;
    let mut daemon = database.session("refresher").await;
    let error = daemon.refresh_as_daemon(id).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message.contains("trigger")),
        ("42501", true),
        "{error:?}"
    );
    // what that one wrote is not held against the next on the same connection
    daemon.refresh_as_daemon(harmless).await.unwrap();

    trapped_again(
        &mut mallory,
        "BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT mallory.note()'; RETURN 1; END",
    )
    .await;
    mallory
        .run(
            "CREATE FUNCTION mallory.note() RETURNS integer LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO mallory.seen VALUES (current_user); RETURN 1; END $$",
        )
        .await;
    let error = daemon.refresh_as_daemon(id).await.unwrap_err();
    assert_eq!(error.code, "42501", "{}", error.message);
    assert_eq!(
        mallory
            .values::<String>("SELECT who FROM mallory.seen")
            .await,
        Vec::<String>::new()
    );

    // a user's own deferred work in the same transaction is nobody's business
    mallory
        .run(
            "BEGIN; INSERT INTO mallory.later VALUES (2);
             SELECT mvrefresh.refresh_materialized_view('mallory.harmless'); COMMIT;",
        )
        .await;
    assert_eq!(
        mallory
            .values::<String>("SELECT who FROM mallory.seen")
            .await,
        ["mallory"]
    );
}

#[tokio::test]
async fn an_owner_can_not_turn_the_refresh_function_against_the_daemon() {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    let mut daemon = database.session("refresher").await;
    let id = trapped(
        &mut mallory,
        "BEGIN INSERT INTO mallory.seen VALUES (current_user); RETURN 1; END",
    )
    .await;
    daemon.refresh_as_daemon(id).await.unwrap();
    let function = format!("mvrefresh.\"complete_in_place${id}\"()");
    for alteration in [
        format!("ALTER FUNCTION {function} SECURITY INVOKER"),
        format!("ALTER FUNCTION {function} SET search_path TO mallory"),
        format!("ALTER FUNCTION {function} RESET ALL"),
        format!("ALTER FUNCTION {function} SET SCHEMA mallory"),
        format!("DROP FUNCTION {function}"),
    ] {
        mallory.run(&alteration).await;
        daemon
            .refresh_as_daemon(id)
            .await
            .unwrap_or_else(|error| panic!("{alteration}: {error:?}"));
        let (definer, settings): (bool, String) = {
            let row = &mallory
                .rows(&format!("SELECT prosecdef, proconfig::text FROM pg_proc WHERE oid = '{function}'::regprocedure"))
                .await[0];
            (sqlx::Row::get(row, 0), sqlx::Row::get(row, 1))
        };
        assert!(
            definer && settings.contains("search_path=pg_catalog, pg_temp"),
            "{alteration}: {settings}"
        );
    }
    let body =
        format!("CREATE OR REPLACE FUNCTION {function} RETURNS int LANGUAGE sql AS 'SELECT 1'");
    assert_eq!(mallory.failure(&body).await.code, "42501");
    assert_eq!(
        mallory
            .values::<String>("SELECT DISTINCT who FROM mallory.seen")
            .await,
        ["mallory"]
    );
}

#[tokio::test]
async fn nobody_calls_what_is_for_the_daemon() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    let id: i32 = alice
        .value("SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT 1 AS x')")
        .await;
    let mut mallory = database.session("mallory").await;
    for call in [
        format!("SELECT mvrefresh.perform_refresh({id}, 'sql')"),
        "SELECT mvrefresh.perform_group_refresh('g', 'sql')".to_owned(),
        format!("SELECT mvrefresh.record_failure({id}, 'sql', now(), 'x', 'x')"),
        format!("SELECT mvrefresh.perform_permitted_refresh({id}, 'sql', NULL)"),
        format!("SELECT mvrefresh.perform_permitted_verify({id}, 1)"),
        format!("SELECT mvrefresh.record_permitted_failure({id}, 'sql', now(), 'x', 'x')"),
        format!("SELECT mvrefresh.fill_permitted({id})"),
        format!("SELECT mvrefresh.keep_settings({id})"),
        format!("SELECT mvrefresh.put_back({id}, 'alice.mv', 'alice.mv', 'user')"),
        format!("SELECT * FROM mvrefresh.\"complete_in_place${id}\"()"),
        format!("INSERT INTO mvrefresh.refresh_permits (mv_id) VALUES ({id})"),
        format!(
            "UPDATE mvrefresh.materialized_view_state SET last_refresh = now() WHERE mv_id = {id}"
        ),
        "SELECT mvrefresh.grant_privileges()".to_owned(),
        "SELECT mvrefresh.refresh_materialized_view('alice.mv')".to_owned(),
        "SELECT * FROM mvrefresh.verify_materialized_view('alice.mv')".to_owned(),
        "SELECT mvrefresh.drop_materialized_view('alice.mv')".to_owned(),
        "SELECT mvrefresh.recreate_materialized_view('alice.mv')".to_owned(),
        "SELECT mvrefresh.update_materialized_view_refresh_rate('alice.mv', 1)".to_owned(),
        "SELECT mvrefresh.request_refresh('alice.mv')".to_owned(),
        "UPDATE mvrefresh.materialized_views SET enabled = false".to_owned(),
    ] {
        assert_eq!(mallory.failure(&call).await.code, "42501", "{call}");
    }
    mallory
        .run("DELETE FROM mvrefresh.materialized_view_settings")
        .await;
    mallory
        .run("SELECT * FROM mvrefresh.drop_all_materialized_views(false)")
        .await;
    alice.assert_exact("alice.mv").await;
}
