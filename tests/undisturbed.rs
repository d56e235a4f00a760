//! A running refresh disturbs nobody: readers, writers, settings, other sessions. A refresh is held at its gate by an
//! advisory lock of the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Failure, Session};
use tokio::task::JoinHandle;

const REFRESH: &str = "SELECT mvrefresh.refresh_materialized_view('mv')";
const COUNT: &str = "SELECT count(*) FROM mv";
/// Nothing that is awaited in these tests has to wait for a lock.
const NO_WAITING: &str = "SET lock_timeout TO '1ms'";

/// A base table of ten rows, `mv` over it, whose refresh waits while somebody holds the advisory lock 42.
async fn with_gate(database: &Database) -> Session {
    let mut admin = database.admin().await;
    admin
        .run(
            "CREATE TABLE base AS SELECT g AS id FROM generate_series(1, 10) g;
             CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END $$;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT id FROM base, (SELECT gate() AS open OFFSET 0) g WHERE open', 1);
             INSERT INTO base VALUES (11);",
        )
        .await;
    admin
}

/// Starts statements in a session of their own and waits until they wait for a lock.
async fn start_waiting(
    database: &Database,
    admin: &mut Session,
    sql: &'static str,
) -> JoinHandle<Session> {
    let mut session = database.admin().await;
    let pid = session.pid().await;
    let task = tokio::spawn(async move {
        session.run(sql).await;
        session
    });
    admin
        .wait_until(&format!(
            "EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"
        ))
        .await;
    task
}

async fn close_gate(admin: &mut Session) {
    admin.run("SELECT pg_advisory_lock(42)").await;
}

async fn open_gate(admin: &mut Session) {
    admin.run("SELECT pg_advisory_unlock(42)").await;
}

#[tokio::test]
async fn readers_see_the_old_rows_until_a_refresh_in_place_commits() {
    let database = Database::installed().await;
    let mut admin = with_gate(&database).await;
    let mut old_reader = database.admin().await;
    let mut reader = database.admin().await;
    reader.run(NO_WAITING).await;
    old_reader
        .run(&format!(
            "{NO_WAITING}; BEGIN ISOLATION LEVEL REPEATABLE READ; {COUNT}"
        ))
        .await;

    close_gate(&mut admin).await;
    let refresh = start_waiting(
        &database,
        &mut admin,
        "BEGIN; SELECT mvrefresh.refresh_materialized_view('mv')",
    )
    .await;
    assert_eq!(reader.text(COUNT).await, "10");
    assert_eq!(old_reader.text(COUNT).await, "10");
    reader
        .run("BEGIN; SELECT * FROM mv FOR SHARE; ROLLBACK; INSERT INTO base VALUES (12)")
        .await;

    open_gate(&mut admin).await;
    let mut refresh = refresh.await.unwrap();
    // written, not committed
    assert_eq!(refresh.text(COUNT).await, "11");
    assert_eq!(reader.text(COUNT).await, "10");
    refresh.run("COMMIT").await;
    assert_eq!(reader.text(COUNT).await, "11");
    assert_eq!(old_reader.text(COUNT).await, "10");
    old_reader.run("COMMIT").await;
    assert_eq!(old_reader.text(COUNT).await, "11");
}

#[tokio::test]
async fn settings_change_at_once_during_a_refresh() {
    let database = Database::installed().await;
    let mut admin = with_gate(&database).await;
    let mut user = database.admin().await;
    user.run(NO_WAITING).await;
    close_gate(&mut admin).await;
    let refresh = start_waiting(
        &database,
        &mut admin,
        "BEGIN; SELECT mvrefresh.refresh_materialized_view('mv')",
    )
    .await;
    let changes = "UPDATE mvrefresh.materialized_views SET refresh_rate_in_sec = 7, complete_form = 'rebuild';
         SELECT mvrefresh.update_materialized_view_refresh_rate('mv', 8);
         SELECT mvrefresh.request_refresh('mv');
         SELECT mvrefresh.suspend_materialized_view('mv');
         SELECT mvrefresh.resume_materialized_view('mv');";
    user.run(changes).await;
    open_gate(&mut admin).await;
    let mut refresh = refresh.await.unwrap();
    user.run(changes).await;
    refresh.run("COMMIT").await;
    assert_eq!(
        user.text(
            "SELECT (refresh_rate_in_sec, complete_form, status) FROM mvrefresh.materialized_views"
        )
        .await,
        "(8,rebuild,ok)"
    );
}

