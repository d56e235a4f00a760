//! The watermark: whatever commits when, a fast refresh takes each change exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session, TestServer, Upkeep};
use mvrefreshd::refresh::compile::Compiled;

const TABLES: &str = "
    CREATE TABLE customers (customer_id integer PRIMARY KEY, name text NOT NULL, region text);
    CREATE TABLE orders (order_id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customers ON DELETE CASCADE ON UPDATE CASCADE,
                         amount numeric(10,2) NOT NULL, note text);
    INSERT INTO customers SELECT i, 'c' || i, CASE WHEN i % 4 = 0 THEN NULL ELSE 'r' || i % 3 END FROM generate_series(1, 12) i;
    INSERT INTO orders SELECT i, i % 12 + 1, i * 1.25 FROM generate_series(1, 60) i;";

/// Of every kind that fast refresh has code of its own for.
const VIEWS: &[(&str, &str)] = &[
    (
        "joined",
        "SELECT o.order_id, c.name, o.amount FROM orders o JOIN customers c USING (customer_id)",
    ),
    (
        "totals",
        "SELECT c.region, count(*) AS n, sum(o.amount) AS total, max(o.amount) AS most FROM orders o JOIN customers c USING (customer_id) GROUP BY c.region",
    ),
    ("regions", "SELECT DISTINCT region FROM customers"),
    ("plain", "SELECT amount FROM orders WHERE amount > 10"),
];

struct Shop {
    database: Database,
    sql: Session,
    upkeep: Upkeep,
}

impl Shop {
    /// The tables and views, all of them fast.
    async fn open() -> Self {
        let mut shop = Self::empty(TABLES).await;
        shop.create(VIEWS).await;
        shop
    }

    async fn empty(tables: &str) -> Self {
        let database = Database::installed().await;
        let mut sql = database.admin().await;
        sql.run(tables).await;
        let upkeep = Upkeep::of(&database).await;
        Self {
            database,
            sql,
            upkeep,
        }
    }

    async fn create(&mut self, views: &[(&str, &str)]) {
        for (name, query) in views {
            self.sql
                .run(&format!(
                    "SELECT mvrefresh.create_materialized_view('{name}', $q${query}$q$)"
                ))
                .await;
        }
        for (name, compiled) in self.upkeep.run().await {
            assert_eq!(compiled, Compiled::Fast, "{name}");
        }
        for (name, _) in views {
            // from before there were logs; from now on changes are known
            self.sql
                .assert_complete_as(name, "the first refresh since it was compiled")
                .await;
        }
    }

    async fn all_fast(&mut self, after: &str) {
        for (name, _) in VIEWS {
            self.sql.assert_fast_after(name, after).await;
        }
    }

    async fn writer(&self) -> Session {
        self.database.admin().await
    }
}

const CHANGES: &str = "
    INSERT INTO orders VALUES (1001, 1, 99.99, 'late'), (1002, 5, 0.01, 'late');
    UPDATE orders SET amount = amount + 1 WHERE order_id < 4;
    DELETE FROM orders WHERE order_id IN (10, 11);
    UPDATE customers SET region = 'new' WHERE customer_id = 3";

const OTHER_CHANGES: &str = "
    INSERT INTO orders VALUES (2001, 2, 5, 'soon');
    UPDATE orders SET amount = 7 WHERE order_id = 20;
    DELETE FROM orders WHERE order_id = 21;
    UPDATE customers SET name = 'x' WHERE customer_id = 7";

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

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

