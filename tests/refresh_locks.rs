//! The lock of a running refresh tells what is being refreshed, and only this process's own refreshes are ever cancelled by it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Database, GATED_QUERY, Gate};
use mvrefreshd::dictionary::refreshes;
use mvrefreshd::sql::ModuleSchema;

#[tokio::test]
async fn the_lock_shows_which_views_are_being_refreshed_and_only_own_refreshes_are_cancelled() {
    let database = Database::installed().await;
    let mut gate = Gate::close(&database.server).await;
    let mut sql = database.admin().await;
    let mut ids: Vec<i32> = Vec::new();
    for name in ["own", "others", "resting"] {
        let create = format!(
            "SELECT mvrefresh.create_materialized_view('{name}', '{GATED_QUERY}', with_data => false)"
        );
        ids.push(sql.value(&create).await);
    }
    let [own, others, resting] = ids[..] else {
        unreachable!("three were made")
    };
    let schema = ModuleSchema::new("mvrefresh");
    let unlocked = refreshes::without_lock(&mut sql.connection, &schema, &ids).await;
    assert_eq!(unlocked.unwrap(), ids);

    let mut session = database.admin().await;
    let refreshing = tokio::spawn(async move { session.refresh_as_daemon(own).await });
    let mut other = database.admin().await;
    let by_sql = "SELECT mvrefresh.refresh_materialized_view('others')";
    let refreshing_by_sql = tokio::spawn(async move { other.run(by_sql).await });
    gate.until_waiting(2).await;
    let unlocked = refreshes::without_lock(&mut sql.connection, &schema, &ids).await;
    assert_eq!(unlocked.unwrap(), [resting]);

    for (views, cancelled) in [(&[others, resting][..], 0), (&ids[..], 1)] {
        let count = refreshes::cancel(&mut sql.connection, &schema, views).await;
        assert_eq!(count.unwrap(), cancelled, "{views:?}");
    }
    assert_eq!(refreshing.await.unwrap().unwrap_err().code, "57014");
    gate.until_waiting(1).await;
    gate.open().await;
    refreshing_by_sql.await.unwrap();
}
