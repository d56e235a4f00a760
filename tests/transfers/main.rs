//! Money is transferred all the time, and the daemon follows with fast refreshes as fast as it can: at every instant every
//! materialized view shows the one sum that never changes, whoever is killed meanwhile, and in the end each is exact.
//! `TRANSFERS_SEED` and `TRANSFERS_SECONDS` choose the run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod traffic;

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Daemon, Signal, TestServer, count, execute, holds, install, options, until};
use fastrand::Rng;
use mvrefreshd::scratch::Options;
use sqlx::{PgConnection, Row};
use tokio::time::{Instant, sleep};
use traffic::Traffic;

const WRITERS: usize = 8;
const ACCOUNTS: i64 = 200;
const TOTAL: i64 = 1_000 * ACCOUNTS;

const VIEWS: &[(&str, &str)] = &[
    ("copied", "SELECT account_id, balance FROM account"),
    (
        "joined",
        "SELECT a.account_id, a.balance, b.city FROM account a JOIN branch b USING (branch_id)",
    ),
    (
        "by_branch",
        "SELECT branch_id, sum(balance) AS total, count(*) AS n, max(balance) AS most FROM account GROUP BY branch_id",
    ),
    (
        "by_city",
        "SELECT b.city, sum(a.balance) AS total FROM account a JOIN branch b USING (branch_id) GROUP BY b.city",
    ),
    ("whole", "SELECT sum(balance) AS total FROM account"),
    (
        "by_balance",
        "SELECT balance, count(*) AS n FROM account GROUP BY balance",
    ),
    (
        "over_by_branch",
        "SELECT t.total, b.city FROM by_branch t JOIN branch b USING (branch_id)",
    ),
];

async fn bank() -> TestServer {
    let server = TestServer::start_with(Options {
        durable: true,
        ..options()
    })
    .await;
    install(&server).await;
    let mut sql = format!(
        "CREATE TABLE branch (branch_id integer PRIMARY KEY, city text NOT NULL);
         INSERT INTO branch SELECT i, 'city ' || i % 4 FROM generate_series(0, 9) AS i;
         CREATE TABLE account (account_id integer PRIMARY KEY, branch_id integer NOT NULL REFERENCES branch, balance bigint NOT NULL);
         INSERT INTO account SELECT i, i % 10, 1000 FROM generate_series(1, {ACCOUNTS}) AS i;"
    );
    sql.extend(VIEWS.iter().map(|(name, query)| {
        format!("SELECT mvrefresh.create_materialized_view('{name}', '{query}', refresh_method => 'fast');")
    }));
    server.execute(&sql).await;
    server
}

fn daemon(server: &TestServer) -> Daemon {
    let url = server.url();
    let arguments = ["run", "--database-url", &url];
    Daemon::spawn(&arguments, &[("MVREFRESHD_SCHEDULER__RETRY_MAX", "1s")])
}

/// Waits until every view has a program, and has been refreshed with it.
async fn until_all_fast(sql: &mut PgConnection) {
    let programs = "SELECT count(*) = (SELECT count(*) FROM mvrefresh.materialized_view_settings) FROM mvrefresh.fast_programs WHERE body IS NOT NULL";
    until(sql, programs).await;
}

/// Waits until every view has been refreshed, or found unchanged, as of now or later.
async fn until_all_refreshed(sql: &mut PgConnection) {
    for (name, _) in VIEWS {
        execute(
            sql,
            &format!("SELECT mvrefresh.refresh_materialized_view('{name}')"),
        )
        .await;
    }
}

async fn assert_exact(sql: &mut PgConnection) {
    for (name, _) in VIEWS {
        let differences = format!(
            "SELECT rows_missing + rows_unexpected FROM mvrefresh.verify_materialized_view('{name}')"
        );
        assert_eq!(count(sql, &differences).await, 0, "{name}");
    }
}