const PARTITIONED: &str = "
    CREATE TABLE sales (id integer NOT NULL, region text, amount numeric(8,2), PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE sales_north PARTITION OF sales FOR VALUES IN ('north');
    CREATE TABLE sales_south (amount numeric(8,2), dropped integer, region text NOT NULL, id integer NOT NULL);
    ALTER TABLE sales_south DROP dropped;
    ALTER TABLE sales ATTACH PARTITION sales_south FOR VALUES IN ('south');
    CREATE TABLE sales_rest PARTITION OF sales DEFAULT PARTITION BY RANGE (id);
    CREATE TABLE sales_rest_1 PARTITION OF sales_rest FOR VALUES FROM (0) TO (100);
    CREATE TABLE sales_rest_2 PARTITION OF sales_rest FOR VALUES FROM (100) TO (1000);
    CREATE TABLE names (region text, title text);
    INSERT INTO names VALUES ('north', 'N'), ('south', 'S'), ('east', 'E');
    INSERT INTO sales SELECT i, (ARRAY['north', 'south', 'east'])[i % 3 + 1], i FROM generate_series(1, 200) i;";

const OVER_PARTITIONS: &[(&str, &str)] = &[
    (
        "titled",
        "SELECT s.id, n.title, s.amount FROM sales s JOIN names n USING (region)",
    ),
    (
        "by_region",
        "SELECT region, count(*) AS n, sum(amount) AS total, min(amount) AS least FROM sales GROUP BY region",
    ),
];

#[tokio::test]
async fn changes_of_partitions_are_refreshed_fast_wherever_the_rows_go() {
    let mut shop = Shop::empty(PARTITIONED).await;
    shop.create(OVER_PARTITIONS).await;
    for statement in [
        "INSERT INTO sales VALUES (300, 'north', 1), (301, 'south', 2), (302, 'west', 3)",
        "INSERT INTO sales_north VALUES (303, 'north', 1)",
        "INSERT INTO sales_rest_2 VALUES (304, 'east', 4)",
        "UPDATE sales SET region = 'south' WHERE region = 'north' AND id < 20",
        "UPDATE sales SET region = CASE region WHEN 'south' THEN 'east' WHEN 'east' THEN 'north' ELSE 'south' END",
        "UPDATE sales_rest SET id = id + 500 WHERE id < 50",
        "UPDATE sales_south SET amount = amount + 1",
        "DELETE FROM sales_rest_1 WHERE id > 60",
        "DELETE FROM sales WHERE id % 7 = 0",
        "COPY sales FROM PROGRAM 'printf \"400\\tnorth\\t1.5\\n401\\teast\\t2.5\\n\"'",
        "BEGIN; SAVEPOINT a; UPDATE sales SET region = 'north'; ROLLBACK TO a; UPDATE sales SET region = 'north' WHERE region = 'west'; COMMIT",
    ] {
        shop.sql.run(statement).await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.assert_fast_after(name, statement).await;
        }
    }
    for truncate in ["TRUNCATE sales_rest_1", "TRUNCATE sales"] {
        shop.sql.run(truncate).await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.assert_complete_as(name, "truncated").await;
        }
    }
}

#[tokio::test]
async fn partitions_attached_and_detached_are_never_missed() {
    let mut shop = Shop::empty(PARTITIONED).await;
    shop.create(OVER_PARTITIONS).await;
    for (ddl, change) in [
        (
            "CREATE TABLE sales_west (LIKE sales); INSERT INTO sales_west VALUES (500, 'west', 5); ALTER TABLE sales ATTACH PARTITION sales_west FOR VALUES IN ('west')",
            "INSERT INTO sales_west VALUES (501, 'west', 6); UPDATE sales SET amount = 7 WHERE id = 500",
        ),
        (
            "CREATE TABLE sales_up PARTITION OF sales FOR VALUES IN ('up')",
            "INSERT INTO sales VALUES (510, 'up', 6); UPDATE sales_up SET id = 511",
        ),
        (
            "ALTER TABLE sales DETACH PARTITION sales_south; INSERT INTO sales_south (id, region, amount) VALUES (600, 'south', 1)",
            "DELETE FROM sales_south; UPDATE sales SET amount = amount + 1 WHERE id < 50",
        ),
        (
            "ALTER TABLE sales ATTACH PARTITION sales_south FOR VALUES IN ('south')",
            "INSERT INTO sales VALUES (601, 'south', 2); INSERT INTO sales_south (id, region, amount) VALUES (602, 'south', 3)",
        ),
        (
            "DROP TABLE sales_north",
            "INSERT INTO sales VALUES (603, 'south', 2)",
        ),
    ] {
        // before, during and after the DDL nothing is missed, whether upkeep comes in time or not
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 = 1")
            .await;
        shop.sql.run(ddl).await;
        shop.sql.run(change).await;
        for (name, _) in OVER_PARTITIONS {
            let refreshed = shop.sql.refresh_fast(name).await;
            assert_eq!(
                refreshed.method, "complete",
                "{name} after {ddl}: {refreshed:?}"
            );
            shop.sql.assert_same(name, ddl).await;
        }
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 = 2")
            .await;
        shop.upkeep.run().await;
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 = 3")
            .await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.refresh_fast(name).await;
            shop.sql.assert_same(name, "upkeep").await;
        }
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 IN (3, 4)")
            .await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.assert_fast_after(name, ddl).await;
        }
    }
}

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

