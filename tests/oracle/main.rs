//! The differential oracle: whatever the compiler takes, its refresh must leave the rows of the query, byte for byte.
//! `make oracle CASES=10000 SEED=1` runs more cases. A failing case is made small and written as a script for psql.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::format_push_string,
    reason = "that SQL can be read here counts more than an allocation"
)]

#[path = "../common/mod.rs"]
mod common;

mod broken;
mod case;
mod catalog;
mod changes;
mod generate;
mod scenario;
mod script;
mod shrink;
mod statements;
mod tally;
mod words;

use std::path::{Path, PathBuf};
use std::{env, fs};

use case::{Failure, Session};
use common::TestServer;
use scenario::Case;
use tally::Tally;

/// How many cases an ordinary run tries.
const CASES: u64 = 1000;

/// How many servers work at the cases side by side.
const SERVERS: u64 = 2;

/// After so many cases the servers' tables are freed of dead rows.
const TIDY_EVERY: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
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
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for cases in running {
        match cases.await.unwrap() {
            Ok(counted) => tally.add(counted),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    eprintln!("{tally}");
    assert!(
        tally.refused_views() * 10 <= tally.views || cases < 20,
        "too few random queries were taken: {tally}"
    );
}

/// Runs cases on a server of their own, up to the first that fails.
async fn run(seeds: Vec<u64>) -> Result<Tally, String> {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    let mut tally = Tally::default();
    for (number, seed) in (1..).zip(seeds) {
        let case = Case::random(seed);
        match session.run(&case).await {
            Ok(report) => tally.count(&case, &report),
            Err(failure) => {
                let text = shrunk_script(&mut session, &case, &failure).await;
                let file = written(seed, &text);
                return Err(format!(
                    "seed {seed} (make oracle SEED={seed} CASES=1), in {}:\n{text}",
                    file.display()
                ));
            }
        }
        if number % TIDY_EVERY == 0 {
            session.tidy().await;
        }
    }
    Ok(tally)
}

/// A script that shows the failure of a case, made as small as possible.
async fn shrunk_script(session: &mut Session, case: &Case, failure: &Failure) -> String {
    let (small, tried) = shrink::shrunk(session, case, &failure.kind).await;
    let again = session.run(&small).await;
    let comment = |text: &str| text.replace('\n', "\n-- ");
    format!(
        "-- {:?}: {}\n-- made small in {tried} runs; psql --file this\n{}\n-- {}\n",
        failure.kind,
        comment(&failure.details),
        session.script(),
        match again {
            Err(failure) => comment(&failure.details),
            Ok(_) => "did not fail again".to_owned(),
        }
    )
}

fn written(seed: u64, text: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{seed}.sql"));
    fs::write(&file, text).unwrap();
    file
}
