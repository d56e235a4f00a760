//! A base backup restored to a point in time: what the dictionary says is of that very point, transaction ids go on from
//! there, and so watermarks stay right, however the ids were used in the time that never was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{CHANGES, Shop, TestServer, count, execute, installation, options, until};
use mvrefreshd::scratch::{Cluster, Options};
use sqlx::{Connection, PgConnection};

/// A server that archives its log of transactions, and where to.
async fn archiving() -> Option<(TestServer, String)> {
    let installation = installation(15)?;
    installation.program("pg_basebackup").ok()?;
    let server = Shop::busy(Options {
        installation: Some(installation),
        settings: vec![("archive_mode".to_owned(), "on".to_owned())],
        ..options()
    })
    .await;
    let archive = server.socket_dir().join("archive").display().to_string();
    server
        .execute(&format!(
            "ALTER SYSTEM SET archive_command = 'mkdir -p {archive} && cp %p {archive}/%f'"
        ))
        .await;
    server.execute("SELECT pg_reload_conf()").await;
    Some((server, archive))
}

/// Makes a standby that was halted the backup of that moment, to be restored up to a named point.
fn restore_up_to(backup: &Cluster, archive: &str, point: &str) {
    let data = backup.socket_dir().join("data");
    fs::remove_file(data.join("standby.signal")).unwrap();
    fs::write(data.join("recovery.signal"), "").unwrap();
    let settings = data.join("postgresql.auto.conf");
    let text = format!(
        "restore_command = 'cp {archive}/%f %p'\nrecovery_target_name = '{point}'\nrecovery_target_action = promote\narchive_mode = off\n"
    );
    fs::write(settings, text).unwrap();
}

#[tokio::test]
async fn restored_to_a_point_in_time_every_view_goes_on_fast_and_is_exact() {
    let Some((mut primary, archive)) = archiving().await else {
        eprintln!("not tested: there is no PostgreSQL 15 with pg_basebackup here");
        return;
    };
    let mut sql = primary.connect().await;
    let daemon = Shop::daemon(&primary.url());
    Shop::until_fast_and_exact(&mut sql).await;
    let mut backup = Cluster::standby_of(&primary).unwrap();
    backup.halt().unwrap();
    Shop::until_fast_and_exact(&mut sql).await;
    // open at the point in time, committed after it: there it never was, though watermarks know of it
    let mut late = primary.connect().await;
    execute(&mut late, &format!("BEGIN; {CHANGES}")).await;
    execute(&mut sql, "INSERT INTO sale (region, amount) VALUES (1, 1)").await;
    for name in ["copies", "sums"] {
        execute(
            &mut sql,
            &format!("SELECT * FROM mvrefresh.refresh_materialized_view('{name}')"),
        )
        .await;
    }
    execute(&mut sql, "INSERT INTO sale (region, amount) VALUES (2, 2)").await;
    execute(&mut sql, "SELECT pg_create_restore_point('here')").await;
    let kept = "SELECT sum(amount) FROM sale";
    let kept = count(&mut sql, kept).await;
    execute(&mut late, "COMMIT").await;
    Shop::until_fast_and_exact(&mut sql).await;
    let last = "SELECT pg_current_xact_id()::text::bigint";
    let ids_of_before = count(&mut sql, last).await;
    archive_all(&mut sql).await;
    Shop::stop(daemon).await;
    primary.halt().unwrap();

    restore_up_to(&backup, &archive, "here");
    backup.start_again().unwrap();
    let url = backup.url("postgres");
    let mut sql = PgConnection::connect(&url).await.unwrap();
    until(&mut sql, "NOT pg_is_in_recovery()").await;
    assert_eq!(count(&mut sql, "SELECT sum(amount) FROM sale").await, kept);
    assert!(
        count(&mut sql, last).await < ids_of_before,
        "ids are used again"
    );
    let before = Shop::latest(&mut sql).await;
    let daemon = Shop::daemon(&url);
    Shop::until_exact(&mut sql).await;
    Shop::until_fast_and_exact(&mut sql).await;
    let history = Shop::history(&mut sql, before).await;
    let complete = format!(
        "SELECT count(*) FROM mvrefresh.refresh_history WHERE refresh_id > {before} AND method = 'complete'"
    );
    assert_eq!(count(&mut sql, &complete).await, 0, "{history}");
    Shop::stop(daemon).await;
}

/// Waits until all that has been written is in the archive.
async fn archive_all(sql: &mut PgConnection) {
    let file: String = sqlx::query_scalar("SELECT pg_walfile_name(pg_switch_wal())")
        .fetch_one(&mut *sql)
        .await
        .unwrap();
    until(
        sql,
        &format!("SELECT last_archived_wal >= '{file}' FROM pg_stat_archiver"),
    )
    .await;
}
