//! Installing is repeatable, careful with what isn't ours, and undone without a trace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::borrow::Cow;

use common::{Database, Session, TestServer, install_as};
use mvrefreshd::dictionary::installation::{self, CheckRow, InstallError};
use mvrefreshd::sql::ModuleSchema;
use sqlx::migrate::{Migration, MigrationType, Migrator};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

fn mvrefresh() -> ModuleSchema {
    ModuleSchema::new("mvrefresh")
}

async fn session(server: &TestServer, role: &str) -> Session {
    Session {
        connection: server.connect_as(role).await,
    }
}

async fn problems(session: &mut Session) -> Vec<CheckRow> {
    installation::self_check(&mut session.connection, &mvrefresh())
        .await
        .unwrap()
        .into_iter()
        .filter(|row| row.status != "fine")
        .collect()
}

#[tokio::test]
async fn installing_again_changes_nothing() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let objects =
        "SELECT md5(string_agg(concat_ws(' ', oid, xmin, proacl), ',' ORDER BY oid)) FROM pg_proc";
    let before = admin.text(objects).await;
    let installed = install_as(&database.server, "postgres", &mvrefresh()).await;
    assert_eq!(
        (installed.from, installed.to),
        (installation::known_version(), installation::known_version())
    );
    assert_eq!(installed.for_administrator, Vec::<String>::new());
    assert_eq!(admin.text(objects).await, before);
    assert_eq!(problems(&mut admin).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_at_once_make_one_installation() {
    let server = std::sync::Arc::new(TestServer::start().await);
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let server = server.clone();
        tasks.push(tokio::spawn(async move {
            install_as(&server, "postgres", &mvrefresh()).await.from
        }));
    }
    let mut from = Vec::new();
    for task in tasks {
        from.push(task.await.unwrap());
    }
    assert_eq!(
        from.iter().filter(|from| **from == 0).count(),
        1,
        "{from:?}"
    );
    assert_eq!(problems(&mut session(&server, "postgres").await).await, []);
}

#[tokio::test]
async fn roles_that_the_installer_may_not_create_are_left_to_an_administrator() {
    let server = TestServer::start().await;
    server.create_role("refresher", "").await;
    let mut connection = server.connect_as("refresher").await;
    let error = installation::install(&mut connection, &mvrefresh())
        .await
        .unwrap_err();
    drop(connection);
    assert!(
        matches!(error, InstallError::MayNotCreate { .. }),
        "{error}"
    );
    let grant = error.to_string();
    server
        .execute(grant.split("as an administrator: ").nth(1).unwrap())
        .await;

    let installed = install_as(&server, "refresher", &mvrefresh()).await;
    assert_eq!(installed.for_administrator.len(), 3, "{installed:?}");
    let mut refresher = session(&server, "refresher").await;
    let missing = problems(&mut refresher).await;
    assert_eq!(missing.len(), 3);
    assert!(
        missing
            .iter()
            .all(|row| row.object_kind == "role" && row.status == "missing"),
        "{missing:?}"
    );
    server.execute(&installed.for_administrator.join("")).await;
    install_as(&server, "refresher", &mvrefresh()).await;
    assert_eq!(problems(&mut refresher).await, []);
    server
        .create_role("user", "IN ROLE mvrefresh_execute")
        .await;
    let mut user = session(&server, "user").await;
    user.run("SELECT * FROM mvrefresh.refresh_all_materialized_views(); TABLE mvrefresh.materialized_views").await;
    server.create_role("reader", "IN ROLE mvrefresh_view").await;
    let mut reader = session(&server, "reader").await;
    reader
        .run("TABLE mvrefresh.materialized_views; TABLE mvrefresh.refresh_history")
        .await;
    assert_eq!(
        reader
            .failure("SELECT mvrefresh.refresh_all_materialized_views()")
            .await
            .code,
        "42501"
    );
}

