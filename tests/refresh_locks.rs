//! The lock of a running refresh tells who is refreshing what, and only such processes are ever cancelled.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{GATED_QUERY, Gate, TestServer, install};
use mvrefreshd::dictionary::refreshes;
use mvrefreshd::sql::ModuleSchema;

#[tokio::test]
async fn the_lock_shows_which_views_are_being_refreshed_and_whom_to_cancel() {
    let server = TestServer::start().await;
    install(&server).await;
    let mut gate = Gate::close(&server).await;
    let mut sql = server.connect().await;
    let mut ids = Vec::new();
    for name in ["running", "resting"] {
        let create = format!(
            "SELECT mvrefresh.create_materialized_view('{name}', '{GATED_QUERY}', with_data => false)"
        );
        let id: i32 = sqlx::query_scalar(sqlx::AssertSqlSafe(create))
            .fetch_one(&mut sql)
            .await
            .unwrap();
        ids.push(id);
    }
    let schema = ModuleSchema::new("mvrefresh");
    assert_eq!(
        refreshes::without_lock(&mut sql, &schema, &ids)
            .await
            .unwrap(),
        ids
    );

    let mut refresher = server.connect().await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut refresher)
        .await
        .unwrap();
    let refreshing = tokio::spawn(async move {
        sqlx::query("SELECT mvrefresh.refresh_materialized_view('running')")
            .execute(&mut refresher)
            .await
    });
    gate.until_waiting(1).await;
    assert_eq!(
        refreshes::without_lock(&mut sql, &schema, &ids)
            .await
            .unwrap(),
        ids[1..]
    );

    // neither another process nor one that does something else
    for (process, views, cancelled) in [
        (pid + 1, &ids[..], 0),
        (pid, &ids[1..], 0),
        (pid, &ids[..], 1),
    ] {
        let count = refreshes::cancel(&mut sql, &schema, &[process], views).await;
        assert_eq!(count.unwrap(), cancelled);
    }
    let error = refreshing.await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("canceling statement due to user request"),
        "{error}"
    );
    gate.until_waiting(0).await;
}
