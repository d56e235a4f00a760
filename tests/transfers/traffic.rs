//! Writers, readers, and whoever asks for refreshes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::sleep;

use crate::common::TestServer;
use crate::{ACCOUNTS, TOTAL, VIEWS};

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

/// What goes on beside the refreshes.
pub(crate) struct Traffic {
    url: String,
    pub(crate) is_over: AtomicBool,
    pub(crate) transfers: AtomicU64,
    pub(crate) undone: AtomicU64,
    pub(crate) looks: AtomicU64,
    pub(crate) requests: AtomicU64,
}

impl Traffic {
    pub(crate) fn on(server: &TestServer) -> Arc<Self> {
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

    pub(crate) async fn transfer(&self, mut random: Rng) {
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

    pub(crate) async fn look(&self) {
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
    pub(crate) async fn request(&self) {
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
