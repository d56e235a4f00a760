//! The wish to end, from a signal or because nobody reads the output any more.

use tokio::sync::watch;

use crate::error::{CommandError, Exit};
use crate::signals::Signals;

/// How often the end has been asked for: once lets the demo end properly, twice at once.
#[derive(Debug, Clone)]
pub(super) struct Interrupt {
    count: watch::Sender<u32>,
}

impl Interrupt {
    /// Begins to listen for SIGINT, SIGTERM and SIGHUP.
    pub(super) fn listen() -> Result<Self, CommandError> {
        let mut signals = Signals::listen()
            .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
        let count = watch::Sender::new(0);
        let counter = count.clone();
        tokio::spawn(async move {
            loop {
                // A hangup is the end of the terminal, and so of the demo.
                signals.next().await;
                counter.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count })
    }

    /// Asks for the end.
    pub(super) fn ask(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Whether the end has been asked for.
    pub(super) fn is_asked(&self) -> bool {
        *self.count.borrow() > 0
    }

    /// Waits until the end has been asked for.
    pub(super) async fn asked(&self) {
        self.wait_for(1).await;
    }

    /// Waits until the end has been asked for so insistently that nothing more is to be done but cleaning up.
    pub(super) async fn insisted(&self) {
        self.wait_for(2).await;
    }

    async fn wait_for(&self, wanted: u32) {
        let mut count = self.count.subscribe();
        // The channel is open for as long as `self` exists.
        let _ = count.wait_for(|count| *count >= wanted).await;
    }
}
