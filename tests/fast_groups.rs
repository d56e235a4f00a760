//! What is kept of groups beside the rows: filled by complete refreshes, carried on by fast ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};

const ORDERS: &str = "
    CREATE TABLE alice.orders (order_id int PRIMARY KEY, customer_id int NOT NULL, amount int NOT NULL);
    INSERT INTO alice.orders SELECT i, i % 20 + 1, i FROM generate_series(1, 200) AS i";

/// Orders of alice's, a session of hers and one of the module's.
async fn orders() -> (Database, Session, Session) {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice.run(ORDERS).await;
    let module = database.session("refresher").await;
    (database, alice, module)
}

#[tokio::test]
async fn a_complete_refresh_of_groups_computes_its_query_once() {
    let (_database, mut alice, mut module) = orders().await;
    alice
        .run("CREATE SEQUENCE alice.calls;
              CREATE FUNCTION alice.counted(n numeric) RETURNS numeric IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''alice.calls''); RETURN n; END';
              SELECT mvrefresh.create_materialized_view('alice.counted', 'SELECT customer_id, avg(amount) AS mean FROM alice.orders WHERE alice.counted(amount) IS NOT NULL GROUP BY customer_id')")
        .await;
    module.make_fast("alice.counted").await;
    let rows: i64 = alice.value("SELECT count(*) FROM alice.orders").await;
    for form in ["in_place", "rebuild"] {
        alice.run("SELECT setval('alice.calls', 1, false)").await;
        module.refresh("alice.counted", Some(form)).await;
        let calls: i64 = alice.value("SELECT last_value FROM alice.calls").await;
        assert_eq!(calls, rows, "{form}");
    }
    module.assert_exact("alice.counted").await;
}

#[tokio::test]
async fn a_complete_refresh_puts_right_what_is_kept_of_groups_wherever_it_was_touched() {
    let (_database, mut alice, mut module) = orders().await;
    // a key that may be NULL, of which no unique index keeps the state free of duplicates
    alice
        .run("CREATE TABLE alice.loose (k int, n int);
              INSERT INTO alice.loose SELECT nullif(i % 4, 0), i FROM generate_series(1, 20) AS i;
              SELECT mvrefresh.create_materialized_view('alice.loose_averages', 'SELECT k, avg(n) AS mean FROM alice.loose GROUP BY k')")
        .await;
    module.make_fast("alice.loose_averages").await;
    let id = module.view_id("alice.loose_averages").await;
    for touched in [
        "UPDATE s SET row_count = 99",
        "INSERT INTO s SELECT * FROM s",
        "DELETE FROM s WHERE key_1 IS NULL",
    ] {
        let state = format!("mvrefresh.\"state${id}\"");
        module
            .run(&touched.replace(" s", &format!(" {state}")))
            .await;
        module
            .refresh("alice.loose_averages", Some("complete"))
            .await;
        alice
            .run("DELETE FROM alice.loose WHERE n = (SELECT min(n) FROM alice.loose)")
            .await;
        module.assert_fast("alice.loose_averages").await;
    }
}

#[tokio::test]
async fn groups_below_limit_are_kept_in_tables_that_go_with_their_materialized_view() {
    let (_database, mut alice, mut module) = orders().await;
    alice
        .run("SELECT mvrefresh.create_materialized_view('alice.best',
                'SELECT t.customer_id, t.total, b.n
                 FROM (SELECT customer_id, sum(amount) AS total FROM alice.orders GROUP BY customer_id) t
                 JOIN (SELECT customer_id, count(*) AS n, max(amount) AS largest FROM alice.orders WHERE amount > 50 GROUP BY customer_id) b USING (customer_id)
                 ORDER BY t.total DESC, t.customer_id LIMIT 5')")
        .await;
    module.make_fast("alice.best").await;
    let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'state$%' AND relkind = 'r'";
    assert_eq!(module.value::<i64>(tables).await, 2);
    for change in [
        "UPDATE alice.orders SET amount = amount + 1000 WHERE customer_id = 3",
        "DELETE FROM alice.orders WHERE customer_id = 3",
        "INSERT INTO alice.orders SELECT 1000 + i, 40 + i % 3, 500 * i FROM generate_series(1, 9) AS i",
    ] {
        alice.run(change).await;
        module.assert_fast("alice.best").await;
    }
    alice
        .run("UPDATE alice.orders SET amount = 7 WHERE order_id % 5 = 0")
        .await;
    module.refresh("alice.best", Some("complete")).await;
    module.assert_exact("alice.best").await;
    alice
        .run("DELETE FROM alice.orders WHERE order_id % 7 = 0")
        .await;
    module.assert_fast("alice.best").await;
    alice
        .run("SELECT mvrefresh.drop_materialized_view('alice.best')")
        .await;
    assert_eq!(module.value::<i64>(tables).await, 0);
}
