//! Hears of changed settings by `LISTEN`. It only wakes the loop: what has changed is read from the dictionary, and
//! where no notification arrives (behind a transaction pooler) polling finds it.

use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use crate::connect::ConnectionSettings;
use crate::connect::silence;
use crate::sql::composed;

const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Listens for ever, and puts a wake into the channel for each notification and each reconnection.
pub(super) async fn listen(settings: ConnectionSettings, channel: String, wake: mpsc::Sender<()>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match listen_once(&settings, &channel, &wake, &mut pause).await {
            Ok(()) => return,
            Err(error) => debug!(%error, "not listening for changed settings, polling goes on"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Ends without an error when nobody is there to be woken any more.
async fn listen_once(
    settings: &ConnectionSettings,
    channel: &str,
    wake: &mpsc::Sender<()>,
    pause: &mut Duration,
) -> sqlx::Result<()> {
    let options = settings
        .options("listener")
        .map_err(|error| sqlx::Error::Configuration(error.to_string().into()))?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(settings.connect_timeout())
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    let keepalive = sqlx::raw_sql(composed(silence::keepalive(settings.broken_after())));
    within(settings, listener.execute(keepalive)).await?;
    within(settings, listener.listen(channel)).await?;
    *pause = SHORTEST_PAUSE;
    loop {
        // a full channel means that a wake is waiting already
        if let Err(mpsc::error::TrySendError::Closed(())) = wake.try_send(()) {
            return Ok(());
        }
        // None: the connection was lost and is open again; something may have been missed
        while timeout(settings.broken_after(), listener.try_recv())
            .await
            .map_or(Ok(true), |heard| heard.map(|_| false))?
        {
            // silence may mean that nothing has changed, or that nothing arrives any more
            within(settings, listener.execute("SELECT")).await?;
        }
    }
}

/// An answer within bounds.
async fn within<T>(
    settings: &ConnectionSettings,
    answer: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    timeout(settings.broken_after(), answer)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}
