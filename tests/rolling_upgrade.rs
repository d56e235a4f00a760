//! Many daemons: one that dies is missed by nobody, and programs of different versions follow each other without harm.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::borrow::Cow;

use common::{
    Daemon, GATED_QUERY, Gate, Signal, TestServer, count, execute, get, holds, install,
    never_overlapping, refreshed, run, spawn, until, url_of,
};
use mvrefreshd::dictionary::installation::{self, InstallError, Installed};
use mvrefreshd::sql::ModuleSchema;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

const NO_LOCK_TIMEOUT: (&str, &str) = ("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0");

/// A view that is refreshed each second, and the module.
async fn shop() -> TestServer {
    let server = TestServer::start().await;
    install(&server).await;
    server
        .execute(
            "CREATE TABLE base (n integer NOT NULL); INSERT INTO base SELECT generate_series(1, 100);
             SELECT mvrefresh.create_materialized_view('v', 'SELECT sum(n) FROM base', 1, refresh_method => 'complete')",
        )
        .await;
    server
}

/// What a newer program does when it starts: its migrations are ours and one more.
async fn upgrade(server: &TestServer, migration: &'static str) -> Result<Installed, InstallError> {
    let mut migrations: Vec<Migration> = MIGRATIONS.iter().cloned().collect();
    migrations.push(Migration::new(
        installation::known_version() + 1,
        Cow::Borrowed("of the next version"),
        MigrationType::Simple,
        sqlx::SqlStr::from_static(migration),
        false,
    ));
    let mut connection = server.connect().await;
    let schema = ModuleSchema::new("mvrefresh");
    installation::install_migrations(
        &mut connection,
        &schema,
        &Migrator::with_migrations(migrations),
    )
    .await
}

/// The way back, by hand.
async fn take_back(sql: &mut PgConnection, statements: &str) {
    let forget = format!(
        "BEGIN; {statements}; DELETE FROM mvrefresh._sqlx_migrations WHERE version > {}; COMMIT",
        installation::known_version()
    );
    execute(sql, &forget).await;
}

const REFRESHES: &str =
    "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'succeeded'";
const TROUBLE: &str = "SELECT count(*) FROM mvrefresh.materialized_views WHERE status NOT IN ('ok', 'empty') OR failures > 0";

/// A function that an old daemon calls is not what it was: its arguments are others.
const INCOMPATIBLE: &str = "ALTER FUNCTION perform_refresh RENAME TO perform_refresh_anew";
const COMPATIBLE_AGAIN: &str =
    "ALTER FUNCTION mvrefresh.perform_refresh_anew RENAME TO perform_refresh";

#[tokio::test]
async fn when_one_daemon_is_killed_the_others_take_up_what_it_was_at() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', 1, with_data => false, refresh_method => 'complete')"
    );
    execute(&mut sql, &create).await;
    let mut first = spawn(&server, &[NO_LOCK_TIMEOUT]);
    gate.until_waiting(1).await;
    let waiting = "SELECT pid::int8 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted";
    let of_first = count(&mut sql, waiting).await;
    let mut second = spawn(&server, &[NO_LOCK_TIMEOUT]);
    second.wait_for_line("status=\"refreshed\"").await;
    // the first is at it still, and the second has not joined in
    gate.until_waiting(1).await;

    first.signal(Signal::Kill).await;
    first.wait_for_exit().await;
    let taken_up = format!(
        "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted AND pid <> {of_first}"
    );
    until(&mut sql, &taken_up).await;
    gate.open().await;
    until(&mut sql, &refreshed("gated", 2)).await;
    let before = count(&mut sql, REFRESHES).await;
    until(&mut sql, &format!("({REFRESHES}) >= {}", before + 4)).await;
    never_overlapping(&mut sql).await;
    assert_eq!(count(&mut sql, TROUBLE).await, 0);
}

