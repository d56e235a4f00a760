//! Logs that are made, widened and pruned while they are used.

use crate::{CHANGES, OTHER_CHANGES, Shop, TABLES, VIEWS};
use mvrefreshd::refresh::compile::Compiled;

#[tokio::test]
async fn a_log_is_not_used_for_what_was_written_before_it() {
    let mut shop = Shop::empty(TABLES).await;
    let mut writer = shop.writer().await;
    for (name, query) in VIEWS {
        shop.sql
            .run(&format!(
                "SELECT mvrefresh.create_materialized_view('{name}', $q${query}$q$)"
            ))
            .await;
    }
    // a writer is at work: no log now, and it is not kept waiting
    writer.run("BEGIN").await;
    writer.run(CHANGES).await;
    for (name, compiled) in shop.upkeep.run().await {
        let is_later = matches!(compiled, Compiled::Later(_));
        assert!(
            is_later || name.ends_with("regions"),
            "{name}: {compiled:?}"
        );
    }
    writer.run("INSERT INTO orders VALUES (1003, 2, 3)").await;
    shop.sql.run(OTHER_CHANGES).await;
    for (name, _) in VIEWS {
        shop.sql
            .run(&format!(
                "SELECT mvrefresh.refresh_materialized_view('{name}')"
            ))
            .await;
        shop.sql.assert_same(name, "no log yet").await;
    }
    writer.run("COMMIT").await;
    shop.sql
        .run("UPDATE orders SET amount = 1 WHERE order_id = 50")
        .await;
    shop.upkeep.run().await;
    shop.sql
        .run("UPDATE orders SET amount = 2 WHERE order_id = 50")
        .await;
    for (name, _) in VIEWS {
        shop.sql.refresh_fast(name).await;
        shop.sql
            .assert_same(name, "the first refresh with logs")
            .await;
    }
    shop.sql
        .run("UPDATE orders SET amount = 3 WHERE order_id IN (50, 51)")
        .await;
    shop.all_fast("logs are there").await;
}

#[tokio::test]
async fn a_snapshot_from_before_a_log_can_not_use_it() {
    let mut shop = Shop::empty(TABLES).await;
    shop.sql
        .run("SELECT mvrefresh.create_materialized_view('plain', 'SELECT amount FROM orders WHERE amount > 10')")
        .await;
    // its snapshot is older than the log and a change that is not in it
    let mut old = shop.writer().await;
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .await;
    shop.sql.run("UPDATE orders SET amount = amount + 1").await;
    shop.upkeep.run().await;
    // were it let through, it would note a watermark from before the log
    let failure = old
        .failure("SELECT mvrefresh.refresh_materialized_view('plain', 'complete')")
        .await;
    assert_eq!(failure.code, "40001", "{failure:?}");
    old.run("ROLLBACK").await;
    shop.sql
        .assert_complete_as("plain", "the first refresh since it was compiled")
        .await;
    shop.sql.run("UPDATE orders SET amount = amount + 1").await;
    shop.sql
        .assert_fast_after("plain", "a refresh after its log")
        .await;
}

