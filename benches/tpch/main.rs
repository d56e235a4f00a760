//! The 22 queries of TPC-H as materialized views: fast and complete refresh, what `auto` takes, and `REFRESH MATERIALIZED
//! VIEW`, beside one another after the benchmark's refresh streams.
//!
//! `cargo bench --bench tpch`; with names of queries (`q01 q17`) as arguments only those. `SCALE=1` is the scale factor (0.1 if
//! not given), `RATES="0.001 0.01"` the shares of orders that come and that go, `ROUNDS=3` how often each is measured. With
//! `EXPLAIN=directory` the statements and their plans at the first rate are written there.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../tests/common/mod.rs"]
mod common;
mod data;
mod figures;
#[path = "../measure/mod.rs"]
mod measure;
mod queries;
mod warehouse;

use figures::Figures;
use warehouse::Warehouse;

/// Refreshes of each view by `auto` before any is measured.
const LEARNING: u32 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let scale: f64 = setting("SCALE", "0.1").parse().unwrap();
    let rounds: u32 = setting("ROUNDS", "3").parse().unwrap();
    let rates: Vec<f64> = setting("RATES", "0.001 0.01 0.1")
        .split_whitespace()
        .map(|rate| rate.parse().unwrap())
        .collect();
    let mut warehouse = Warehouse::open(scale, &wanted).await;
    if let Ok(directory) = std::env::var("EXPLAIN") {
        warehouse.explain(rates[0], directory.as_ref()).await;
    }
    for rate in rates {
        let mut figures = Figures::new(rate);
        // what `auto` has to learn: it believes no single measurement
        for _ in 0..LEARNING {
            warehouse.change_and_refresh(rate).await;
        }
        // plans and caches
        warehouse.round(rate, &mut Figures::new(rate)).await;
        for _ in 0..rounds {
            warehouse.round(rate, &mut figures).await;
        }
        warehouse.verify().await;
        figures.print();
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
