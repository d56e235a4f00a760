//! What the loop publishes: its counts, at most once a second, and each refresh that has ended.

use std::time::{Duration, Instant};

use super::Engine;
use super::work::NoReport;
use super::workers::Assignment;
use crate::dictionary::refreshes::RefreshRow;
use crate::refresh::{FailureClass, Report};
use crate::vitals::{Counts, Outcome, RefreshKey};

/// Counting looks at every view, of which there may be 100,000.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

impl Engine {
    /// Publishes the counts, unless that was done just now. (The next beat is soon enough then.)
    pub(super) fn publish(&mut self) {
        let now = Instant::now();
        if self.next_count <= now {
            self.next_count = now + COUNT_INTERVAL;
            self.vitals.count(self.counts());
        }
    }

    fn counts(&self) -> Counts {
        let now = self.clock.now();
        let mut counts = Counts {
            views: self.registry.len(),
            refreshing: self.workers.running(),
            workers: self.lanes.workers(),
            busy_quick: self.running.quick,
            busy_long: self.running.long,
            ..Counts::default()
        };
        for view in self.registry.views() {
            counts.disabled += usize::from(!view.state.enabled);
            let suspended = view.state.enabled && view.state.suspended;
            counts.suspended += usize::from(suspended);
            counts.failing += usize::from(!suspended && view.state.failure.is_some());
        }
        for unit in self.registry.ready(now) {
            counts.waiting += 1;
            let due = self.registry.due(unit).unwrap_or(now);
            let waited = now.signed_duration_since(due).as_seconds_f64();
            counts.longest_wait = counts.longest_wait.max(waited);
        }
        counts
    }

    /// Counts a refresh that a worker has come back from.
    pub(super) fn count_end(&self, assignment: &Assignment, result: &Result<Report, NoReport>) {
        let mut tallies = self.vitals.tallies();
        let outcome = match result {
            Ok(Report::Done(rows)) => {
                for row in rows {
                    let Some(outcome) = outcome(row) else {
                        continue;
                    };
                    let key = RefreshKey::new(row.method.as_deref(), outcome);
                    tallies.refresh(key);
                    if outcome == Outcome::Succeeded {
                        let took =
                            Duration::try_from_secs_f64(row.duration_ms.unwrap_or(0.0) / 1000.0);
                        let rows = row.rows_changed.and_then(|rows| u64::try_from(rows).ok());
                        tallies.done(key.method, took.unwrap_or_default(), rows.unwrap_or(0));
                    }
                }
                return;
            }
            Ok(Report::Failed(failed)) => match failed.class {
                FailureClass::Permanent => Outcome::Suspended,
                FailureClass::Transient => Outcome::Failed,
                FailureClass::Server | FailureClass::ReadOnly | FailureClass::OtherVersion => {
                    Outcome::BrokenOff
                }
            },
            Err(NoReport::NotBegun) => return,
            Err(NoReport::NotConnected(_) | NoReport::Lost | NoReport::Panicked) => {
                Outcome::BrokenOff
            }
        };
        for _ in &assignment.members {
            tallies.refresh(RefreshKey::new(None, outcome));
        }
    }

    /// Notes how long after it was due a refresh by schedule has begun.
    pub(super) fn count_start(&self, assignment: &Assignment) {
        let order = &assignment.order;
        if let Some(due) = order.due_at.filter(|_| order.trigger == "schedule") {
            let late = self.clock.now().signed_duration_since(due);
            self.vitals
                .tallies()
                .lateness
                .observe(late.as_seconds_f64());
        }
    }
}

/// None where somebody else has done it, or is at it.
fn outcome(row: &RefreshRow) -> Option<Outcome> {
    match row.status.as_str() {
        "refreshed" => Some(Outcome::Succeeded),
        "unchanged" => Some(Outcome::Unchanged),
        _ => None,
    }
}
