//! One changed row through chains of materialized views, all refreshed fast.
//!
//! `cargo bench --bench chains`; `ROUNDS=20` for fewer rounds.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::time::Instant;

use common::{Database, Session, Upkeep};
use measure::{median, report};

const ORDERS: &str =
    "CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int NOT NULL, amount int NOT NULL);
    INSERT INTO orders SELECT i, i % 1000, i % 97 FROM generate_series(1, 100000) AS i;";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("| figure | measured | reach |");
    println!("| --- | --- | --- |");
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(40);
    through(1, 10, rounds, "≤ 100 ms").await;
    through(20, 3, rounds, "≤ 300 ms").await;
}

/// So many chains over one table, each of so many levels: sums by customer, and what is shown of them.
async fn through(chains: usize, levels: usize, rounds: usize, reach: &str) {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    sql.run(ORDERS).await;
    for chain in 1..=chains {
        for level in 1..=levels {
            let query = if level == 1 {
                format!(
                    "SELECT customer_id, count(*) AS n, sum(amount) AS total FROM orders WHERE customer_id % 1000 <> {chain} GROUP BY customer_id"
                )
            } else {
                format!(
                    "SELECT customer_id, n, total + 1 AS total FROM v{chain}_{}",
                    level - 1
                )
            };
            sql.run(&format!(
                "SELECT mvrefresh.create_materialized_view('v{chain}_{level}', '{query}', 3600, refresh_method => 'fast')"
            ))
            .await;
        }
    }
    Upkeep::of(&database).await.run().await;
    refresh(&mut sql).await;
    sql.run("VACUUM ANALYZE").await;
    let mut times = Vec::new();
    for round in 0..rounds + 5 {
        sql.run(&format!(
            "UPDATE orders SET amount = amount + 1 WHERE order_id = {}; DELETE FROM mvrefresh.refresh_history",
            1 + round * 1001 + 500
        ))
        .await;
        let begun = Instant::now();
        refresh(&mut sql).await;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        // the first ones make the session's plans
        if round >= 5 {
            times.push(took);
        }
    }
    let fast: i64 = sql
        .value("SELECT count(*) FROM mvrefresh.refresh_history WHERE method = 'fast'")
        .await;
    assert_eq!(
        usize::try_from(fast).unwrap(),
        chains * levels,
        "all of them, and fast"
    );
    for chain in 1..=chains {
        sql.assert_exact(&format!("v{chain}_{levels}")).await;
    }
    report(
        &format!(
            "one changed row through {levels} levels of {chains}, all refreshed fast by one session"
        ),
        &format!("{:.1} ms", median(&times)),
        reach,
    );
}

async fn refresh(sql: &mut Session) {
    sql.run("SELECT mvrefresh.refresh_all_materialized_views(true)")
        .await;
}