#[tokio::test]
async fn columns_added_to_a_log_later_are_not_taken_for_null() {
    let mut shop = Shop::open().await;
    shop.sql
        .run("UPDATE orders SET note = 'n' || order_id")
        .await;
    shop.sql
        .run("SELECT mvrefresh.create_materialized_view('notes', 'SELECT order_id, note FROM orders');
              SELECT mvrefresh.create_materialized_view('notes_by_name', 'SELECT note, count(*) AS n FROM orders GROUP BY note')")
        .await;
    // pending in a log that lacks the column
    shop.sql
        .run("UPDATE orders SET note = 'm', amount = amount + 1 WHERE order_id < 10; DELETE FROM orders WHERE order_id = 12")
        .await;
    shop.upkeep.run().await;
    shop.sql
        .run("UPDATE orders SET note = 'o', amount = amount + 1 WHERE order_id < 5; INSERT INTO orders VALUES (12, 3, 4, 'back')")
        .await;
    for name in [
        "notes",
        "notes_by_name",
        "joined",
        "totals",
        "plain",
        "regions",
    ] {
        shop.sql.refresh_fast(name).await;
        shop.sql.assert_same(name, "the log was widened").await;
    }
    shop.sql
        .run("UPDATE orders SET note = 'p', amount = 3 WHERE order_id < 8")
        .await;
    for name in ["notes", "notes_by_name"] {
        shop.sql.assert_fast_after(name, "the log is wide").await;
    }
    shop.all_fast("the log is wide").await;
}

#[tokio::test]
async fn logs_are_pruned_as_far_as_no_view_needs_them_and_late_transactions_are_kept() {
    let mut shop = Shop::open().await;
    let mut writer = shop.writer().await;
    writer.run("BEGIN").await;
    writer.run(CHANGES).await;
    for round in 0..4 {
        shop.sql
            .run(&format!("UPDATE orders SET amount = amount + {round} + 1 WHERE order_id > 30; INSERT INTO customers VALUES (200 + {round}, 'x', 'y')"))
            .await;
        // "totals" is stalled
        for name in ["joined", "regions", "plain"] {
            shop.sql.assert_fast_after(name, "a round").await;
        }
        shop.sql.run("SELECT mvrefresh.prune_logs('1 hour')").await;
    }
    writer.run("COMMIT").await;
    // its rows are older than what some have seen, and yet seen by none
    shop.sql.run("SELECT mvrefresh.prune_logs('1 hour')").await;
    shop.all_fast("pruning").await;
    shop.all_fast("nothing").await;
    shop.sql.run("SELECT mvrefresh.prune_logs('1 hour')").await;
    let left =
        "SELECT (SELECT count(*) FROM mvrefresh.log$1) + (SELECT count(*) FROM mvrefresh.log$2)";
    // of the newest transactions only, at most
    shop.sql.run(OTHER_CHANGES).await;
    shop.all_fast("more changes").await;
    shop.sql.run("SELECT pg_current_xact_id()").await;
    shop.all_fast("more changes").await;
    shop.sql.run("SELECT mvrefresh.prune_logs('1 hour')").await;
    assert!(shop.sql.value::<i64>(left).await < 20);
}

#[tokio::test]
async fn a_view_that_lost_its_claim_to_a_log_is_refreshed_completely() {
    let mut shop = Shop::open().await;
    shop.sql
        .run("UPDATE orders SET amount = amount + 1; SELECT pg_current_xact_id()")
        .await;
    shop.sql.assert_fast_after("joined", "an update").await;
    shop.sql.run("SELECT mvrefresh.prune_logs('0 s')").await;
    shop.sql
        .assert_complete_as("totals", "does not reach back")
        .await;
    shop.sql.run("UPDATE orders SET amount = amount + 1").await;
    shop.sql.refresh_fast("joined").await;
    shop.sql.assert_same("joined", "the claim was lost").await;
    shop.sql
        .assert_fast_after("totals", "the complete refresh")
        .await;
}

#[tokio::test]
async fn another_cluster_or_younger_transaction_ids_make_the_next_refresh_complete() {
    let mut shop = Shop::open().await;
    for (harm, reason) in [
        (
            "system_identifier = system_identifier + 1",
            "another cluster",
        ),
        ("last_snapshot = '4000000000:4000000000:'", "set back"),
        ("last_snapshot = NULL", "not known"),
    ] {
        shop.sql.run("UPDATE orders SET amount = amount + 1").await;
        shop.sql
            .run(&format!(
                "UPDATE mvrefresh.materialized_view_state SET {harm}"
            ))
            .await;
        for (name, _) in VIEWS {
            shop.sql.assert_complete_as(name, reason).await;
        }
        shop.sql.run("UPDATE orders SET amount = amount + 1").await;
        shop.all_fast(harm).await;
    }
}