#[tokio::test]
async fn when_the_schema_is_upgraded_daemons_of_the_old_version_finish_and_step_aside() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', 3600, with_data => false, refresh_method => 'complete')"
    );
    execute(&mut sql, &create).await;
    let slow = ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "1h");
    let http = ("MVREFRESHD_HTTP__LISTEN", "127.0.0.1:0");
    let mut daemon = spawn(
        &server,
        &[
            NO_LOCK_TIMEOUT,
            slow,
            http,
            ("MVREFRESHD_HTTP__CACHE", "0.1s"),
        ],
    );
    let mut other = spawn(&server, &[NO_LOCK_TIMEOUT, slow]);
    let address = url_of(&mut daemon).await;
    for daemon in [&mut daemon, &mut other] {
        daemon.wait_for_line("the dictionary has been read").await;
    }
    gate.until_waiting(1).await;
    until(&mut sql, &refreshed("v", 2)).await;

    // the upgrade tells them, and does not wait for the refresh that is running, as it changes nothing that one holds
    let installed = upgrade(&server, INCOMPATIBLE).await.unwrap();
    assert_eq!(installed.to, installation::known_version() + 1);
    for daemon in [&mut daemon, &mut other] {
        let line = daemon.wait_for_line("stepping aside").await;
        assert!(
            line.contains(&format!("installed={}", installed.to)),
            "{line}"
        );
    }
    let ready = get(&address, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready.body.contains("use a newer mvrefreshd"),
        "{}",
        ready.body
    );
    assert_eq!(get(&address, "/healthz").await.status, 200);
    // what was running ends as it should, and nothing more is begun though `v` is due each second
    gate.open().await;
    until(&mut sql, &refreshed("gated", 1)).await;
    let before = count(&mut sql, REFRESHES).await;
    execute(&mut sql, "SELECT pg_sleep(3)").await;
    assert_eq!(count(&mut sql, REFRESHES).await, before);
    assert_eq!(count(&mut sql, TROUBLE).await, 0);

    // an old program that starts now says so and ends
    let late = run(&["run", "--database-url", &server.url()], &[]).await;
    assert_eq!(late.code, Some(78), "{}", late.stderr);
    assert!(
        late.stderr.contains("use a newer mvrefreshd"),
        "{}",
        late.stderr
    );

    other.signal(Signal::Terminate).await;
    assert_eq!(other.wait_for_exit().await.code(), Some(0));
    // should the upgrade be taken back, the one that is still there goes on by itself
    take_back(&mut sql, COMPATIBLE_AGAIN).await;
    until(&mut sql, &format!("({REFRESHES}) >= {}", before + 2)).await;
    never_overlapping(&mut sql).await;
}

#[tokio::test]
async fn a_refresh_that_fails_because_the_schema_was_upgraded_is_no_failure_of_its_view() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let slow = ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "1h");
    let mut daemon = spawn(&server, &[slow]);
    until(&mut sql, &refreshed("v", 2)).await;
    // nobody tells the daemon, so its next refresh finds out
    let unnoticed = format!(
        "BEGIN; ALTER FUNCTION mvrefresh.perform_refresh RENAME TO perform_refresh_anew;
         INSERT INTO mvrefresh._sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES ({}, 'of the next version', true, '', 0); COMMIT",
        installation::known_version() + 1
    );
    execute(&mut sql, &unnoticed).await;
    daemon.wait_for_line("stepping aside").await;
    assert_eq!(count(&mut sql, TROUBLE).await, 0);
    let failed = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'failed'";
    assert_eq!(count(&mut sql, failed).await, 0);
    take_back(&mut sql, COMPATIBLE_AGAIN).await;
    let before = count(&mut sql, REFRESHES).await;
    until(&mut sql, &format!("({REFRESHES}) >= {}", before + 2)).await;
}

#[tokio::test]
async fn a_newer_program_told_not_to_install_waits_while_the_older_ones_go_on() {
    let server = shop().await;
    let mut sql = server.connect().await;
    // to the program under test this is an older schema: its last migration has not been noted
    let _old = spawn(&server, &[]);
    until(&mut sql, &refreshed("v", 1)).await;
    let last = "(SELECT max(version) FROM mvrefresh._sqlx_migrations)";
    execute(&mut sql, &format!("CREATE TABLE kept AS SELECT * FROM mvrefresh._sqlx_migrations WHERE version = {last}; DELETE FROM mvrefresh._sqlx_migrations WHERE version = {last}")).await;
    let url = server.url();
    let mut new = Daemon::spawn(&["run", "--no-install", "--database-url", &url], &[]);
    let line = new.wait_for_line("the database is not ready").await;
    assert!(line.contains("run mvrefreshd install"), "{line}");
    execute(
        &mut sql,
        "INSERT INTO mvrefresh._sqlx_migrations SELECT * FROM kept",
    )
    .await;
    new.wait_for_line("the dictionary has been read").await;
}

#[tokio::test]
async fn an_upgrade_gives_way_to_a_long_refresh_instead_of_holding_everybody_up() {
    let server = shop().await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', 3600, with_data => false, refresh_method => 'complete')"
    );
    execute(&mut sql, &create).await;
    let daemon = spawn(&server, &[NO_LOCK_TIMEOUT]);
    gate.until_waiting(1).await;
    let alter = "ALTER TABLE materialized_view_settings ADD COLUMN of_the_next_version integer";
    let error = upgrade(&server, alter).await.unwrap_err();
    assert!(matches!(error, InstallError::Busy { .. }), "{error}");
    // nothing of it has stayed, and the old daemon does its work
    let before = count(&mut sql, REFRESHES).await;
    until(&mut sql, &format!("({REFRESHES}) >= {}", before + 2)).await;
    let version = "SELECT max(version) FROM mvrefresh._sqlx_migrations";
    assert_eq!(
        count(&mut sql, version).await,
        installation::known_version()
    );
    gate.open().await;
    until(&mut sql, &refreshed("gated", 1)).await;
    upgrade(&server, alter).await.unwrap();
    assert!(
        holds(
            &mut sql,
            &format!("({version}) > {}", installation::known_version())
        )
        .await
    );
    drop(daemon);
    sql.close().await.unwrap();
}