#[tokio::test]
async fn views_over_views_and_over_materialized_views_follow_fast() {
    let mut shop = Shop::open().await;
    shop.sql
        .run("CREATE VIEW dear AS SELECT * FROM orders WHERE amount > 20;
              SELECT mvrefresh.create_materialized_view('dear_ones', 'SELECT d.order_id, c.region FROM dear d JOIN customers c USING (customer_id)');
              SELECT mvrefresh.create_materialized_view('by_total', 'SELECT t.region, t.total, d.order_id FROM totals t JOIN dear_ones d USING (region)');
              SELECT mvrefresh.create_materialized_view('counted', 'SELECT region, count(*) AS n FROM by_total GROUP BY region')")
        .await;
    shop.upkeep.run().await;
    let above = ["dear_ones", "by_total", "counted"];
    for name in above {
        shop.sql.refresh_fast(name).await;
    }
    let mut writer = shop.writer().await;
    for (number, change) in [
        CHANGES,
        OTHER_CHANGES,
        "UPDATE customers SET region = 'r1' WHERE region = 'r2'",
    ]
    .iter()
    .enumerate()
    {
        writer.run("BEGIN").await;
        writer.run(change).await;
        shop.sql
            .run(&format!(
                "INSERT INTO orders VALUES (10000 + {number}, 8, 30)"
            ))
            .await;
        shop.all_fast("beside").await;
        for name in above {
            shop.sql.assert_fast_after(name, "beside").await;
        }
        writer.run("COMMIT").await;
        // a refresh of the lower view that commits late, too
        writer.run("BEGIN").await;
        writer.refresh_fast("totals").await;
        shop.sql.assert_fast_after("dear_ones", change).await;
        shop.sql.assert_fast_after("by_total", change).await;
        writer.run("COMMIT").await;
        for name in ["joined", "totals", "by_total", "counted"] {
            shop.sql.assert_fast_after(name, change).await;
        }
    }
}

#[tokio::test]
async fn a_refresh_group_is_refreshed_fast_as_of_one_snapshot() {
    let mut shop = Shop::open().await;
    shop.sql
        .run("UPDATE mvrefresh.materialized_views SET refresh_group = 'all'")
        .await;
    let mut writer = shop.writer().await;
    writer.run("BEGIN").await;
    writer.run(CHANGES).await;
    shop.sql.run(OTHER_CHANGES).await;
    for end in ["", "COMMIT"] {
        if !end.is_empty() {
            writer.run(end).await;
        }
        shop.sql.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
        let methods: Vec<String> = shop
            .sql
            .values("SELECT coalesce(method, status) FROM mvrefresh.refresh_materialized_view('joined', 'fast')")
            .await;
        shop.sql.run("COMMIT").await;
        assert_eq!(methods, ["fast"; 4], "{end}");
        for (name, _) in VIEWS {
            shop.sql.assert_same(name, end).await;
        }
    }
}

#[tokio::test]
async fn every_version_of_the_server_refreshes_fast() {
    for major in common::covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::installed_on(server).await;
        let mut sql = database.admin().await;
        sql.run(TABLES).await;
        let upkeep = Upkeep::of(&database).await;
        let mut shop = Shop {
            database,
            sql,
            upkeep,
        };
        shop.create(VIEWS).await;
        let mut writer = shop.writer().await;
        writer.run("BEGIN").await;
        writer.run(CHANGES).await;
        shop.sql.run(OTHER_CHANGES).await;
        shop.all_fast("the other changes").await;
        writer.run("COMMIT").await;
        shop.all_fast("the late changes").await;
    }
}
