//! Statements that write in ways of their own.

use crate::Shop;

#[tokio::test]
async fn truncate_makes_the_next_refresh_complete_and_only_that() {
    let mut shop = Shop::open().await;
    shop.sql.run("BEGIN; TRUNCATE orders; ROLLBACK").await;
    shop.all_fast("TRUNCATE undone").await;
    for truncate in [
        "TRUNCATE orders",
        "INSERT INTO orders VALUES (1, 1, 1), (2, 2, 2); TRUNCATE orders; INSERT INTO orders VALUES (3, 3, 30)",
        "TRUNCATE customers CASCADE; INSERT INTO customers VALUES (1, 'one', 'r1')",
    ] {
        shop.sql.run(&format!("BEGIN; {truncate}; COMMIT")).await;
        for name in ["joined", "totals"] {
            shop.sql.assert_complete_as(name, "truncated").await;
        }
        shop.sql.run("INSERT INTO customers VALUES (50, 'fifty', 'r2') ON CONFLICT DO NOTHING; INSERT INTO orders VALUES (50, 50, 50) ON CONFLICT DO NOTHING").await;
        for name in ["joined", "totals"] {
            shop.sql.assert_fast_after(name, truncate).await;
        }
        for name in ["regions", "plain"] {
            shop.sql.refresh_fast(name).await;
            shop.sql.assert_same(name, truncate).await;
        }
    }
}

#[tokio::test]
async fn statements_that_write_in_ways_of_their_own_are_refreshed_fast() {
    let mut shop = Shop::open().await;
    for statement in [
        "COPY orders (order_id, customer_id, amount) FROM PROGRAM 'printf \"9001\\t1\\t1.5\\n9002\\t2\\t2.5\\n\"'",
        "INSERT INTO orders VALUES (1, 2, 3), (9003, 2, 3) ON CONFLICT DO NOTHING",
        "INSERT INTO orders VALUES (1, 2, 3), (9004, 2, 3) ON CONFLICT (order_id) DO UPDATE SET amount = excluded.amount + orders.amount, customer_id = excluded.customer_id",
        "INSERT INTO orders VALUES (1, 2, 3) ON CONFLICT (order_id) DO UPDATE SET amount = orders.amount WHERE orders.amount < 0",
        "MERGE INTO orders USING (SELECT generate_series(55, 65) AS id) AS s ON orders.order_id = s.id
         WHEN MATCHED AND s.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET amount = 0.5 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 3, s.id)",
        "WITH gone AS (DELETE FROM orders WHERE order_id BETWEEN 30 AND 35 RETURNING *), more AS (INSERT INTO customers VALUES (77, 'wcte', 'r1') RETURNING customer_id)
         INSERT INTO orders SELECT 1000 + order_id, customer_id, amount, 'moved' FROM gone",
        // by foreign key: orders go, and change
        "DELETE FROM customers WHERE customer_id = 4",
        "UPDATE customers SET customer_id = customer_id + 500 WHERE customer_id IN (5, 6)",
        "UPDATE orders SET order_id = order_id + 20000",
        "UPDATE orders SET note = 'nobody reads this'",
        "UPDATE orders SET amount = amount",
        "DELETE FROM orders; INSERT INTO orders VALUES (1, 1, 100)",
    ] {
        shop.sql.run(statement).await;
        shop.all_fast(statement).await;
    }
    // twice the same row, out and in again, nothing in the end
    shop.sql
        .run("BEGIN; DELETE FROM orders WHERE order_id = 1; INSERT INTO orders VALUES (1, 1, 100); UPDATE orders SET amount = 5; UPDATE orders SET amount = 100; COMMIT")
        .await;
    shop.all_fast("nothing in the end").await;
}
