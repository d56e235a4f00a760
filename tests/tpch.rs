//! TPC-H: its 22 queries are materialized views, which follow its refresh streams and other changes by fast refresh.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
#[path = "../benches/tpch/data.rs"]
mod data;
#[path = "../benches/tpch/queries.rs"]
mod queries;

use common::{Database, Session};
use fastrand::Rng;
use mvrefreshd::refresh::compile::Compiled;
use queries::view;

const SCALE: f64 = 0.01;

/// Changes beside the refresh streams, each for some tables.
const UPDATES: &[(&str, &str)] = &[
    (
        "prices and quantities of lines",
        "UPDATE lineitem SET l_quantity = 51 - l_quantity, l_extendedprice = l_extendedprice * 1.01, l_discount = 0.10 - l_discount WHERE l_orderkey % 97 = 1",
    ),
    (
        "dates and flags of lines",
        "UPDATE lineitem SET l_shipdate = l_shipdate - 40, l_receiptdate = l_receiptdate + 20, l_returnflag = 'R' WHERE l_orderkey % 89 = 2",
    ),
    (
        "dates and customers of orders",
        "UPDATE orders SET o_orderdate = o_orderdate + 100, o_custkey = 1 + o_custkey % 1500, o_orderstatus = 'F', o_comment = 'special requests ' || left(o_comment, 60) WHERE o_orderkey % 101 < 3",
    ),
    (
        "segments, balances and phones of customers",
        "UPDATE customer SET c_mktsegment = 'BUILDING', c_acctbal = c_acctbal + 1000, c_phone = '13' || substr(c_phone, 3) WHERE c_custkey % 50 = 7",
    ),
    (
        "sizes, brands and names of parts",
        "UPDATE part SET p_size = 15, p_brand = 'Brand#23', p_container = 'MED BOX', p_type = 'ECONOMY ANODIZED BRASS', p_name = 'forest green ' || left(p_name, 40) WHERE p_partkey % 40 = 3",
    ),
    (
        "costs and quantities of supplies",
        "UPDATE partsupp SET ps_supplycost = ps_supplycost / 2, ps_availqty = ps_availqty / 100 WHERE ps_partkey % 20 = 3",
    ),
    (
        "comments, nations and balances of suppliers",
        "UPDATE supplier SET s_comment = 'Customer Complaints', s_nationkey = 7 WHERE s_suppkey % 9 = 1; UPDATE supplier SET s_comment = 'none', s_nationkey = 20 WHERE s_suppkey % 9 = 2",
    ),
    (
        "the names of two regions",
        "UPDATE region SET r_name = CASE r_name WHEN 'EUROPE' THEN 'ASIA' ELSE 'EUROPE' END WHERE r_name IN ('EUROPE', 'ASIA')",
    ),
    (
        "the names of nations, and their regions",
        "UPDATE nation SET n_name = CASE n_name WHEN 'GERMANY' THEN 'FRANCE' WHEN 'FRANCE' THEN 'SAUDI ARABIA' ELSE 'GERMANY' END WHERE n_name IN ('GERMANY', 'FRANCE', 'SAUDI ARABIA');
         UPDATE nation SET n_regionkey = 3 WHERE n_nationkey = 3",
    ),
    (
        "all tables at once",
        "BEGIN;
         DELETE FROM lineitem WHERE l_orderkey % 50 = 5;
         UPDATE orders SET o_orderpriority = '1-URGENT' WHERE o_orderkey % 60 = 1;
         UPDATE customer SET c_nationkey = 24 - c_nationkey WHERE c_custkey % 30 = 0;
         UPDATE part SET p_type = 'PROMO ANODIZED STEEL' WHERE p_partkey % 33 = 0;
         UPDATE partsupp SET ps_supplycost = 1 WHERE ps_partkey % 45 = 0;
         UPDATE supplier SET s_acctbal = 0 WHERE s_suppkey % 7 = 0;
         COMMIT",
    ),
];

#[tokio::test]
async fn all_queries_are_refreshed_fast_and_are_exact_after_streams_and_updates() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    data::load(&mut sql.connection, SCALE).await;
    let queries = queries::queries(SCALE);
    let mut refused = Vec::new();
    for (number, query) in (1..).zip(&queries) {
        let name = format!("public.{}", view(number));
        sql.run(&format!(
            "SELECT mvrefresh.create_materialized_view('{name}', $query${query}$query$)"
        ))
        .await;
        match sql.compile(&name).await {
            Compiled::Fast => _ = sql.refresh(&name, None).await,
            other => refused.push(format!("{name}: {other:?}")),
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    let mut rng = Rng::with_seed(22);
    for _ in 0..2 {
        data::insert_orders(&mut sql.connection, &mut rng, 15).await;
        follow(&mut sql, "RF1").await;
        data::delete_orders(&mut sql.connection, &mut rng, 15).await;
        follow(&mut sql, "RF2").await;
    }
    for (what, update) in UPDATES {
        sql.run(update).await;
        follow(&mut sql, what).await;
    }
}

/// Every view takes over what has changed, fast.
async fn follow(sql: &mut Session, what: &str) {
    let mut wrong = Vec::new();
    let mut changed = 0;
    for number in 1..=22 {
        let name = format!("public.{}", view(number));
        let begun = std::time::Instant::now();
        let refreshed = sql.refresh(&name, Some("fast")).await;
        let took = begun.elapsed().as_millis();
        if took > 500 {
            eprintln!("{what}: {name} {took} ms");
        }
        changed += u32::from(refreshed.method == "fast");
        if refreshed.method == "complete" {
            wrong.push(format!("{name}: {}", refreshed.reason));
        }
        let differing: i64 = sql
            .value(&format!("SELECT rows_missing + rows_unexpected FROM mvrefresh.verify_materialized_view('{name}')"))
            .await;
        if differing > 0 {
            wrong.push(format!("{name}: {differing} rows differ"));
        }
    }
    assert!(changed > 0, "after {what} no view had anything to do");
    assert!(wrong.is_empty(), "after {what}:\n{}", wrong.join("\n"));
}
