//! Transactions that commit late, and two refreshes at a time.

use crate::{CHANGES, LEVELS, OTHER_CHANGES, Shop, VIEWS};

#[tokio::test]
async fn a_transaction_that_commits_after_a_refresh_is_in_the_next_one_at_any_isolation_level() {
    for level in LEVELS {
        let mut shop = Shop::open().await;
        let mut writer = shop.writer().await;
        writer.run("BEGIN").await;
        writer.run(CHANGES).await;
        shop.sql.run(OTHER_CHANGES).await;
        for (name, _) in VIEWS {
            shop.sql
                .run(&format!("BEGIN ISOLATION LEVEL {level}"))
                .await;
            shop.sql.assert_fast_after(name, level).await;
            shop.sql.run("COMMIT").await;
        }
        writer.run("COMMIT").await;
        for (name, _) in VIEWS {
            shop.sql
                .run(&format!("BEGIN ISOLATION LEVEL {level}"))
                .await;
            let refreshed = shop.sql.refresh_fast(name).await;
            shop.sql.run("COMMIT").await;
            assert_eq!(refreshed.method, "fast", "{name} at {level}: {refreshed:?}");
            shop.sql.assert_same(name, level).await;
        }
        assert_eq!(
            shop.sql
                .text("SELECT count(*) FROM joined WHERE order_id IN (1001, 1002)")
                .await,
            "2"
        );
    }
}

#[tokio::test]
async fn a_transaction_that_commits_between_a_refreshs_snapshot_and_its_end_is_in_the_next_one() {
    let mut shop = Shop::open().await;
    let mut writer = shop.writer().await;
    for (number, (name, _)) in VIEWS.iter().enumerate() {
        let order = 3000 + 10 * number;
        writer
            .run(&format!("BEGIN; INSERT INTO orders VALUES ({order}, 1, 50); UPDATE customers SET region = 'r{number}' WHERE customer_id = 6"))
            .await;
        shop.sql
            .run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM orders LIMIT 1")
            .await;
        writer
            .run(&format!(
                "COMMIT; INSERT INTO orders VALUES ({order} + 1, 2, 60)"
            ))
            .await;
        shop.sql.assert_fast_after(name, "an old snapshot").await;
        shop.sql.run("COMMIT").await;
        let refreshed = shop.sql.refresh_fast(name).await;
        assert_eq!(refreshed.method, "fast", "{name}: {refreshed:?}");
        shop.sql.assert_same(name, "the commit").await;
    }
}

#[tokio::test]
async fn of_two_refreshes_the_one_with_the_older_snapshot_gives_way() {
    let mut shop = Shop::open().await;
    let mut other = shop.writer().await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        other
            .run(&format!(
                "UPDATE orders SET amount = amount + 1; UPDATE customers SET region = '{level}' WHERE customer_id = 2; COMMIT;
                 BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM orders LIMIT 1"
            ))
            .await;
        shop.all_fast("an update").await;
        for (name, _) in VIEWS {
            let failure = other
                .failure(&format!(
                    "SAVEPOINT s; SELECT mvrefresh.refresh_materialized_view('{name}')"
                ))
                .await;
            assert_eq!(failure.code, "40001", "{name}: {failure:?}");
            other.run("ROLLBACK TO s").await;
        }
        other.run("ROLLBACK").await;
        shop.all_fast("the other's failure").await;
    }
}

#[tokio::test]
async fn others_that_commit_while_a_transaction_refreshes_and_goes_on_are_not_lost() {
    let mut shop = Shop::open().await;
    let mut late = shop.writer().await;
    let mut early = shop.writer().await;
    for (number, (name, _)) in VIEWS.iter().enumerate() {
        let order = 5000 + 10 * number;
        early
            .run(&format!(
                "BEGIN; INSERT INTO orders VALUES ({order}, 4, 44)"
            ))
            .await;
        let sql = &mut shop.sql;
        sql.run(&format!(
            "BEGIN; INSERT INTO orders VALUES ({order} + 1, 4, 45)"
        ))
        .await;
        late.run(&format!(
            "BEGIN; INSERT INTO orders VALUES ({order} + 2, 4, 46)"
        ))
        .await;
        sql.refresh_fast(name).await;
        early.run("COMMIT").await;
        sql.run("COMMIT").await;
        sql.assert_fast_after(name, "the earlier transaction").await;
        late.run("COMMIT").await;
        sql.assert_fast_after(name, "the later transaction").await;
        assert_eq!(sql.refresh_fast(name).await.status, "unchanged");
    }
}

#[tokio::test]
async fn a_subtransaction_open_beyond_a_refresh_is_in_the_next_one() {
    let mut shop = Shop::open().await;
    let mut writer = shop.writer().await;
    writer.run("BEGIN").await;
    for i in 0..100 {
        // each statement has an id of its own
        writer
            .run(&format!(
                "SAVEPOINT s{i}; INSERT INTO orders VALUES ({}, 2, 1)",
                8000 + i
            ))
            .await;
    }
    writer.run("ROLLBACK TO s80").await;
    shop.sql.run(OTHER_CHANGES).await;
    shop.all_fast("a refresh beside").await;
    writer.run("COMMIT").await;
    shop.all_fast("the commit").await;
    assert_eq!(
        shop.sql
            .text("SELECT count(*) FROM joined WHERE order_id >= 8000")
            .await,
        "80"
    );
}

#[tokio::test]
async fn prepared_transactions_count_when_they_are_committed() {
    let mut shop = Shop::open().await;
    let mut writer = shop.writer().await;
    for (end, found) in [("COMMIT", "2"), ("ROLLBACK", "2")] {
        writer.run("BEGIN").await;
        if end == "COMMIT" {
            writer.run(CHANGES).await;
        } else {
            writer.run("DELETE FROM orders WHERE order_id > 5").await;
        }
        writer.run("PREPARE TRANSACTION 'p'").await;
        shop.all_fast("PREPARE").await;
        shop.sql
            .run("INSERT INTO customers VALUES (100 + (SELECT count(*) FROM customers), 'n', NULL)")
            .await;
        shop.all_fast("PREPARE and more").await;
        writer.run(&format!("{end} PREPARED 'p'")).await;
        shop.all_fast(end).await;
        assert_eq!(
            shop.sql
                .text("SELECT count(*) FROM joined WHERE order_id IN (1001, 1002)")
                .await,
            found
        );
    }
}

#[tokio::test]
async fn a_truncate_that_commits_late_is_noticed_late() {
    let mut shop = Shop::open().await;
    let mut writer = shop.writer().await;
    // an open TRUNCATE locks readers out, so that its transaction can only be one with an old snapshot elsewhere
    shop.sql
        .run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM customers")
        .await;
    writer.run("TRUNCATE orders").await;
    shop.sql
        .assert_fast_after("regions", "an old snapshot")
        .await;
    shop.sql.run("COMMIT").await;
    for name in ["joined", "totals", "plain"] {
        shop.sql.assert_complete_as(name, "truncated").await;
    }
}
