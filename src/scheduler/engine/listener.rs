//! Hears of changed settings by `LISTEN`. It only wakes the loop: what has changed is read from the dictionary, and
//! where no notification arrives polling finds it.
//!
//! Behind a transaction pooler `LISTEN` succeeds, and nothing ever comes. So whether something comes is tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Connection, Executor};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{Instrument, debug, info};

use crate::connect::{self, ConnectionSettings, silence};
use crate::sql::{composed, quote_identifier};

const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// When to try again where notifications did not arrive.
const DEAF_PAUSE: Duration = Duration::from_secs(600);

/// Longer than a notification takes.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Listens from [`Listener::restart`] on, until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    settings: ConnectionSettings,
    channel: String,
    wake: mpsc::Sender<()>,
    hears: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Listener {
    /// Of a channel of the module schema's name. A wake is put into `wake` for each notification and each connection.
    pub(super) fn new(
        settings: &ConnectionSettings,
        channel: &str,
        wake: mpsc::Sender<()>,
    ) -> Self {
        Self {
            settings: settings.clone(),
            channel: channel.to_owned(),
            wake,
            hears: Arc::default(),
            task: None,
        }
    }

    /// Whether notifications are known to arrive at present.
    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    /// Listens anew: another server may be the one to listen to.
    pub(super) fn restart(&mut self) {
        self.stop();
        let ear = Ear {
            settings: self.settings.clone(),
            channel: self.channel.clone(),
            wake: self.wake.clone(),
            hears: Arc::clone(&self.hears),
        };
        self.task = Some(tokio::spawn(ear.listen().in_current_span()));
    }

    pub(super) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.hears.store(false, Ordering::Relaxed);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Ear {
    settings: ConnectionSettings,
    channel: String,
    wake: mpsc::Sender<()>,
    hears: Arc<AtomicBool>,
}

/// Why it does not listen.
enum Deaf {
    /// Nothing arrived that was sent.
    Nothing,
    Error(String),
}

impl From<sqlx::Error> for Deaf {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error.to_string())
    }
}

impl Ear {
    async fn listen(self) {
        let mut pause = SHORTEST_PAUSE;
        let mut is_said = false;
        loop {
            let ended = self.listen_once(&mut pause).await;
            self.hears.store(false, Ordering::Relaxed);
            match ended {
                Ok(()) => return,
                Err(Deaf::Error(error)) => {
                    debug!(error, "not listening for changed settings, polling goes on");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Deaf::Nothing) => {
                    if !is_said {
                        info!(
                            "notifications do not arrive, as behind a transaction pooler: changed settings are found by polling"
                        );
                        is_said = true;
                    }
                    tokio::time::sleep(DEAF_PAUSE).await;
                }
            }
        }
    }

    /// Ends without an error when nobody is there to be woken any more.
    async fn listen_once(&self, pause: &mut Duration) -> Result<(), Deaf> {
        let error = |error: connect::ConnectError| Deaf::Error(error.to_string());
        // finds the server to listen to, where there are several
        let mut other = connect::open(&self.settings, "prober")
            .await
            .map_err(error)?;
        let options = self.settings.options("listener").map_err(error)?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.settings.connect_timeout())
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        let keepalive = silence::keepalive(self.settings.broken_after());
        let keepalive = sqlx::raw_sql(composed(keepalive));
        self.within(listener.execute(keepalive)).await?;
        let probe = format!("{} probe", self.channel);
        self.within(listener.listen(&probe)).await?;
        // from another session, as what a session sends to itself comes with its answer, pooler or not
        let notify = format!("NOTIFY {}", quote_identifier(&probe));
        self.within(other.execute(composed(notify))).await?;
        let heard = timeout(PROBE_PATIENCE, listener.try_recv()).await;
        // nothing depends on whether the server hears it
        let _ = other.close().await;
        match heard {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Err(Deaf::Error("the connection was lost".to_owned())),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(Deaf::Nothing),
        }
        self.within(listener.unlisten(&probe)).await?;
        self.within(listener.listen(&self.channel)).await?;
        self.hears.store(true, Ordering::Relaxed);
        *pause = SHORTEST_PAUSE;
        loop {
            // a full channel means that a wake is waiting already
            if let Err(mpsc::error::TrySendError::Closed(())) = self.wake.try_send(()) {
                return Ok(());
            }
            // None: the connection was lost and is open again; something may have been missed
            while timeout(self.settings.broken_after(), listener.try_recv())
                .await
                .map_or(Ok(true), |heard| heard.map(|_| false))?
            {
                // silence may mean that nothing has changed, or that nothing arrives any more
                self.within(listener.execute("SELECT")).await?;
            }
        }
    }

    /// An answer within bounds.
    async fn within<T>(&self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        timeout(self.settings.broken_after(), answer)
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
    }
}
