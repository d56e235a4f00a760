//! The daemon's signs of life: what its loop publishes of itself, and what the service manager, the metrics and the
//! status page read. Publishing never waits for a reader, and reading never disturbs the loop.

mod pulse;
mod report;
mod tallies;
mod watchdog;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

pub use pulse::Pulse;
pub use report::{Counts, DatabaseState, Phase, Report};
pub use tallies::{Histogram, Outcome, RefreshKey, Tallies};
pub use watchdog::Watchdog;

/// What the loop of one of a daemon's databases publishes.
#[derive(Debug, Clone)]
pub struct Named {
    /// What the database is called.
    pub name: String,
    /// What is published of it.
    pub vitals: Arc<Vitals>,
}

/// What one loop and its database publish; shared by reference.
#[derive(Debug)]
pub struct Vitals {
    /// Beats while the loop makes progress.
    pub pulse: Pulse,
    started_at: DateTime<Utc>,
    report: watch::Sender<Report>,
    tallies: Mutex<Tallies>,
}

impl Vitals {
    /// Of a daemon that is about to start, whose loop is to beat that often.
    #[must_use]
    pub fn new(beat_every: Duration) -> Self {
        Self {
            pulse: Pulse::new(beat_every),
            started_at: Utc::now(),
            report: watch::Sender::new(Report::default()),
            tallies: Mutex::default(),
        }
    }

    /// When the daemon started, by this machine's clock.
    #[must_use]
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// What the loop last said of itself.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// The same as a stream of changes.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Says what the daemon is about.
    pub fn enter(&self, phase: Phase) {
        self.change(|report| report.phase = phase);
    }

    /// Says whether the database can be had.
    pub fn database(&self, state: DatabaseState) {
        self.change(|report| report.database = state);
    }

    /// Says how many views are how.
    pub fn count(&self, counts: Counts) {
        self.change(|report| report.counts = counts);
    }

    /// Adds to the tallies, or reads them.
    pub fn tallies(&self) -> MutexGuard<'_, Tallies> {
        // they are numbers only, right whatever happened to whoever held them
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        self.report.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        });
    }
}
