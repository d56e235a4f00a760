//! The stream of writes: a few customers of the shop who never rest.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::server::Server;
use super::shop::{CITIES, Size};
use crate::connect::ConnectError;
use crate::error::{CommandError, Exit};

const WRITERS: u32 = 4;
/// Of each writer.
const TRANSACTIONS_PER_SECOND: u32 = 25;
/// How long a slow checkout keeps its transaction open: refreshes begin and end meanwhile, and must not miss its rows.
const SLOW_CHECKOUT: Duration = Duration::from_millis(1500);

/// The writers at work.
pub(super) struct Writers {
    tasks: JoinSet<Result<(), CommandError>>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
}

struct Shared {
    size: Size,
    /// The greatest order number so far.
    last_order: AtomicI32,
    transactions: AtomicU64,
    rows: AtomicU64,
}

/// What has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// Committed transactions.
    pub(super) transactions: u64,
    /// Rows inserted, updated and deleted, cascades not counted.
    pub(super) rows: u64,
}

impl Writers {
    /// Sets them to work.
    pub(super) async fn start(server: &Server, size: Size) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared {
            size,
            last_order: AtomicI32::new(i32::try_from(size.orders).unwrap_or(i32::MAX)),
            transactions: AtomicU64::new(0),
            rows: AtomicU64::new(0),
        });
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            let connection = server.connect("writer").await?;
            tasks.spawn(write(connection, Arc::clone(&shared), stop.subscribe()));
        }
        Ok(Self {
            tasks,
            stop,
            shared,
        })
    }

    /// What they have written so far.
    pub(super) fn written(&self) -> Written {
        Written {
            transactions: self.shared.transactions.load(Ordering::Relaxed),
            rows: self.shared.rows.load(Ordering::Relaxed),
        }
    }

    /// Waits for one to fail, which none should.
    pub(super) async fn failed(&mut self) -> CommandError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Err(error))) => {
                    let message = format!("a writer can not go on: {}", error.message);
                    return CommandError::new(Exit::Negative, message);
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Lets each finish its transaction.
    pub(super) async fn stop(mut self) -> Result<Written, CommandError> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            // A task that panicked has said so.
            ended.unwrap_or(Ok(()))?;
        }
        Ok(self.written())
    }
}

async fn write(
    mut connection: PgConnection,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), CommandError> {
    let mut beat = interval(Duration::from_secs(1) / TRANSACTIONS_PER_SECOND);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => ControlFlow::Break(()),
            _ = beat.tick() => ControlFlow::Continue(()),
        };
        if next.is_break() {
            let _ = connection.close().await;
            return Ok(());
        }
        let rows = one_transaction(&mut connection, &shared).await?;
        if rows > 0 {
            shared.transactions.fetch_add(1, Ordering::Relaxed);
            shared.rows.fetch_add(rows, Ordering::Relaxed);
        }
    }
}

/// Whatever happens in a shop; how many rows it touched.
async fn one_transaction(
    connection: &mut PgConnection,
    shared: &Shared,
) -> Result<u64, CommandError> {
    let order = fastrand::i32(1..=shared.last_order.load(Ordering::Relaxed));
    let product = random_below(shared.size.products);
    let customer = random_below(shared.size.customers);
    let query = match fastrand::u32(0..200) {
        0 => return slow_checkout(connection, shared).await,
        1..100 => return place_order(connection, shared).await,
        100..140 => sqlx::query(
            "UPDATE orders SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'shipped' END
             WHERE order_id = (SELECT order_id FROM orders
                               WHERE order_id >= $1 AND status <> 'shipped' ORDER BY order_id LIMIT 1)",
        )
        .bind(order),
        140..165 => sqlx::query(
            "UPDATE products SET price = round(price * (0.9 + random() / 5)::numeric, 2) + 0.01 WHERE product_id = $1",
        )
        .bind(product),
        165..180 => sqlx::query("UPDATE customers SET city = $2 WHERE customer_id = $1")
            .bind(customer)
            .bind(CITIES[fastrand::usize(..CITIES.len())]),
        _ => sqlx::query("DELETE FROM orders WHERE order_id = $1").bind(order),
    };
    Ok(query.execute(connection).await?.rows_affected())
}

async fn place_order(connection: &mut PgConnection, shared: &Shared) -> Result<u64, CommandError> {
    let mut transaction = connection.begin().await?;
    let order = insert_order(&mut transaction, shared).await?;
    let lines = insert_lines(&mut transaction, shared, order).await?;
    transaction.commit().await?;
    shared.last_order.fetch_max(order, Ordering::Relaxed);
    Ok(1 + lines)
}

/// An order whose transaction stays open for a while.
async fn slow_checkout(
    connection: &mut PgConnection,
    shared: &Shared,
) -> Result<u64, CommandError> {
    let mut transaction = connection.begin().await?;
    let order = insert_order(&mut transaction, shared).await?;
    sleep(SLOW_CHECKOUT).await;
    let lines = insert_lines(&mut transaction, shared, order).await?;
    transaction.commit().await?;
    Ok(1 + lines)
}

async fn insert_order(connection: &mut PgConnection, shared: &Shared) -> sqlx::Result<i32> {
    sqlx::query_scalar(
        "INSERT INTO orders VALUES (nextval('order_ids'), $1, current_date, 'open') RETURNING order_id",
    )
    .bind(random_below(shared.size.customers))
    .fetch_one(connection)
    .await
}

async fn insert_lines(
    connection: &mut PgConnection,
    shared: &Shared,
    order: i32,
) -> sqlx::Result<u64> {
    let lines = fastrand::i16(1..=4);
    let products: Vec<i32> = (0..lines)
        .map(|_| random_below(shared.size.products))
        .collect();
    let query = sqlx::query(
        "INSERT INTO order_lines
         SELECT $1, line, product_id, 1 + line % 3, price
         FROM unnest($2::integer[]) WITH ORDINALITY AS wanted (product_id, line) JOIN products USING (product_id)",
    );
    let done = connection.execute(query.bind(order).bind(products)).await?;
    Ok(done.rows_affected())
}

fn random_below(count: u32) -> i32 {
    fastrand::i32(1..=i32::try_from(count).unwrap_or(i32::MAX))
}
