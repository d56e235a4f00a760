//! The dictionary of a dumped and restored database works on in its new cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::process::Command;

use common::{Database, Session, TestServer, install_as, program};

/// A dump of the whole cluster, roles included.
fn dump(server: &TestServer) -> String {
    let output = Command::new(program("pg_dumpall"))
        .args(["--dbname", &server.url()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn restore(server: &TestServer, dump: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), dump).unwrap();
    let output = Command::new(program("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--dbname",
            &server.url(),
            "--file",
        ])
        .arg(file.path())
        .output()
        .unwrap();
    let errors: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("ERROR") && !line.contains("role \"postgres\" already exists"))
        .map(str::to_owned)
        .collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[tokio::test]
async fn the_dictionary_works_on_after_dump_and_restore_into_another_cluster() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "SET search_path TO alice;
             CREATE TABLE base AS SELECT g AS id, 'r' || g AS label FROM generate_series(1, 50) g;
             SELECT mvrefresh.create_materialized_view('gone', 'SELECT 1 AS x', 5);
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base', 77);
             CREATE UNIQUE INDEX ON mv (id);
             SELECT mvrefresh.create_materialized_view('above', 'SELECT count(*) FROM mv', 78);
             CREATE VIEW named AS SELECT * FROM base; SELECT mvrefresh.create_materialized_view_as('named', 79);
             SELECT * FROM mvrefresh.refresh_all_materialized_views(true);
             DROP TABLE gone;",
        )
        .await;
    let dumped = dump(&database.server);
    // another cluster, with other object and transaction ids
    let server = TestServer::start().await;
    server
        .execute("CREATE TABLE unrelated (x int, y int); INSERT INTO unrelated VALUES (1, 2)")
        .await;
    restore(&server, &dumped);
    // the number of a view that was dropped by hand, which is somebody else's here
    server
        .execute(
            "SET session_replication_role TO replica;
             UPDATE mvrefresh.materialized_view_settings SET mv_relation = 'public.unrelated'::regclass WHERE mv_name = 'gone'",
        )
        .await;

    install_as(&server, "refresher", &database.schema).await;
    let mut alice = Session {
        connection: server.connect_as("alice").await,
    };
    assert_eq!(alice.text("SELECT count(*) FROM mvrefresh.self_check() WHERE status <> 'fine' AND object_name <> 'alice.gone'").await, "0");
    alice
        .run("SET search_path TO alice; DELETE FROM base WHERE id > 40; UPDATE base SET label = 'new' WHERE id = 1")
        .await;
    let mut daemon = Session {
        connection: server.connect_as("refresher").await,
    };
    for name in ["mv", "above", "named"] {
        let id: i32 = alice
            .value(&format!(
                "SELECT mv_id FROM mvrefresh.materialized_views WHERE mv_name = '{name}'"
            ))
            .await;
        let row = daemon.refresh_as_daemon(id).await.unwrap();
        assert_eq!(
            (row.status.as_str(), row.form.as_deref()),
            ("refreshed", Some("in_place"))
        );
        alice.assert_exact(name).await;
    }
    alice
        .run("SELECT mvrefresh.create_materialized_view('later', 'SELECT 2 AS x', 80)")
        .await;
    assert_eq!(
        alice
            .text("SELECT array_agg((mv_name, refresh_rate_in_sec, status) ORDER BY refresh_rate_in_sec) FROM mvrefresh.materialized_views")
            .await,
        r#"{"(gone,5,dropped)","(mv,77,ok)","(above,78,ok)","(named,79,ok)","(later,80,ok)"}"#
    );
    alice
        .run("SELECT mvrefresh.drop_materialized_view('gone')")
        .await;
}
