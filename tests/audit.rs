//! The audit: what it compares, and what follows from a difference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session, spawn, until};
use sqlx::Row;

const VIEW: &str = "
    CREATE TABLE alice.base (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO alice.base SELECT i, i % 10 FROM generate_series(1, 5000) AS i;
    SELECT mvrefresh.create_materialized_view('alice.copy', 'SELECT id, n FROM alice.base WHERE n > 0', 1)";

/// The number of the audit, and rows compared, missing and unexpected.
async fn audit(module: &mut Session, sample_above_ms: &str) -> (i64, i64, i64, i64) {
    let id = module.view_id("alice.copy").await;
    module.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    let rows = module
        .rows(&format!(
            "SELECT audit_id, rows_compared, rows_missing, rows_unexpected FROM mvrefresh.perform_audit({id}, {sample_above_ms})"
        ))
        .await;
    module.run("COMMIT").await;
    let number = |column| rows[0].get(column);
    (number(0), number(1), number(2), number(3))
}

async fn audited_view() -> (Database, Session, Session) {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice.run(VIEW).await;
    let mut module = database.session("refresher").await;
    module.make_fast("alice.copy").await;
    (database, alice, module)
}

#[tokio::test]
async fn an_audit_refreshes_and_then_compares_at_the_same_snapshot() {
    let (_database, mut alice, mut module) = audited_view().await;
    alice
        .run("UPDATE alice.base SET n = n + 1 WHERE id <= 100")
        .await;
    let (_, compared, missing, unexpected) = audit(&mut module, "NULL").await;
    assert_eq!((compared, missing, unexpected), (4510, 0, 0));
    // changes that came later are no difference
    alice.run("DELETE FROM alice.base WHERE id = 5").await;
    let (_, compared, missing, unexpected) = audit(&mut module, "NULL").await;
    assert_eq!((compared, missing, unexpected), (4509, 0, 0));
}

#[tokio::test]
async fn a_difference_is_put_right_kept_as_evidence_and_ends_the_trust_in_fast_refreshes() {
    let (_database, mut alice, mut module) = audited_view().await;
    alice
        .run("UPDATE alice.copy SET n = 77 WHERE id = 2; UPDATE alice.base SET n = 3 WHERE id = 4000")
        .await;
    let (number, _, missing, unexpected) = audit(&mut module, "NULL").await;
    assert_eq!((missing, unexpected), (1, 1));
    module.assert_exact("alice.copy").await;
    let evidence = module
        .text(&format!(
            "SELECT evidence FROM mvrefresh.audits WHERE audit_id = {number}"
        ))
        .await;
    for part in [
        r#"{"n": 77, "id": 2}"#,
        r#"{"n": 2, "id": 2}"#,
        "alice.base",
        "4000",
        "watermark_before",
        "inserted_rows",
    ] {
        assert!(evidence.contains(part), "{part} in {evidence}");
    }
    // base rows are for the module only
    assert_eq!(
        alice
            .failure("SELECT evidence FROM mvrefresh.audits")
            .await
            .code,
        "42501"
    );
    assert_eq!(
        alice
            .text("SELECT status FROM mvrefresh.materialized_views WHERE mv_name = 'copy'")
            .await,
        "quarantined"
    );
    alice.run("DELETE FROM alice.base WHERE id = 6").await;
    module.assert_complete("alice.copy", "quarantined").await;
    alice
        .run("SELECT mvrefresh.resume_materialized_view('alice.copy'); DELETE FROM alice.base WHERE id = 7")
        .await;
    module.assert_fast("alice.copy").await;
}

#[tokio::test]
async fn rows_told_wrongly_from_the_state_are_put_right_by_the_query_itself() {
    let (_database, mut alice, mut module) = audited_view().await;
    alice
        .run("SELECT mvrefresh.create_materialized_view('alice.means', 'SELECT n, avg(id) AS mean FROM alice.base GROUP BY n')")
        .await;
    module.make_fast("alice.means").await;
    let id = module.view_id("alice.means").await;
    // as a defect of the compiler would
    module
        .run(&format!("UPDATE mvrefresh.fast_programs SET state_outputs = state_outputs || ' AND false' WHERE mv_id = {id}; SELECT mvrefresh.compile_materialized_view({id})"))
        .await;
    module.refresh("alice.means", Some("complete")).await;
    let wrong: i64 = alice.value("SELECT count(*) FROM alice.means").await;
    assert_eq!(wrong, 0);
    module.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    module
        .run(&format!("SELECT mvrefresh.perform_audit({id}, NULL)"))
        .await;
    module.run("COMMIT").await;
    module.assert_exact("alice.means").await;
    alice.run("DELETE FROM alice.base WHERE id = 6").await;
    module.assert_complete("alice.means", "quarantined").await;
    module.assert_exact("alice.means").await;
}

#[tokio::test]
async fn of_a_large_view_a_sample_is_compared() {
    let (_database, mut alice, mut module) = audited_view().await;
    alice
        .run("ANALYZE alice.copy; DELETE FROM alice.base WHERE id = 6")
        .await;
    let (number, compared, missing, unexpected) = audit(&mut module, "0").await;
    assert_eq!((missing, unexpected), (0, 0));
    assert!((1..=1000).contains(&compared), "{compared}");
    assert_eq!(
        module
            .text(&format!(
                "SELECT sampled_by FROM mvrefresh.audits WHERE audit_id = {number}"
            ))
            .await,
        "id"
    );
    // every row of the sample is wrong
    alice.run("UPDATE alice.copy SET n = 77").await;
    let (_, compared, missing, unexpected) = audit(&mut module, "0").await;
    assert_eq!((missing, unexpected), (compared, compared));
    module.assert_exact("alice.copy").await;
}

#[tokio::test]
async fn the_daemon_audits_and_sounds_the_alarm() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice.run(VIEW).await;
    // a complete refresh, if that seemed cheaper, would hide the damage
    alice
        .run("UPDATE mvrefresh.materialized_views SET refresh_method = 'fast'")
        .await;
    let mut daemon = spawn(
        &database.server,
        &[
            ("MVREFRESHD_AUDIT__EVERY", "1ms"),
            ("MVREFRESHD_LOGS__CHECK_EVERY", "100ms"),
        ],
    );
    let mut connection = database.server.connect().await;
    until(
        &mut connection,
        "SELECT count(*) > 0 FROM mvrefresh.fast_programs WHERE body IS NOT NULL",
    )
    .await;
    // once more after it has become fast, so that it is refreshed fast and due for an audit
    until(&mut connection, "SELECT last_reason = 'the first refresh since it was compiled' FROM mvrefresh.materialized_view_state").await;
    alice.run("UPDATE alice.base SET n = 8 WHERE id = 1").await;
    until(&mut connection, "SELECT count(*) > 0 FROM mvrefresh.audits").await;
    alice
        .run("UPDATE alice.copy SET n = 77 WHERE id = 2; UPDATE alice.base SET n = 9 WHERE id = 1")
        .await;
    let line = daemon.wait_for_line("were not those of its query").await;
    assert!(
        line.contains("ERROR") && line.contains("alice.copy"),
        "{line}"
    );
    until(
        &mut connection,
        "SELECT count(*) > 0 FROM mvrefresh.audits WHERE evidence IS NOT NULL",
    )
    .await;
    alice.assert_exact("alice.copy").await;
}
