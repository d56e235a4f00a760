//! The differential oracle: whatever the compiler takes, its refresh must leave the rows of the query, byte for byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod case;
mod catalog;
mod general;
mod generate;
mod statements;

use common::TestServer;
use std::env;

/// How many cases an ordinary run tries.
const CASES: u64 = 500;

/// How many servers work at the cases side by side.
const SERVERS: u64 = 2;

#[tokio::test]
async fn a_fast_refresh_leaves_exactly_the_rows_of_the_query() {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let first = number("ORACLE_SEED").unwrap_or(1);
    let cases = number("ORACLE_CASES").unwrap_or(CASES);
    let mut running = Vec::new();
    for server in 0..SERVERS {
        let seeds: Vec<u64> = (first..first + cases)
            .filter(|seed| seed % SERVERS == server)
            .collect();
        running.push(tokio::spawn(run(seeds)));
    }
    let mut taken = 0;
    for cases in running {
        taken += cases.await.unwrap();
    }
    eprintln!("{taken} of {cases} cases were refreshed fast");
    assert!(
        taken * 10 >= cases * 9 || cases < 20,
        "only {taken} of {cases} random queries were taken"
    );
}

/// Runs cases on a server of their own; gives the number of those that were refreshed fast.
async fn run(seeds: Vec<u64>) -> u64 {
    let server = TestServer::start().await;
    let mut session = case::Session::open(&server).await;
    let mut taken = 0;
    for seed in seeds {
        match session.run(seed).await {
            Ok(case::Outcome::Equal) => taken += 1,
            Ok(case::Outcome::Refused(reason)) => {
                if env::var("ORACLE_VERBOSE").is_ok() {
                    eprintln!("seed {seed} refused: {reason}");
                }
            }
            Err(failure) => panic!("seed {seed} (ORACLE_SEED={seed} ORACLE_CASES=1):\n{failure}"),
        }
    }
    taken
}
