//! Writers at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::views::{SALES, SHOPS};

const WRITERS: u64 = 4;

/// Transactions of each writer.
const PERIOD: Duration = Duration::from_millis(100);

/// What the writers do.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    url: String,
    is_over: AtomicBool,
    transactions: AtomicU64,
    broken: AtomicU64,
}

impl Traffic {
    pub(super) fn on(url: String) -> Self {
        Self {
            url,
            ..Self::default()
        }
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let options = options
            .application_name("writer")
            .disable_statement_logging();
        loop {
            if let Ok(connection) = options.connect().await {
                return connection;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn write(&self, mut random: Rng) {
        let mut ticks = interval(PERIOD);
        // a rate, and no burst after a pause
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.goes_on() {
            let mut connection = self.connect().await;
            while self.goes_on() {
                ticks.tick().await;
                let written = sqlx::raw_sql(AssertSqlSafe(transaction(&mut random)))
                    .execute(&mut connection)
                    .await;
                if written.is_err() {
                    self.broken.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                self.transactions.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn summary(&self, during: Duration) -> String {
        let transactions = self.transactions.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss)]
        let rate = transactions as f64 / during.as_secs_f64();
        let broken = self.broken.load(Ordering::Relaxed);
        format!("{transactions} transactions of writers ({rate:.1}/s), {broken} broken off")
    }
}

/// New rows, changed ones and deleted ones, of which there are as many as new ones in the long run.
fn transaction(random: &mut Rng) -> String {
    let shop = random.u32(0..SHOPS);
    let (first, second) = (random.u32(1..=SALES), random.u32(1..=SALES));
    match random.u32(0..10) {
        0 => format!(
            "UPDATE region{shop} SET name = name || '' , weight = {} WHERE id = {}",
            second % 9,
            first % 20
        ),
        1..4 => format!(
            "INSERT INTO sale{shop} (id, region, amount) VALUES ({first}, {} % 20, {second})
             ON CONFLICT (id) DO UPDATE SET amount = excluded.amount",
            first + second
        ),
        4..6 => format!("DELETE FROM sale{shop} WHERE id = {first}"),
        _ => format!(
            "UPDATE sale{shop} SET amount = amount + 1, region = (region + {second}) % 20 WHERE id IN ({first}, {second})"
        ),
    }
}

/// Starts them.
pub(super) fn start(traffic: &Arc<Traffic>, random: &mut Rng) -> Vec<JoinHandle<()>> {
    (0..WRITERS)
        .map(|_| {
            let (traffic, random) = (Arc::clone(traffic), random.fork());
            tokio::spawn(async move { traffic.write(random).await })
        })
        .collect()
}
