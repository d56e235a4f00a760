//! The first fill of a materialized view by one session and by several, turn by turn in one run.
//!
//! `cargo bench --bench parallel_fill`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::time::Instant;

use common::{TestServer, run};
use measure::median;

const ROWS: u32 = 1_000_000;
const ROUNDS: usize = 3;

/// What is filled: a join with a few expressions, and a grouping. Split by its first column.
const VIEWS: [(&str, &str, &str); 2] = [
    (
        "join",
        "order_id",
        "SELECT o.order_id, c.name, upper(o.note) AS note, round(o.amount * 1.21, 2) AS with_tax, md5(o.note) AS digest
         FROM orders o JOIN customers c USING (customer_id)",
    ),
    (
        "GROUP BY",
        "customer_id",
        "SELECT customer_id, count(*) AS orders, sum(amount) AS amount, max(order_id) AS latest FROM orders GROUP BY customer_id",
    ),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = TestServer::start().await;
    server
        .execute(&format!(
            "CREATE TABLE customers (customer_id integer PRIMARY KEY, name text NOT NULL);
             INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, {ROWS} / 10) i;
             CREATE TABLE orders (order_id integer PRIMARY KEY, customer_id integer NOT NULL, amount numeric(10, 2) NOT NULL, note text NOT NULL);
             INSERT INTO orders SELECT i, 1 + (i::bigint * 7919) % ({ROWS} / 10), (i % 1000) / 4.0, 'note of order ' || i FROM generate_series(1, {ROWS}) i;
             CREATE INDEX ON orders (customer_id)"
        ))
        .await;
    server.execute("VACUUM ANALYZE").await;
    common::install(&server).await;
    println!(
        "| first fill from {ROWS} orders, in times of one session without --parallel | 1 session | 2 sessions | 4 sessions |"
    );
    println!("| --- | --- | --- | --- |");
    for (name, column, query) in VIEWS {
        let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let plain = fill(&server, query, &[]).await;
            for (ratios, sessions) in ratios.iter_mut().zip(["1", "2", "4"]) {
                let how = ["--parallel", sessions, "--split-by", column];
                ratios.push(fill(&server, query, &how).await / plain);
            }
        }
        let [one, two, four] = ratios.map(|ratios| median(&ratios));
        println!("| {name} | {one:.2} | {two:.2} | {four:.2} |");
    }
}

/// Creates a materialized view and drops it; the seconds that the command takes.
async fn fill(server: &TestServer, query: &str, how: &[&str]) -> f64 {
    server.execute("CHECKPOINT").await;
    let arguments = [&["create", "copy", "--query", query][..], how].concat();
    let environment = [("DATABASE_URL", server.url())];
    let environment = environment
        .each_ref()
        .map(|(name, url)| (*name, url.as_str()));
    let begun = Instant::now();
    let finished = run(&arguments, &environment).await;
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    server
        .execute("SELECT mvrefresh.drop_materialized_view('copy')")
        .await;
    seconds
}
