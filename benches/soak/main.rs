//! 300 materialized views, half of them fast, kept by two daemons while writers write at a steady rate and every 20 seconds
//! a daemon or a backend is killed.
//!
//! `cargo bench --bench soak`; `SOAK_MINUTES=1` for a short look, `SOAK_SEED` for other kills. Exits with a failure if a
//! view is not exact at the end; the other figures are printed beside what they should reach.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../measure/mod.rs"]
mod measure;

mod faults;
mod figures;
mod lateness;
mod views;
mod writers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Daemon, TestServer};
use fastrand::Rng;

use self::faults::Faults;
use self::figures::Figures;
use self::writers::Traffic;

/// How often something is killed.
const KILL_EVERY: Duration = Duration::from_secs(20);

/// How often memory and logs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// As on a machine shared with others: two workers for each daemon.
fn daemon(server: &TestServer) -> Daemon {
    let url = server.url();
    Daemon::spawn(
        &["run", "--database-url", &url],
        &[
            ("MVREFRESHD_WORKERS__MAX", "2"),
            ("MVREFRESHD_HISTORY__KEEP", "10m"),
            ("MVREFRESHD_HISTORY__PRUNE_EVERY", "1m"),
            ("MVREFRESHD_LOGS__CHECK_EVERY", "10s"),
        ],
    )
}

#[tokio::main]
async fn main() {
    let minutes: u64 = std::env::var("SOAK_MINUTES").map_or(30, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("SOAK_SEED").map_or(20_261_121, |text| text.parse().unwrap());
    let mut random = Rng::with_seed(seed);
    let server = TestServer::start().await;
    common::install(&server).await;
    let mut sql = server.connect().await;
    views::make(&mut sql).await;
    // the first is never killed, so that its memory can be watched
    let mut daemons = [daemon(&server), daemon(&server)];
    views::until_filled(&mut sql).await;

    let traffic = Arc::new(Traffic::on(server.url()));
    let writers = writers::start(&traffic, &mut random);
    let mut figures = Figures::begin(&mut sql).await;
    let mut faults = Faults::default();
    let begun = Instant::now();
    let (mut next_kill, mut next_look) = (begun + KILL_EVERY, begun + LOOK_EVERY);
    while begun.elapsed() < Duration::from_secs(60 * minutes) {
        tokio::time::sleep_until(next_kill.min(next_look).into()).await;
        if next_look <= Instant::now() {
            next_look += LOOK_EVERY;
            figures
                .look(&mut sql, begun.elapsed(), daemons[0].pid())
                .await;
        }
        if next_kill <= Instant::now() {
            next_kill += KILL_EVERY;
            faults
                .kill_something(&server, &mut daemons[1], &mut random)
                .await;
        }
    }
    traffic.end();
    for writer in writers {
        writer.await.unwrap();
    }
    figures.finish(&mut sql).await;
    let inexact = views::inexact(&mut sql).await;
    println!("seed {seed}, {minutes} minutes, {}", faults.summary());
    println!("{}", traffic.summary(begun.elapsed()));
    figures.print(inexact.len(), faults.instants());
    assert!(inexact.is_empty(), "not exact: {inexact:?}");
}
