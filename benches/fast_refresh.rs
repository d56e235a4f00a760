//! Fast refresh beside `REFRESH MATERIALIZED VIEW` and beside what one would write by hand for each view, turn by turn in
//! one run; and what logging costs the writers.
//!
//! `cargo bench --bench fast_refresh`; with names of figures as arguments only those: join, customer, region, extrema, left,
//! distinct, dimensions, growth, nothing, logs. `SCALE=0.1` for a tenth of the rows, `ROUNDS=3` for fewer rounds.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;
mod shop;

use measure::report;
use shop::logs::logs;
use shop::views::VIEWS;
use shop::{Change, Shop, number};

/// Batches, with how often each is measured in a round, for so small ones that one is below what can be measured.
const BATCHES: [(u32, u32); 4] = [(1, 60), (100, 20), (1_000, 6), (10_000, 2)];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wants = |figure: &str| wanted.is_empty() || wanted.iter().any(|name| name == figure);
    println!("| figure | measured | reach |");
    println!("| --- | --- | --- |");
    if wants("logs") {
        logs(number("SCALE", 1.0)).await;
    }
    if VIEWS.iter().any(|view| wants(view.figure)) || wants("dimensions") || wants("nothing") {
        let scale = number("SCALE", 1.0);
        let mut shop = Shop::open(scale, scale, &|figure| {
            wants(figure) || (figure == "join" && (wants("dimensions") || wants("nothing")))
        })
        .await;
        for view in VIEWS.iter().filter(|view| wants(view.figure)) {
            shop.begin(view).await;
            for (rows, times) in BATCHES {
                shop.compare(view, Change::Orders(rows), times).await;
            }
            shop.verify(view).await;
            shop.native(view).await;
        }
        if wants("dimensions") {
            let join = &VIEWS[0];
            shop.begin(join).await;
            shop.compare(join, Change::Product, 6).await;
            shop.compare(join, Change::Customers, 6).await;
            shop.verify(join).await;
        }
        if wants("nothing") {
            shop.nothing(&VIEWS[0]).await;
        }
    }
    if wants("growth") {
        growth().await;
    }
}

/// The same batch over a base table ten times as large, alone and with the customers that it refers to.
async fn growth() {
    let scale = number("SCALE", 1.0);
    let wants = |figure: &str| figure == "join" || figure == "customer";
    let mut costs: Vec<Vec<[f64; 2]>> = Vec::new();
    for (orders, customers) in [
        (scale, scale),
        (scale * 10.0, scale),
        (scale * 10.0, scale * 10.0),
    ] {
        let mut shop = Shop::open(orders, customers, &wants).await;
        let mut found = Vec::new();
        for view in VIEWS.iter().filter(|view| wants(view.figure)) {
            found.push(shop.cost(view, Change::Orders(1_000), 6).await);
        }
        costs.push(found);
    }
    let [before, alone, with_customers] = &costs[..] else {
        unreachable!("three sizes")
    };
    for (view, title) in ["join", "GROUP BY customer"].iter().enumerate() {
        for (what, after) in [
            ("orders ten times as many", alone),
            ("and customers", with_customers),
        ] {
            let growth = |way: usize| {
                let (before, after) = (before[view][way], after[view][way]);
                format!("{:.2} × ({before:.1} → {after:.1} ms CPU)", after / before)
            };
            report(
                &format!("{title}, 1,000 changed orders, {what}"),
                &format!("{}, by hand {}", growth(0), growth(1)),
                "≤ 1.3 ×",
            );
        }
    }
}
