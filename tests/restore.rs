//! Backups that are restored: by `pg_dump` and `pg_restore`, into another cluster or the same. Watermarks of before mean
//! nothing there: that is noticed, every view is refreshed completely once, and fast again from then on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{AGED, CHANGES, Shop, TestServer, count, execute, options, tool};
use mvrefreshd::scratch::Cluster;
use sqlx::{Connection, PgConnection};

/// Restores a dump as administrators do; the URL of the new database.
async fn restored(dump: &str, source: &TestServer, target: &TestServer, database: &str) -> String {
    if !std::ptr::eq(source, target) {
        let globals = tempfile::NamedTempFile::new().unwrap();
        let path = globals.path().to_str().unwrap();
        let all = tool("pg_dumpall", &["--globals-only", "--dbname", &source.url()]);
        let others = all.replace("CREATE ROLE postgres;", "");
        std::fs::write(globals.path(), others).unwrap();
        tool(
            "psql",
            &[
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                "--dbname",
                &target.url(),
                "--file",
                path,
            ],
        );
    }
    target.create_database(database).await;
    let url = target.url_of(database);
    tool("pg_restore", &["--exit-on-error", "--dbname", &url, dump]);
    url
}

#[tokio::test]
async fn restored_into_a_younger_cluster_no_watermark_is_trusted_and_all_become_fast_again() {
    let source = Shop::busy(options()).await;
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("dump");
    let dump = dump.to_str().unwrap();
    tool(
        "pg_dump",
        &["--format=custom", "--file", dump, "--dbname", &source.url()],
    );
    let target = TestServer::start().await;
    let url = restored(dump, &source, &target, "restored").await;
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let ids = "SELECT (SELECT min(xid)::text::bigint FROM mvrefresh.log$1) - pg_current_xact_id()::text::bigint";
    assert!(count(&mut sql, ids).await > 10_000, "not a younger cluster");
    let before = Shop::latest(&mut sql).await;
    // changes before any daemon has seen it, when the triggers are there already
    execute(&mut sql, CHANGES).await;
    let daemon = Shop::daemon(&url);
    Shop::until_exact(&mut sql).await;
    Shop::assert_first_complete(&mut sql, before, "restored|compiled").await;
    Shop::until_fast_and_exact(&mut sql).await;
    Shop::until_fast_and_exact(&mut sql).await;
    // and what was restored of the logs is gone
    let foreign = "SELECT (SELECT count(*) FROM mvrefresh.log$1 WHERE xid > pg_current_xact_id())
        + (SELECT count(*) FROM mvrefresh.materialized_view_logs WHERE pruned_below > pg_current_xact_id() OR created_xid > pg_current_xact_id())";
    assert_eq!(count(&mut sql, foreign).await, 0);
    Shop::stop(daemon).await;
}

#[tokio::test]
async fn restored_into_another_database_of_the_same_cluster_no_watermark_is_trusted() {
    let source = Shop::busy(options()).await;
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("dump");
    let dump = dump.to_str().unwrap();
    tool(
        "pg_dump",
        &["--format=custom", "--file", dump, "--dbname", &source.url()],
    );
    let url = restored(dump, &source, &source, "restored").await;
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let before = Shop::latest(&mut sql).await;
    let daemon = Shop::daemon(&url);
    Shop::until_exact(&mut sql).await;
    Shop::assert_first_complete(&mut sql, before, "restored|compiled").await;
    Shop::until_fast_and_exact(&mut sql).await;
    Shop::stop(daemon).await;
    // the original goes on as if nothing had been
    let mut sql = source.connect().await;
    let before = Shop::latest(&mut sql).await;
    let daemon = Shop::daemon(&source.url());
    Shop::until_exact(&mut sql).await;
    let complete = format!(
        "SELECT count(*) FROM mvrefresh.refresh_history WHERE refresh_id > {before} AND method = 'complete'"
    );
    assert_eq!(count(&mut sql, &complete).await, 0);
    Shop::stop(daemon).await;
}

#[tokio::test]
async fn restored_into_a_clone_that_is_behind_no_watermark_is_trusted_though_the_cluster_is_called_the_same()
 {
    let source = Shop::busy(options()).await;
    if source.installation().program("pg_basebackup").is_err() {
        eprintln!("not tested: there is no pg_basebackup here");
        return;
    }
    let clone = Cluster::standby_of(&source).unwrap();
    clone.promote().unwrap();
    let mut sql = source.connect().await;
    execute(&mut sql, AGED).await;
    let daemon = Shop::daemon(&source.url());
    Shop::until_fast_and_exact(&mut sql).await;
    Shop::stop(daemon).await;
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("dump");
    let dump = dump.to_str().unwrap();
    tool(
        "pg_dump",
        &["--format=custom", "--file", dump, "--dbname", &source.url()],
    );
    let mut admin = PgConnection::connect(&clone.url("postgres")).await.unwrap();
    execute(&mut admin, "CREATE DATABASE restored").await;
    let url = clone.url("restored");
    tool("pg_restore", &["--exit-on-error", "--dbname", &url, dump]);
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let future = "SELECT count(*) FROM mvrefresh.materialized_view_state
        WHERE pg_snapshot_xmin(last_snapshot) > pg_current_xact_id() AND system_identifier = (SELECT system_identifier FROM pg_control_system())";
    assert_eq!(count(&mut sql, future).await, 5);
    let before = Shop::latest(&mut sql).await;
    execute(&mut sql, CHANGES).await;
    // and when a daemon comes, its transaction ids have passed all watermarks
    execute(&mut sql, AGED).await;
    execute(&mut sql, AGED).await;
    let daemon = Shop::daemon(&url);
    Shop::until_exact(&mut sql).await;
    Shop::assert_first_complete(&mut sql, before, "restored|compiled").await;
    Shop::until_fast_and_exact(&mut sql).await;
    Shop::stop(daemon).await;
}

#[tokio::test]
async fn one_table_restored_past_its_triggers_is_noticed() {
    let server = Shop::busy(options()).await;
    let mut sql = server.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("dump");
    let dump = dump.to_str().unwrap();
    tool(
        "pg_dump",
        &[
            "--format=custom",
            "--table=public.sale",
            "--file",
            dump,
            "--dbname",
            &server.url(),
        ],
    );
    let daemon = Shop::daemon(&server.url());
    Shop::until_fast_and_exact(&mut sql).await;
    execute(&mut sql, "DELETE FROM sale WHERE id % 3 = 0").await;
    Shop::until_exact(&mut sql).await;
    execute(
        &mut sql,
        "BEGIN; SET LOCAL session_replication_role TO replica; TRUNCATE sale; COMMIT",
    )
    .await;
    tool(
        "pg_restore",
        &[
            "--data-only",
            "--disable-triggers",
            "--exit-on-error",
            "--dbname",
            &server.url(),
            dump,
        ],
    );
    Shop::until_exact(&mut sql).await;
    Shop::until_fast_and_exact(&mut sql).await;
    Shop::stop(daemon).await;
}