#[tokio::test]
async fn a_refresh_that_finds_another_at_work_leaves_it_alone_or_waits_as_asked() {
    let database = Database::installed().await;
    let mut admin = with_gate(&database).await;
    let id: i32 = admin
        .value("SELECT mv_id FROM mvrefresh.materialized_views")
        .await;
    close_gate(&mut admin).await;
    let first = start_waiting(
        &database,
        &mut admin,
        "BEGIN; SELECT mvrefresh.refresh_materialized_view('mv')",
    )
    .await;
    let mut daemon = database.admin().await;
    daemon.run(NO_WAITING).await;
    assert_eq!(daemon.refresh_as_daemon(id).await.unwrap().status, "busy");
    // asked for by hand, it waits and then runs
    let second = start_waiting(&database, &mut admin, REFRESH).await;
    admin.run("INSERT INTO base VALUES (13)").await;
    open_gate(&mut admin).await;
    first.await.unwrap().run("COMMIT").await;
    second.await.unwrap().assert_exact("mv").await;
    assert_eq!(
        admin
            .text("SELECT count(*) FROM mvrefresh.refresh_history WHERE trigger = 'sql'")
            .await,
        "2"
    );
    // who knows an older state than there is finds it done
    let rows = admin
        .rows(&format!("SELECT status FROM mvrefresh.perform_refresh({id}, 'schedule', NULL, NULL, true, 'epoch')"))
        .await;
    assert_eq!(sqlx::Row::get::<String, _>(&rows[0], 0), "done_elsewhere");
}

#[tokio::test]
async fn a_drop_waits_for_a_running_refresh_without_deadlock() {
    for drop in [
        "SELECT mvrefresh.drop_materialized_view('mv')",
        "SELECT mvrefresh.drop_all_materialized_views()",
        "SELECT mvrefresh.recreate_materialized_view('mv')",
    ] {
        let database = Database::installed().await;
        let mut admin = with_gate(&database).await;
        close_gate(&mut admin).await;
        let refresh = start_waiting(&database, &mut admin, REFRESH).await;
        let dropping = start_waiting(&database, &mut admin, drop).await;
        open_gate(&mut admin).await;
        refresh.await.unwrap();
        dropping.await.unwrap();
        assert_eq!(
            admin
                .text("SELECT count(*) FROM mvrefresh.refresh_history WHERE trigger = 'sql'")
                .await,
            "1"
        );
    }
}

#[tokio::test]
async fn a_transaction_with_an_old_snapshot_can_not_undo_a_refresh() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    admin
        .run("CREATE TABLE base (id int); SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base')")
        .await;
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut late = database.admin().await;
        late.run(&format!(
            "BEGIN ISOLATION LEVEL {isolation}; SELECT * FROM base"
        ))
        .await;
        admin
            .run(&format!("INSERT INTO base VALUES (1); {REFRESH}"))
            .await;
        let Failure { code, .. } = late.failure(REFRESH).await;
        assert_eq!(code, "40001");
        late.run("ROLLBACK").await;
        admin.assert_exact("mv").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_may_create_change_refresh_verify_and_drop_at_once() {
    let database = std::sync::Arc::new(Database::with_ordinary_roles().await);
    let mut admin = database.admin().await;
    admin
        .run("CREATE TABLE base AS SELECT g AS id FROM generate_series(1, 50) g; GRANT SELECT ON base TO PUBLIC")
        .await;
    for owner in ["alice", "bob"] {
        let mut session = database.session(owner).await;
        session
            .run(&format!(
                "SELECT mvrefresh.create_materialized_view('{owner}.shared', 'SELECT * FROM base')"
            ))
            .await;
    }
    let mut workers = Vec::new();
    for (number, owner) in ["alice", "bob", "alice", "bob", "mallory", "mallory"]
        .into_iter()
        .enumerate()
    {
        let database = database.clone();
        workers.push(tokio::spawn(async move {
            let mut session = database.session(owner).await;
            for round in 0..8 {
                let own = format!("{owner}.mv_{number}");
                session
                    .run(&format!(
                        "SELECT mvrefresh.create_materialized_view('{own}', 'SELECT id + {round} AS id FROM base');
                         CREATE UNIQUE INDEX ON {own} (id);
                         SELECT mvrefresh.refresh_materialized_view('{own}')"
                    ))
                    .await;
                session.assert_exact(&own).await;
                if owner != "mallory" {
                    let shared = format!("{owner}.shared");
                    // each makes the refresh functions anew for the next
                    session.run(&format!("CREATE UNIQUE INDEX IF NOT EXISTS again_{number} ON {shared} (id)")).await;
                    session.assert_exact(&shared).await;
                    session.run(&format!("SELECT mvrefresh.refresh_materialized_view('{shared}')")).await;
                    session.run(&format!("DROP INDEX {owner}.again_{number}")).await;
                }
                session.run(&format!("SELECT mvrefresh.drop_materialized_view('{own}')")).await;
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(
        admin
            .text("SELECT array_agg(mv_name) FROM mvrefresh.materialized_views")
            .await,
        "{shared,shared}"
    );
}
