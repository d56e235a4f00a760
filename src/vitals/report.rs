//! What the daemon is about, and how its views and its database are, as of the loop's last turn.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

/// What the daemon is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Reading its configuration, connecting.
    #[default]
    Starting,
    /// Waiting for the database to be there, and with the right module schema; why not yet.
    Waiting(String),
    /// Scheduling.
    Running,
    /// Letting running refreshes end.
    Stopping,
}

/// Whether the database answers and can be written to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseState {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It does.
    Up,
    /// It does not.
    Away {
        /// Since then, by this machine's clock.
        since: DateTime<Utc>,
        /// In one line.
        reason: String,
    },
}

/// How many views are how, and how busy the workers are.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counts {
    /// All views of the dictionary.
    pub views: usize,
    /// Being refreshed, by this daemon.
    pub refreshing: usize,
    /// Suspended after a permanent error.
    pub suspended: usize,
    /// Failing, to be tried again.
    pub failing: usize,
    /// Switched off by their users.
    pub disabled: usize,
    /// Ready to be refreshed but not begun: for want of a worker, or waiting for a view they read.
    pub waiting: usize,
    /// For how long the longest of these has been waiting, in seconds.
    pub longest_wait: f64,
    /// Refreshes that may run at a time.
    pub workers: usize,
    /// Workers that are busy with short refreshes.
    pub busy_quick: usize,
    /// Workers that are busy with long ones.
    pub busy_long: usize,
}

/// All of that. Displayed as the one line that a service manager shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// What the daemon is about.
    pub phase: Phase,
    /// How its database is.
    pub database: DatabaseState,
    /// How its views are.
    pub counts: Counts,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.phase {
            Phase::Starting => f.write_str("starting"),
            Phase::Running if self.database == DatabaseState::Unknown => f.write_str("starting"),
            Phase::Waiting(reason) => write!(f, "waiting for the database: {reason}"),
            Phase::Running => write!(f, "{}, {}", self.counts, self.database),
            Phase::Stopping => write!(f, "stopping, {} refreshing", self.counts.refreshing),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.views == 1 { "view" } else { "views" };
        write!(f, "{} {noun}, {} refreshing", self.views, self.refreshing)?;
        for (number, adjective) in [(self.failing, "failing"), (self.suspended, "suspended")] {
            if number > 0 {
                write!(f, ", {number} {adjective}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DatabaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("database not asked yet"),
            Self::Up => f.write_str("database up"),
            Self::Away { since, reason } => {
                let since = since.format("%H:%M:%S UTC");
                write!(f, "database away since {since}: {reason}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_of_real_state() {
        let mut report = Report::default();
        assert_eq!(report.to_string(), "starting");
        report.phase = Phase::Waiting("no server on port 5432".to_owned());
        assert_eq!(
            report.to_string(),
            "waiting for the database: no server on port 5432"
        );
        report.phase = Phase::Running;
        report.database = DatabaseState::Up;
        report.counts = Counts {
            views: 312,
            refreshing: 2,
            suspended: 1,
            ..Counts::default()
        };
        assert_eq!(
            report.to_string(),
            "312 views, 2 refreshing, 1 suspended, database up"
        );
        report.counts.suspended = 0;
        report.counts.views = 1;
        report.database = DatabaseState::Away {
            since: DateTime::UNIX_EPOCH,
            reason: "no answer for 30 s".to_owned(),
        };
        assert_eq!(
            report.to_string(),
            "1 view, 2 refreshing, database away since 00:00:00 UTC: no answer for 30 s"
        );
        report.phase = Phase::Stopping;
        assert_eq!(report.to_string(), "stopping, 2 refreshing");
    }
}