#[tokio::test]
async fn somebody_elses_schema_is_neither_taken_nor_dropped() {
    let server = TestServer::start().await;
    let mut admin = session(&server, "postgres").await;
    for contents in [
        "CREATE TABLE mvrefresh.t (x int)",
        "CREATE FUNCTION mvrefresh.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        // another program that keeps its migrations by sqlx
        "CREATE TABLE mvrefresh._sqlx_migrations (version bigint PRIMARY KEY); CREATE TABLE mvrefresh.t (x int);
         INSERT INTO mvrefresh._sqlx_migrations VALUES (20230101000000)",
        "CREATE TABLE mvrefresh._sqlx_migrations (version bigint PRIMARY KEY); INSERT INTO mvrefresh._sqlx_migrations VALUES (1)",
    ] {
        admin.run(&format!("DROP SCHEMA IF EXISTS mvrefresh CASCADE; CREATE SCHEMA mvrefresh; {contents}")).await;
        let objects = "SELECT count(*) FROM pg_depend WHERE refobjid = 'mvrefresh'::regnamespace";
        let before = admin.text(objects).await;
        let mut connection = server.connect().await;
        let error = installation::install(&mut connection, &mvrefresh()).await.unwrap_err();
        drop(connection);
        assert!(matches!(error, InstallError::Foreign { .. }), "{contents}: {error}");
        let mut connection = server.connect().await;
        let error = installation::uninstall(&mut connection, &mvrefresh()).await.unwrap_err();
        drop(connection);
        assert!(matches!(error, InstallError::Foreign { .. }), "{contents}: {error}");
        assert_eq!(admin.text(objects).await, before);
    }
    // an empty one, made by an administrator for this purpose, is welcome
    admin
        .run("DROP SCHEMA mvrefresh CASCADE; CREATE SCHEMA mvrefresh")
        .await;
    install_as(&server, "postgres", &mvrefresh()).await;
}

#[tokio::test]
async fn another_roles_installation_is_used_but_not_changed() {
    let database = Database::with_ordinary_roles().await;
    database.server.create_role("other", "").await;
    database
        .server
        .execute("GRANT mvrefresh_view TO other")
        .await;
    let installed = install_as(&database.server, "other", &mvrefresh()).await;
    assert_eq!(installed.from, installation::known_version());
    let mut connection = database.server.connect_as("other").await;
    let error = installation::uninstall(&mut connection, &mvrefresh())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, InstallError::OtherOwner { owner, .. } if owner == "refresher"),
        "{error}"
    );
}

