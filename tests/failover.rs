//! Several hosts: the one that can be written to is used, and a promotion is followed without a restart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    Daemon, TestServer, change_until_fast, count, execute, holds, install, installation, options,
    refreshed, run, until,
};
use mvrefreshd::scratch::{Cluster, Options};
use sqlx::{Connection, PgConnection};

/// A primary with a materialized view, and its standby; none, with a line that says so, where they can't be made here.
async fn pair() -> Option<(TestServer, Cluster)> {
    let Some(installation) = installation(15) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "there is no PostgreSQL 15 here"
        );
        eprintln!("not tested: there is no PostgreSQL 15 here");
        return None;
    };
    let primary = TestServer::start_with(Options {
        installation: Some(installation),
        ..options()
    })
    .await;
    install(&primary).await;
    primary
        .execute(
            "CREATE TABLE base (id integer PRIMARY KEY, n integer NOT NULL);
             INSERT INTO base SELECT i, i FROM generate_series(1, 100) i;
             SELECT mvrefresh.create_materialized_view('v', 'SELECT id % 3 AS k, sum(n) AS total FROM base GROUP BY 1', 1, refresh_method => 'fast')",
        )
        .await;
    let standby = Cluster::standby_of(&primary).unwrap();
    Some((primary, standby))
}

/// The standby first: only what can be written to is used.
fn both(primary: &Cluster, standby: &Cluster) -> String {
    let (one, two) = (
        standby.socket_dir().display(),
        primary.socket_dir().display(),
    );
    let ports = format!("{},{}", standby.port(), primary.port());
    format!(
        "host={one},{two} port={ports} user=postgres dbname=postgres target_session_attrs=read-write"
    )
}

const EXACT: &str =
    "SELECT NOT EXISTS (SELECT * FROM v EXCEPT ALL SELECT id % 3, sum(n) FROM base GROUP BY 1)
     AND NOT EXISTS (SELECT id % 3, sum(n) FROM base GROUP BY 1 EXCEPT ALL SELECT * FROM v)";

#[tokio::test]
async fn a_promotion_is_followed_without_a_restart_and_nothing_is_written_on_a_standby() {
    let Some((mut primary, standby)) = pair().await else {
        return;
    };
    let url = both(&primary, &standby);
    // what is heard on the promoted server is heard by a notification
    let slow = ("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "1h");
    let mut daemon = Daemon::spawn(&["run", "--database-url", &url], &[slow]);
    let mut sql = primary.connect().await;
    change_until_fast(&mut sql, "v", "UPDATE base SET n = n + 1 WHERE id = 5").await;
    assert_eq!(
        count(&mut sql, "SELECT count(*) FROM pg_stat_replication").await,
        1
    );

    let pid = daemon.pid();
    primary.halt().unwrap();
    let line = daemon.wait_for_line("the database is not ready").await;
    assert!(!line.contains("hunter2"), "{line}");
    standby.promote().unwrap();
    daemon.wait_for_nth_line(2, "the database is ready").await;
    let url_of_promoted = standby.url("postgres");
    let mut sql = PgConnection::connect(&url_of_promoted).await.unwrap();
    execute(&mut sql, "INSERT INTO base VALUES (1000, 1000)").await;
    until(&mut sql, EXACT).await;
    change_until_fast(&mut sql, "v", "DELETE FROM base WHERE id = 1000").await;
    until(&mut sql, EXACT).await;
    // the listener has followed: polling alone would take an hour
    let listens = "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'mvrefreshd listener' AND query ILIKE 'LISTEN%mvrefresh%' AND query NOT ILIKE '%probe%'";
    until(&mut sql, listens).await;
    let create = "SELECT mvrefresh.create_materialized_view('w', 'SELECT count(*) FROM base', 1, refresh_method => 'complete')";
    execute(&mut sql, create).await;
    until(&mut sql, &refreshed("w", 2)).await;

    // the old primary comes back as what it was and is not used: the daemon has the other
    primary.start_again().unwrap();
    let mut old = primary.connect().await;
    let none =
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'mvrefreshd%'";
    assert!(holds(&mut old, none).await);
    assert_eq!(daemon.pid(), pid, "the same process");
    let written = "cannot execute";
    assert!(!standby.log().contains(written), "{}", standby.log());
}

#[tokio::test]
async fn where_none_can_be_written_to_each_is_named_with_its_reason() {
    let Some((mut primary, standby)) = pair().await else {
        return;
    };
    let url = both(&primary, &standby);
    let one = run(&["status", "--database-url", &url], &[]).await;
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    primary.halt().unwrap();
    let none = run(&["status", "--database-url", &url], &[]).await;
    assert_eq!(none.code, Some(75), "{}", none.stderr);
    for part in [
        "none of the servers can be written to",
        &format!(
            "{}:{}: it is read-only (a standby",
            standby.socket_dir().display(),
            standby.port()
        ),
        &format!(
            "{}:{}: there is no socket",
            primary.socket_dir().display(),
            primary.port()
        ),
    ] {
        assert!(none.stderr.contains(part), "no {part:?} in {}", none.stderr);
    }
}