/// How refreshes went, by method and reason, of the daemon's own.
async fn history(sql: &mut PgConnection) -> BTreeMap<String, i64> {
    let rows = sqlx::query(
        "SELECT concat_ws(' ', outcome, method, CASE WHEN method <> 'fast' THEN reason END, error_code) AS how, count(*) AS n
         FROM mvrefresh.refresh_history WHERE trigger <> 'sql' GROUP BY 1",
    )
    .fetch_all(sql)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Runs traffic beside the daemon for some seconds, with faults if there are to be any.
async fn transfers(with_faults: bool) {
    let seed = number("TRANSFERS_SEED", 20_261_120);
    let end = Instant::now() + Duration::from_secs(number("TRANSFERS_SECONDS", 12));
    println!("TRANSFERS_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut server = bank().await;
    let mut daemon_now = daemon(&server);
    let mut sql = server.connect().await;
    until_all_fast(&mut sql).await;
    let traffic = Traffic::on(&server);
    let mut tasks = Vec::new();
    for _ in 0..WRITERS {
        let (traffic, random) = (Arc::clone(&traffic), random.fork());
        tasks.push(tokio::spawn(async move { traffic.transfer(random).await }));
    }
    for _ in 0..2 {
        let traffic = Arc::clone(&traffic);
        tasks.push(tokio::spawn(async move { traffic.look().await }));
    }
    let asking = Arc::clone(&traffic);
    tasks.push(tokio::spawn(async move { asking.request().await }));

    let mut faults = BTreeMap::new();
    while Instant::now() < end {
        sleep(Duration::from_millis(random.u64(100..800))).await;
        assert!(
            tasks.iter().all(|task| !task.is_finished()),
            "a reader saw something wrong"
        );
        if with_faults {
            let what = fault(&mut server, &mut daemon_now, &mut random).await;
            *faults.entry(what).or_insert(0) += 1;
        }
    }
    traffic.is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let mut sql = server.connect().await;
    assert!(
        holds(
            &mut sql,
            &format!("(SELECT sum(balance) FROM account) = {TOTAL}")
        )
        .await
    );
    let history = history(&mut sql).await;
    let (transfers, undone, looks) = (
        traffic.transfers.load(Ordering::Relaxed),
        traffic.undone.load(Ordering::Relaxed),
        traffic.looks.load(Ordering::Relaxed),
    );
    println!("{transfers} transfers, {undone} undone, {looks} looks, {faults:?}, {history:#?}");
    // first as the daemon left them, then with what is still pending
    let dirty =
        "SELECT count(*) FROM mvrefresh.materialized_view_state WHERE quarantined_at IS NOT NULL";
    assert_eq!(count(&mut sql, dirty).await, 0);
    until_all_refreshed(&mut sql).await;
    assert_exact(&mut sql).await;
    let fast = history.get("succeeded fast").copied().unwrap_or(0);
    assert!(fast >= 50 && transfers > 200 && looks > 200);
    daemon_now.signal(Signal::Terminate).await;
    assert_eq!(daemon_now.wait_for_exit().await.code(), Some(0));
}

/// One fault, and what it was.
async fn fault(server: &mut TestServer, running: &mut Daemon, random: &mut Rng) -> &'static str {
    match random.u32(0..100) {
        0..15 => {
            tokio::task::block_in_place(|| {
                server.kill_immediately().unwrap();
                server.start_again().unwrap();
            });
            "server crashed"
        }
        15..40 => {
            running.signal(Signal::Kill).await;
            running.wait_for_exit().await;
            *running = daemon(server);
            "daemon killed"
        }
        n => {
            let whose = if n < 75 {
                "LIKE 'mvrefreshd%'"
            } else {
                "NOT LIKE 'mvrefreshd%' AND pid <> pg_backend_pid()"
            };
            let end = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM (
                     SELECT pid FROM pg_stat_activity WHERE application_name {whose} AND backend_type = 'client backend'
                     ORDER BY (state = 'active') DESC, random() LIMIT 1) AS victim"
            );
            count(&mut server.connect().await, &end).await;
            "session ended"
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_is_the_same_at_every_instant_while_fast_refreshes_follow_eight_writers() {
    transfers(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_is_the_same_at_every_instant_whoever_is_killed() {
    transfers(true).await;
}