#[tokio::test]
async fn an_upgrade_keeps_views_rates_and_rows_and_an_older_program_refuses_it() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run("SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT 1 AS x', 77, complete_form => 'rebuild')")
        .await;
    let next = installation::known_version() + 1;
    let mut migrations: Vec<Migration> = MIGRATIONS.iter().cloned().collect();
    migrations.push(Migration::new(
        next,
        Cow::Borrowed("new"),
        MigrationType::Simple,
        sqlx::SqlStr::from_static(
            "ALTER TABLE materialized_view_settings ADD COLUMN new_setting integer DEFAULT 5",
        ),
        false,
    ));
    let newer = Migrator::with_migrations(migrations);
    let mut connection = database.server.connect_as("refresher").await;
    let installed = installation::install_migrations(&mut connection, &mvrefresh(), &newer)
        .await
        .unwrap();
    drop(connection);
    assert_eq!((installed.from, installed.to), (next - 1, next));
    assert_eq!(
        alice.text("SELECT (refresh_rate_in_sec, complete_form, status) FROM mvrefresh.materialized_views").await,
        "(77,rebuild,ok)"
    );
    alice
        .run("SELECT mvrefresh.refresh_materialized_view('alice.mv')")
        .await;
    alice.assert_exact("alice.mv").await;
    assert_eq!(problems(&mut database.session("refresher").await).await, []);

    let mut connection = database.server.connect_as("refresher").await;
    let error = installation::install(&mut connection, &mvrefresh())
        .await
        .unwrap_err();
    assert!(
        matches!(error, InstallError::Newer { installed, .. } if installed == next),
        "{error}"
    );
    assert!(
        installation::require(&mut connection, &mvrefresh())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_self_check_names_what_is_damaged() {
    for (damage, object, status) in [
        (
            "DROP FUNCTION mvrefresh.prune_history(interval, integer)",
            "prune_history(p_keep interval, p_limit integer)",
            "missing",
        ),
        (
            "ALTER FUNCTION mvrefresh.log_table(integer) RESET ALL",
            "log_table(p_log_id integer)",
            "changed",
        ),
        (
            "DROP TRIGGER check_settings ON mvrefresh.materialized_view_settings",
            "check_settings on materialized_view_settings",
            "missing",
        ),
        (
            "ALTER TABLE mvrefresh.materialized_view_settings DISABLE TRIGGER take_in",
            "take_in on materialized_view_settings",
            "changed",
        ),
        (
            "DROP POLICY owner_updates ON mvrefresh.materialized_view_settings",
            "owner_updates on materialized_view_settings",
            "missing",
        ),
        (
            "ALTER TABLE mvrefresh.refresh_permits DISABLE ROW LEVEL SECURITY",
            "refresh_permits",
            "changed",
        ),
        (
            "DROP INDEX mvrefresh.refresh_history_mv_id",
            "refresh_history_mv_id",
            "missing",
        ),
        ("CREATE TABLE mvrefresh.stray (x int)", "stray", "unknown"),
        (
            "DROP TABLE mv",
            "public.mv",
            "materialized view \"public\".\"mv\" has been dropped by hand",
        ),
        (
            "CREATE OR REPLACE VIEW v AS SELECT 1 AS x, 2 AS y",
            "public.mv",
            "column \"y\" of the defining view is not in the materialized view",
        ),
    ] {
        let database = Database::installed().await;
        let mut admin = database.admin().await;
        admin.run("CREATE VIEW v AS SELECT 1 AS x; SELECT mvrefresh.create_materialized_view('mv', view_name => 'v')").await;
        assert_eq!(problems(&mut admin).await, []);
        admin.run(damage).await;
        let found = problems(&mut admin).await;
        assert!(
            found.iter().any(|row| row.object_name == object
                && row.status == status
                && row.remedy.is_some()),
            "{damage}: {found:?}"
        );
    }
}

#[tokio::test]
async fn uninstalling_leaves_nothing_but_the_views_as_plain_tables() {
    let catalog = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
            SELECT concat_ws(' ', 'relation', oid::regclass, relkind) AS line FROM pg_class WHERE oid >= 16384 AND relkind <> 't' AND relnamespace <> 'pg_toast'::regnamespace
            UNION ALL SELECT concat_ws(' ', 'function', oid::regprocedure) FROM pg_proc WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', 'role', rolname) FROM pg_roles
            UNION ALL SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_toast|^pg_temp'
            UNION ALL SELECT concat_ws(' ', 'type', oid::regtype) FROM pg_type WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', 'trigger', tgname) FROM pg_trigger WHERE oid >= 16384
            UNION ALL SELECT concat_ws(' ', 'member', roleid::regrole, member::regrole) FROM pg_auth_members
            UNION ALL SELECT concat_ws(' ', 'shared', classid::regclass, refclassid::regclass, deptype, count(*)) FROM pg_shdepend WHERE dbid <> 0 GROUP BY classid, refclassid, deptype
        ) AS lines";
    let server = TestServer::start().await;
    let mut admin = session(&server, "postgres").await;
    server.create_role("alice", "SUPERUSER").await;
    admin.run("CREATE TABLE base AS SELECT g AS x FROM generate_series(1, 5) g; CREATE VIEW v AS SELECT * FROM base; CREATE TABLE m1 AS TABLE v; CREATE TABLE m2 AS TABLE base; CREATE UNIQUE INDEX u ON m2 (x); GRANT SELECT ON m1 TO PUBLIC; ALTER TABLE m2 OWNER TO alice; ALTER TABLE m1 OWNER TO alice; ALTER VIEW v OWNER TO alice").await;
    let before = admin.text(catalog).await;
    admin.run("DROP TABLE m1, m2").await;

    install_as(&server, "postgres", &mvrefresh()).await;
    let mut alice = session(&server, "alice").await;
    alice
        .run(
            "SELECT mvrefresh.CreateMaterializedView('m1', 'v', 5);
             SELECT mvrefresh.create_materialized_view('m2', 'SELECT * FROM base', 5);
             CREATE UNIQUE INDEX u ON m2 (x);
             SELECT * FROM mvrefresh.refresh_all_materialized_views(true);",
        )
        .await;
    drop(alice);
    let mut connection = server.connect().await;
    let kept = installation::uninstall(&mut connection, &mvrefresh())
        .await
        .unwrap();
    drop(connection);
    assert_eq!(kept, Vec::<String>::new());
    assert_eq!(admin.text(catalog).await, before);
    assert_eq!(admin.text("SELECT count(*) FROM m2").await, "5");

    // a role that something else uses stays, and is named
    install_as(&server, "postgres", &mvrefresh()).await;
    admin.run("GRANT SELECT ON base TO mvrefresh_view").await;
    let mut connection = server.connect().await;
    let kept = installation::uninstall(&mut connection, &mvrefresh())
        .await
        .unwrap();
    assert_eq!(kept, ["mvrefresh_view"]);
}
