//! Money is transferred all the time, and the daemon follows with fast refreshes as fast as it can: at every instant every
//! materialized view shows the one sum that never changes, whoever is killed meanwhile, and in the end each is exact.
//! `TRANSFERS_SEED` and `TRANSFERS_SECONDS` choose the run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Daemon, Signal, TestServer, count, execute, holds, install, options, until};
use fastrand::Rng;
use mvrefreshd::scratch::Options;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::{Instant, sleep};

const WRITERS: usize = 8;
const ACCOUNTS: i64 = 200;
const TOTAL: i64 = 1_000 * ACCOUNTS;

/// Each of these gives the total, at every instant. Transfers move money between accounts, accounts between branches, and
/// split and join accounts.
const SUMS: &[&str] = &[
    "SELECT sum(balance) FROM copied",
    "SELECT sum(balance) FROM joined",
    "SELECT sum(total) FROM by_branch",
    "SELECT sum(total) FROM by_city",
    "SELECT total FROM whole",
    "SELECT sum(balance * n) FROM by_balance",
    "SELECT sum(total) FROM over_by_branch",
];

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

/// What goes on beside the refreshes.
struct Traffic {
    url: String,
    is_over: AtomicBool,
    transfers: AtomicU64,
    undone: AtomicU64,
    looks: AtomicU64,
    requests: AtomicU64,
}

impl Traffic {
    fn on(server: &TestServer) -> Arc<Self> {
        Arc::new(Self {
            url: server.url(),
            is_over: AtomicBool::new(false),
            transfers: AtomicU64::new(0),
            undone: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        })
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// A connection, as soon as there is one again.
    async fn connect(&self) -> PgConnection {
        loop {
            if let Ok(connection) = PgConnection::connect(&self.url).await {
                return connection;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn transfer(&self, mut random: Rng) {
        while self.goes_on() {
            let mut connection = self.connect().await;
            while self.goes_on() {
                match self.transfer_once(&mut connection, &mut random).await {
                    Ok(true) => _ = self.transfers.fetch_add(1, Ordering::Relaxed),
                    // killed; but a deadlock is only one transaction's end
                    Err(error) if error.as_database_error().is_none() => break,
                    Err(_) if run(&mut connection, "ROLLBACK").await.is_err() => break,
                    Ok(false) | Err(_) => _ = self.undone.fetch_add(1, Ordering::Relaxed),
                }
            }
        }
    }

    /// One transaction; whether it was committed.
    async fn transfer_once(&self, sql: &mut PgConnection, random: &mut Rng) -> sqlx::Result<bool> {
        run(sql, "BEGIN").await?;
        for _ in 0..random.u8(1..4) {
            let in_savepoint = random.u8(..4) == 0;
            if in_savepoint {
                run(sql, "SAVEPOINT s").await?;
            }
            for statement in movement(random) {
                run(sql, &statement).await?;
                hold(random).await;
            }
            if in_savepoint {
                let end = if random.bool() {
                    "ROLLBACK TO s"
                } else {
                    "RELEASE s"
                };
                run(sql, end).await?;
            }
        }
        let is_undone = random.u8(..8) == 0;
        run(sql, if is_undone { "ROLLBACK" } else { "COMMIT" }).await?;
        Ok(!is_undone)
    }

    async fn look(&self) {
        let sums: Vec<String> = SUMS.iter().map(|sum| format!("({sum})::bigint")).collect();
        let sql = format!("SELECT ARRAY[{}]", sums.join(", "));
        while self.goes_on() {
            let mut connection = self.connect().await;
            while self.goes_on() {
                let seen = sqlx::query_scalar::<_, Vec<Option<i64>>>(AssertSqlSafe(sql.as_str()))
                    .fetch_one(&mut connection)
                    .await;
                let Ok(seen) = seen else { break };
                assert_eq!(seen, vec![Some(TOTAL); SUMS.len()], "in: {SUMS:#?}");
                self.looks.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Asks for a refresh of everything ten times a second: rates are in whole seconds.
    async fn request(&self) {
        let names: Vec<String> = VIEWS
            .iter()
            .map(|(name, _)| format!("SELECT mvrefresh.request_refresh('{name}')"))
            .collect();
        let sql = names.join("; ");
        while self.goes_on() {
            let mut connection = self.connect().await;
            while self.goes_on() && run(&mut connection, &sql).await.is_ok() {
                self.requests.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn run(connection: &mut PgConnection, sql: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(|_| ())
}

/// Mostly not at all, now and then for long.
async fn hold(random: &mut Rng) {
    let milliseconds = match random.u8(..20) {
        0 => random.u64(100..600),
        1..8 => random.u64(1..20),
        _ => return,
    };
    sleep(Duration::from_millis(milliseconds)).await;
}

/// Statements after which the total is what it was, locks taken in one order as far as that goes.
fn movement(random: &mut Rng) -> Vec<String> {
    let amount = random.i64(1..50);
    let mut two = [random.i64(1..=ACCOUNTS), random.i64(1..=ACCOUNTS)];
    two.sort_unstable();
    let [from, to] = two;
    match random.u8(..8) {
        0 => vec![format!(
            "UPDATE account SET branch_id = {} WHERE account_id = {from}",
            random.u8(..10)
        )],
        1 => vec![format!(
            "UPDATE branch SET city = 'city {}' WHERE branch_id = {}",
            random.u8(..5),
            random.u8(..10)
        )],
        // half of an account becomes one of its own
        2 => vec![format!(
            "WITH half AS (SELECT balance / 2 AS amount FROM account WHERE account_id = {from} FOR UPDATE),
                  less AS (UPDATE account SET balance = balance - half.amount FROM half WHERE account_id = {from} RETURNING half.amount)
             INSERT INTO account SELECT coalesce(max(account_id), 0) + 1 + {}, {}, (SELECT amount FROM less) FROM account
             HAVING EXISTS (SELECT FROM less)",
            random.u32(..1_000_000),
            random.u8(..10)
        )],
        // and such a one is closed
        3 => vec![format!(
            "WITH closed AS (DELETE FROM account WHERE account_id = (SELECT max(account_id) FROM account WHERE account_id > {ACCOUNTS}) RETURNING balance)
             UPDATE account SET balance = account.balance + closed.balance FROM closed WHERE account_id = {from}"
        )],
        4 => vec![format!(
            "MERGE INTO account USING (VALUES ({from}, -{amount}), ({to}, {amount})) AS t (id, amount)
             ON account_id = id WHEN MATCHED AND {from} <> {to} THEN UPDATE SET balance = balance + t.amount"
        )],
        _ => vec![
            format!("UPDATE account SET balance = balance - {amount} WHERE account_id = {from}"),
            format!("UPDATE account SET balance = balance + {amount} WHERE account_id = {to}"),
        ],
    }
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
