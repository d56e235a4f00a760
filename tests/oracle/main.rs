//! The differential oracle: whatever the compiler takes, its refresh must leave the rows of the query, byte for byte.
//! `make oracle CASES=10000 SEED=1` runs more cases. A failing case is made small and written as a script for psql.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "that SQL can be read here counts more than an allocation"
)]

#[path = "../common/mod.rs"]
mod common;

mod anywhere;
mod broken;
mod case;
mod catalog;
mod changes;
mod claims;
mod general;
mod generate;
mod installed;
mod known;
mod lateral;
mod scenario;
mod script;
mod shrink;
mod statements;
mod subject;
mod subqueries;
mod tally;
mod wider;
mod windows;
mod words;

use std::path::Path;
use std::{env, fs};

use case::Session;
use common::TestServer;
use installed::Installed;
use scenario::{Case, Way};
use subject::{Failure, Subject, is_slow};
use tally::Tally;

/// How many cases an ordinary run tries in a way.
const fn ordinary_cases(way: Way) -> u64 {
    match way {
        Way::Statements => 4500,
        Way::Installed => 500,
    }
}

/// How many servers work at the cases side by side.
const SERVERS: u64 = 2;

/// After so many cases the servers are freed of what they have left.
const TIDY_EVERY: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_compiled_statement_leaves_exactly_the_rows_of_the_query() {
    let tally = all(Way::Statements).await;
    let complete = tally.refused_views() * 10;
    assert!(
        complete <= tally.views || tally.views < 20,
        "too few random queries were taken: {tally}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn as_installed_every_refresh_leaves_exactly_the_rows_of_the_query() {
    let tally = all(Way::Installed).await;
    let few = tally.fast < tally.views;
    assert!(!few || tally.views < 20, "too few fast refreshes: {tally}");
}

/// Runs the cases that the environment asks for.
async fn all(way: Way) -> Tally {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let first = number("ORACLE_SEED").unwrap_or(1);
    let cases = number("ORACLE_CASES").unwrap_or(ordinary_cases(way));
    let running: Vec<_> = (0..SERVERS)
        .map(|server| {
            let seeds = (first..first + cases).filter(move |seed| seed % SERVERS == server);
            tokio::spawn(some(way, seeds.collect()))
        })
        .collect();
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for cases in running {
        match cases.await.unwrap() {
            Ok(counted) => tally.add(counted),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let slow = u64::try_from(tally.slow.len()).unwrap();
    assert!(
        slow * 100 <= cases.max(100),
        "too many took too long: {tally}"
    );
    eprintln!("{way:?}: {tally}");
    tally
}

/// Runs cases on a server of their own, up to the first that fails.
async fn some(way: Way, seeds: Vec<u64>) -> Result<Tally, String> {
    let server = TestServer::start().await;
    match way {
        Way::Statements => run(&mut Session::open(&server).await, way, &seeds).await,
        Way::Installed => {
            let (mut installed, _database) = Installed::open(server).await;
            run(&mut installed, way, &seeds).await
        }
    }
}

async fn run<S: Subject>(subject: &mut S, way: Way, seeds: &[u64]) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for some in seeds.chunks(TIDY_EVERY) {
        for seed in some {
            let case = Case::random(*seed, way);
            match subject.run(&case).await {
                Ok(report) => tally.count(&case, &report),
                Err(failure) if is_slow(&failure) => tally.slow.push(*seed),
                Err(failure) => return Err(shown(subject, *seed, &case, &failure).await),
            }
        }
        subject.tidy().await;
    }
    Ok(tally)
}

/// Makes a case that failed as small as possible, and writes a script that shows the failure.
async fn shown<S: Subject>(subject: &mut S, seed: u64, case: &Case, failure: &Failure) -> String {
    let (small, tried) = shrink::shrunk(subject, case, &failure.kind).await;
    let again = subject.run(&small).await;
    let comment = |text: &str| text.replace('\n', "\n-- ");
    let script = format!(
        "-- {:?}: {}\n-- made small in {tried} runs\n{}\n-- {}\n",
        failure.kind,
        comment(&failure.details),
        subject.script(),
        match again {
            Err(failure) => comment(&failure.details),
            Ok(_) => "it did not fail again".to_owned(),
        }
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{seed}.sql"));
    fs::write(&file, &script).unwrap();
    format!(
        "seed {seed} (make oracle SEED={seed} CASES=1); psql --file {}\n{script}",
        file.display()
    )
}
