//! The watermark: whatever commits when, a fast refresh takes each change exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod late;
mod logs;
mod own;
mod partitions;
mod statements;
mod views;

use common::{Database, Session, Upkeep};
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
