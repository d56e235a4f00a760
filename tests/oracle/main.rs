//! The differential oracle: whatever the compiler takes, its refresh must leave the rows of the query, byte for byte.

#[path = "../common/mod.rs"]
mod common;

mod case;
mod catalog;
mod generate;

use common::TestServer;
use std::env;

/// How many cases an ordinary run tries.
const CASES: u64 = 500;

#[tokio::test]
async fn a_fast_refresh_leaves_exactly_the_rows_of_the_query() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, cases) = (number("ORACLE_SEED").unwrap_or(1), number("ORACLE_CASES").unwrap_or(CASES));
    let server = TestServer::start().await;
    let mut session = case::Session::open(&server).await;
    let mut taken = 0;
    for seed in first..first + cases {
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
    eprintln!("{taken} of {cases} cases were refreshed fast");
    assert!(taken * 10 >= cases * 8 || cases < 20, "only {taken} of {cases} random queries were taken");
}
