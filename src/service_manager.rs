//! What the service manager is told, if there is one that listens (systemd's `sd_notify` protocol): that the daemon is
//! ready, reloads or stops, one line about how it is, and that it is alive.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Interval;
use tracing::{info, warn};

use crate::vitals::{Phase, Vitals, Watchdog};

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

    /// How often the loop has to beat, so that its watchdog is never starved by a loop that is well.
    #[must_use]
    pub fn beat_every(&self) -> Duration {
        self.watchdog
            .map_or(BEAT, |interval| BEAT.min(interval / 4))
    }

    /// Tells what the daemon publishes, for ever.
    ///
    /// It is told to be ready as soon as the scheduler runs, or waits for a database that is away: that is its normal
    /// business. What waiting does not help against has ended it before, so starting it has failed then.
    pub async fn attend(self, vitals: &Vitals) {
        if !self.listens {
            return std::future::pending().await;
        }
        if let Some(interval) = self.watchdog {
            info!(
                watchdog_s = interval.as_secs_f64(),
                "the service manager watches over the scheduler"
            );
        }
        let mut reports = vitals.reports();
        let mut watchdog = Watchdog::default();
        // not a pause per round: news must not put the feeding off
        let mut feeding = self
            .watchdog
            .map(|interval| tokio::time::interval(interval / 2));
        let mut is_ready = false;
        let mut said = String::new();
        loop {
            let report = reports.borrow_and_update().clone();
            let line = report.to_string();
            let mut news = Vec::new();
            if !is_ready && matches!(report.phase, Phase::Waiting(_) | Phase::Running) {
                is_ready = true;
                news.push(NotifyState::Ready);
            }
            if line != said {
                news.push(NotifyState::Status(&line));
            }
            self.tell(&news);
            said = line;
            tokio::select! {
                // its sender lives as long as `vitals`
                _ = reports.changed() => {}
                () = next(feeding.as_mut()) => if watchdog.may_be_fed(&vitals.pulse) {
                    self.tell(&[NotifyState::Watchdog]);
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

async fn next(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
