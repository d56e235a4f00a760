//! The user's own `.sql` files are run after an installation and after an upgrade; one that fails takes nothing down.

mod common;

use std::path::Path;

use common::{Daemon, Signal, TestServer, run};
use sqlx::PgConnection;

fn directory_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

const FILES: [(&str, &str); 4] = [
    (
        "10-table.sql",
        "CREATE TABLE IF NOT EXISTS ran (file text, at timestamptz DEFAULT clock_timestamp());
                      INSERT INTO ran VALUES ('10')",
    ),
    (
        "20-broken.sql",
        "INSERT INTO ran VALUES ('20');\nSELECT nothing FROM nowhere",
    ),
    (
        "30-last.sql",
        "BEGIN; INSERT INTO ran VALUES ('30'); COMMIT",
    ),
    ("notes.txt", "INSERT INTO ran VALUES ('not SQL')"),
];

async fn ran(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("SELECT file FROM ran ORDER BY at")
        .fetch_all(connection)
        .await
        .unwrap()
}

fn environment<'a>(url: &'a str, directory: &'a Path) -> [(&'a str, &'a str); 2] {
    [
        ("DATABASE_URL", url),
        (
            "MVREFRESHD_INSTALL__CUSTOM_SQL_DIR",
            directory.to_str().unwrap(),
        ),
    ]
}

#[tokio::test]
async fn install_runs_the_files_in_order_and_reports_the_one_that_fails() {
    let server = TestServer::start().await;
    let directory = directory_with(&FILES);
    let url = server.url();
    let finished = run(&["install"], &environment(&url, directory.path())).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stdout.contains("2 succeeded, 1 failed"),
        "{finished:?}"
    );
    assert!(finished.stdout.contains("20-broken.sql"), "{finished:?}");
    assert!(
        finished.stdout.contains("\"nowhere\" does not exist"),
        "{finished:?}"
    );
    // what the failing file did before it failed is undone
    assert_eq!(ran(&mut server.connect().await).await, ["10", "30"]);
}

#[tokio::test]
async fn recreating_the_materialized_views_runs_the_files_afterwards() {
    let server = TestServer::start().await;
    let url = server.url();
    let none = directory_with(&[]);
    assert_eq!(
        run(&["install"], &environment(&url, none.path()))
            .await
            .code,
        Some(0)
    );
    let directory = directory_with(&[(
        "index.sql",
        "CREATE TABLE ran AS SELECT '10'::text AS file, clock_timestamp() AS at FROM one LIMIT 1",
    )]);
    let environment = environment(&url, directory.path());
    for arguments in [
        &["create", "one", "--query", "SELECT 1 AS a"][..],
        &["upgrade", "drop"],
        &["upgrade", "recreate"],
    ] {
        let finished = run(arguments, &environment).await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    }
    assert_eq!(ran(&mut server.connect().await).await, ["10"]);
}

#[tokio::test]
async fn the_daemon_runs_the_files_once_when_it_installs_and_goes_on_after_a_failing_one() {
    let server = TestServer::start().await;
    let directory = directory_with(&FILES);
    let url = server.url();
    for _ in 0..2 {
        let mut daemon = Daemon::spawn(&["run"], &environment(&url, directory.path()));
        daemon.wait_for_line("the dictionary has been read").await;
        daemon.signal(Signal::Terminate).await;
        assert!(daemon.wait_for_exit().await.success());
    }
    assert_eq!(ran(&mut server.connect().await).await, ["10", "30"]);
}
