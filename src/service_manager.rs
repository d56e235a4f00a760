//! What the service manager is told, if there is one that listens (systemd's `sd_notify` protocol): that the daemon is
//! ready, reloads or stops, one line about how it is, and that it is alive.

use std::time::Duration;

use futures::future::select_all;
use sd_notify::NotifyState;
use tokio::time::Interval;
use tracing::{info, warn};

use crate::vitals::{Named, Phase, Report, Watchdog};

/// How often the loop has to beat where no watchdog asks for more.
const BEAT: Duration = Duration::from_secs(5);

/// Beyond the drain timeout, for what is cancelled then and for goodbyes.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// The service manager that started this process; without one nothing is told to nobody.
#[derive(Debug, Clone, Copy)]
pub struct ServiceManager {
    listens: bool,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment of this process says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            listens: std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty()),
            watchdog: sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()),
        }
    }

    /// How often a loop has to beat, so that its watchdog is never starved by a loop that is well.
    #[must_use]
    pub fn beat_every(&self) -> Duration {
        self.watchdog
            .map_or(BEAT, |interval| BEAT.min(interval / 4))
    }

    /// Tells what the daemon publishes of its databases (at least one), for ever. Its watchdog is fed if the loops of all
    /// make progress.
    ///
    /// It is told to be ready as soon as each scheduler runs, or waits for a database that is away: that is its normal
    /// business. What waiting does not help against has ended it before, so starting it has failed then.
    pub async fn attend(self, databases: &[Named]) {
        if !self.listens || databases.is_empty() {
            return std::future::pending().await;
        }
        if let Some(interval) = self.watchdog {
            info!(
                watchdog_s = interval.as_secs_f64(),
                "the service manager watches over the scheduler"
            );
        }
        let mut receivers: Vec<_> = databases.iter().map(|d| d.vitals.reports()).collect();
        let mut watchdogs: Vec<Watchdog> = databases.iter().map(|_| Watchdog::default()).collect();
        // not a pause per round: news must not put the feeding off
        let mut feeding = self
            .watchdog
            .map(|interval| tokio::time::interval(interval / 2));
        let mut is_ready = false;
        let mut said = String::new();
        loop {
            let reports: Vec<Report> = receivers
                .iter_mut()
                .map(|receiver| receiver.borrow_and_update().clone())
                .collect();
            let line = status(databases, &reports);
            let mut news = Vec::new();
            let works =
                |report: &Report| matches!(report.phase, Phase::Waiting(_) | Phase::Running);
            if !is_ready && reports.iter().all(works) {
                is_ready = true;
                news.push(NotifyState::Ready);
            }
            if line != said {
                news.push(NotifyState::Status(&line));
            }
            self.tell(&news);
            said = line;
            // their senders live as long as `databases`
            let changed = select_all(receivers.iter_mut().map(|r| Box::pin(r.changed())));
            tokio::select! {
                _ = changed => {}
                () = next(feeding.as_mut()) => {
                    let mut all_well = true;
                    for (watchdog, database) in watchdogs.iter_mut().zip(databases) {
                        all_well &= watchdog.may_be_fed(&database.vitals.pulse);
                    }
                    if all_well {
                        self.tell(&[NotifyState::Watchdog]);
                    }
                },
            }
        }
    }

    /// The configuration is being read again. [`Self::reloaded`] must follow.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "the monotonic clock can not be read"),
        }
    }

    /// The configuration has been read again.
    pub fn reloaded(self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The daemon stops, which may take as long as running refreshes may go on.
    pub fn stopping(self, drain_timeout: Duration) {
        let microseconds = (drain_timeout + STOP_MARGIN).as_micros();
        let extension = u32::try_from(microseconds).unwrap_or(u32::MAX);
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(extension),
        ]);
    }

    fn tell(self, news: &[NotifyState<'_>]) {
        if !self.listens || news.is_empty() {
            return;
        }
        if let Err(error) = sd_notify::notify(news) {
            warn!(%error, "the service manager does not listen");
        }
    }
}

/// One line, which tells several databases apart.
fn status(databases: &[Named], reports: &[Report]) -> String {
    if let [report] = reports {
        return report.to_string();
    }
    let lines = databases.iter().zip(reports);
    let lines: Vec<String> = lines
        .map(|(database, report)| format!("{}: {report}", database.name))
        .collect();
    lines.join("; ")
}

async fn next(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
