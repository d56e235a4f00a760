//! A refresh as part of a transaction, and what is undone.

use crate::{CHANGES, LEVELS, Shop, VIEWS};

#[tokio::test]
async fn a_refresh_sees_what_its_own_transaction_wrote_before_and_a_later_one_what_it_wrote_after()
{
    for level in LEVELS {
        let mut shop = Shop::open().await;
        for (number, (name, _)) in VIEWS.iter().enumerate() {
            let order = 4000 + 10 * number;
            let insert = |offset: usize| {
                format!(
                    "INSERT INTO orders VALUES ({}, 3, {})",
                    order + offset,
                    100 + order + offset
                )
            };
            let sql = &mut shop.sql;
            sql.run(&format!("BEGIN ISOLATION LEVEL {level}")).await;
            sql.run(&insert(0)).await;
            sql.refresh_fast(name).await;
            sql.assert_same(name, "a write and a refresh").await;
            sql.run(&insert(1)).await;
            sql.run("DELETE FROM orders WHERE order_id = 30").await;
            sql.refresh_fast(name).await;
            sql.assert_same(name, "two writes and two refreshes").await;
            sql.run(&insert(2)).await;
            sql.run("COMMIT").await;
            sql.refresh_fast(name).await;
            sql.assert_same(name, "a write after the refresh").await;
            sql.run(&insert(3)).await;
            sql.assert_fast_after(name, "all that").await;
            // and the other way: nothing of an undone transaction stays
            sql.run(&format!("BEGIN ISOLATION LEVEL {level}; {}", insert(4)))
                .await;
            sql.refresh_fast(name).await;
            sql.run("ROLLBACK").await;
            sql.assert_same(name, "a rollback").await;
            sql.run(&insert(5)).await;
            sql.assert_fast_after(name, "a rollback and a write").await;
        }
    }
}

#[tokio::test]
async fn savepoints_released_and_rolled_back_count_as_they_ended() {
    let mut shop = Shop::open().await;
    for script in [
        "BEGIN; SAVEPOINT a; INSERT INTO orders VALUES (6001, 1, 1); ROLLBACK TO a; INSERT INTO orders VALUES (6001, 1, 2); COMMIT",
        "BEGIN; SAVEPOINT a; UPDATE orders SET amount = 3 WHERE order_id < 9; SAVEPOINT b; DELETE FROM orders WHERE order_id = 2; RELEASE b; RELEASE a; COMMIT",
        "BEGIN; SAVEPOINT a; DELETE FROM orders; ROLLBACK TO a; ROLLBACK TO a; DELETE FROM orders WHERE order_id = 40; RELEASE a; COMMIT",
        "BEGIN; SAVEPOINT a; TRUNCATE orders; ROLLBACK TO a; COMMIT",
        "BEGIN; SAVEPOINT a; INSERT INTO orders VALUES (6002, 1, 2); ROLLBACK",
        "DO $$ BEGIN BEGIN DELETE FROM orders; RAISE 'no'; EXCEPTION WHEN raise_exception THEN UPDATE orders SET amount = 4 WHERE order_id = 1; END; END $$",
        // more subtransactions than a snapshot lists
        "DO $$ BEGIN FOR i IN 7000..7150 LOOP BEGIN INSERT INTO orders VALUES (i, 1, i); IF i % 3 = 0 THEN RAISE 'no'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$",
    ] {
        for statement in script.split("; ").filter(|_| !script.starts_with("DO")) {
            shop.sql.run(statement).await;
        }
        if script.starts_with("DO") {
            shop.sql.run(script).await;
        }
        shop.all_fast(script).await;
    }
}

#[tokio::test]
async fn a_refresh_undone_by_a_savepoint_has_not_happened() {
    let mut shop = Shop::open().await;
    for (name, _) in VIEWS {
        let sql = &mut shop.sql;
        sql.run(&format!(
            "UPDATE orders SET amount = amount + 1 WHERE order_id < 30; UPDATE customers SET region = '{name}' WHERE customer_id = 1;
             COMMIT; BEGIN; SAVEPOINT a"
        ))
        .await;
        sql.assert_fast_after(name, "an update").await;
        sql.run("ROLLBACK TO a; COMMIT").await;
        let refreshed = sql.refresh_fast(name).await;
        assert_eq!(refreshed.method, "fast", "{name}: {refreshed:?}");
        sql.assert_same(name, "the rollback").await;
    }
}

#[tokio::test]
async fn what_an_aborted_transaction_logged_is_never_seen() {
    let mut shop = Shop::open().await;
    for end in ["ROLLBACK", "killed", "failed"] {
        let mut writer = shop.writer().await;
        writer.run("BEGIN").await;
        writer.run(CHANGES).await;
        shop.all_fast("beside").await;
        match end {
            "killed" => {
                let pid = writer.pid().await;
                shop.sql
                    .run(&format!("SELECT pg_terminate_backend({pid}, 10000)"))
                    .await;
            }
            "failed" => {
                writer.failure("INSERT INTO orders VALUES (1, 1, 1)").await;
                writer.run("COMMIT").await;
            }
            _ => writer.run(end).await,
        }
        shop.sql
            .run("UPDATE orders SET amount = amount + 1 WHERE order_id < 5")
            .await;
        shop.all_fast(end).await;
    }
    assert_eq!(
        shop.sql
            .text("SELECT count(*) FROM joined WHERE order_id > 1000")
            .await,
        "0"
    );
}
