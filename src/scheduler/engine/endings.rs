//! What follows when a refresh has ended.

use chrono::TimeDelta;
use tracing::{debug, error, info, warn};

use super::super::backoff;
use super::super::registry::Outcome;
use super::super::view::UnitId;
use super::work::NoReport;
use super::workers::{Assignment, Ended};
use super::{Engine, views};
use crate::dictionary::refreshes::{self, FailureRow, RefreshRow};
use crate::refresh::{self, Failed, FailureClass, Report};

/// When to look again at a view that another session is refreshing.
const BUSY_PAUSE: TimeDelta = TimeDelta::seconds(1);

impl Engine {
    pub(super) async fn end(&mut self, ended: Ended) {
        let assignment = ended.assignment;
        let unit = assignment.unit;
        self.running.end(assignment.lane);
        self.count_end(&assignment, &ended.result);
        self.confirmed.remove(&unit);
        if ended.result.is_ok() {
            self.workers_refused = false;
        }
        match ended.result {
            Ok(Report::Done(rows)) => self.end_done(unit, &rows).await,
            Ok(Report::Failed(failed)) => self.end_failed(&assignment, failed).await,
            Err(NoReport::NotConnected(error)) => self.end_unconnected(unit, &error.to_string()),
            Err(NoReport::NotBegun) => self.postpone(unit, BUSY_PAUSE),
            Err(NoReport::Lost) => {
                let message = "the connection broke without notice";
                self.end_broken(&assignment, broken(message)).await;
            }
            Err(NoReport::Panicked) => {
                let message = "a defect of mvrefreshd ended the refresh";
                self.end_broken(&assignment, broken(message)).await;
            }
        }
        self.workers.close_idle(self.lanes.workers()).await;
    }

    async fn end_done(&mut self, unit: UnitId, rows: &[RefreshRow]) {
        self.broken_off.remove(&unit);
        if let Some(now) = rows.iter().map(|row| row.database_now).max() {
            self.clock.at_least(now);
        }
        if rows.iter().any(|row| row.status == "busy") {
            self.postpone(unit, BUSY_PAUSE);
            return;
        }
        let changed = self.registry.changed_while_running(unit);
        for row in rows {
            self.say(row);
            if row.needs_upkeep == Some(true) {
                self.upkeep.notify_one();
            }
            if row.status == "unchanged" {
                self.details.check(row.mv_id, row.database_now);
            }
        }
        let outcomes: Vec<Outcome> = rows
            .iter()
            .filter(|row| views::is_final(row))
            .map(outcome_of)
            .collect();
        if outcomes.len() < rows.len() || rows.is_empty() {
            let ids: Vec<i32> = rows.iter().map(|row| row.mv_id).collect();
            self.read_done_elsewhere(unit, &ids).await;
        }
        self.registry.finish(unit, &outcomes, self.clock.now());
        if !changed.is_empty() {
            self.read_again(&changed).await;
        }
    }

    /// Another session has done it, or changed the settings; in a group that may concern views we know nothing of.
    async fn read_done_elsewhere(&mut self, unit: UnitId, ids: &[i32]) {
        let mut ids = ids.to_vec();
        ids.extend(self.registry.members_of(unit));
        self.read_again(&ids).await;
        self.next_poll = std::time::Instant::now();
    }

    fn say(&self, row: &RefreshRow) {
        let name = self.details.name(row.mv_id);
        let failing = self
            .registry
            .view(row.mv_id)
            .is_some_and(|view| view.state.failure.is_some());
        if failing && row.status == "refreshed" {
            info!(materialized_view = name, "refreshed again after failures");
        }
        debug!(
            materialized_view = name,
            status = row.status,
            method = row.method,
            form = row.form,
            reason = row.reason,
            rows_changed = row.rows_changed,
            duration_ms = row.duration_ms,
            "refresh ended"
        );
    }

    async fn end_failed(&mut self, assignment: &Assignment, failed: Failed) {
        match failed.class {
            FailureClass::Server => self.end_broken(assignment, failed).await,
            FailureClass::ReadOnly => {
                // a query's function may have said so of its own accord
                if self.control.is_read_only().await == Some(false) {
                    self.end_broken(assignment, failed).await;
                } else {
                    self.control.give_up_read_only();
                    self.postpone(assignment.unit, TimeDelta::zero());
                }
            }
            FailureClass::OtherVersion => {
                // which one, the next look at the dictionary will tell
                self.next_poll = std::time::Instant::now();
                self.postpone(assignment.unit, BUSY_PAUSE);
            }
            FailureClass::Transient | FailureClass::Permanent => {
                self.end_noted(assignment, &failed).await;
            }
        }
    }

    /// No connection for a worker. Should the loop's own be gone as well, it will find out by itself; else there are
    /// too many connections, say.
    fn end_unconnected(&mut self, unit: UnitId, reason: &str) {
        let reason = reason.replace('\n', " ");
        if self.workers_refused || !self.control.is_ready() {
            debug!(reason, "a worker can not connect");
        } else {
            warn!(reason, "a worker can not connect: trying again");
        }
        self.workers_refused = true;
        self.postpone(unit, BUSY_PAUSE);
    }

    /// The worker's connection broke. If the server answers on another, it was this refresh's own trouble: somebody
    /// ended its session. Else the refresh is done when the server is back; but one that breaks off again and again
    /// may be what brings the server down, and has to wait longer each time.
    async fn end_broken(&mut self, assignment: &Assignment, failed: Failed) {
        let count = self.broken_off.entry(assignment.unit).or_default();
        let before = std::mem::replace(count, count.saturating_add(1));
        if self.is_done_all_the_same(assignment).await {
            debug!("a refresh was done, and only its answer lost with the connection");
            self.broken_off.remove(&assignment.unit);
            self.read_done_elsewhere(assignment.unit, &assignment.ids())
                .await;
            self.registry.finish(assignment.unit, &[], self.clock.now());
            return;
        }
        if let Some(failed) = self.note_late(assignment, failed).await {
            self.end_noted(assignment, &failed).await;
            return;
        }
        debug!("a refresh was broken off together with the connections");
        let retry = self.workers.retry();
        let pause = backoff::delay(before, retry.base, retry.cap, fastrand::f64());
        let pause = TimeDelta::from_std(pause).unwrap_or(BUSY_PAUSE);
        self.postpone(assignment.unit, pause);
    }

    /// Whether a refresh whose connection broke had been committed before, so that only its answer is lost. (Or it was done by
    /// somebody else meanwhile, which comes to the same.)
    async fn is_done_all_the_same(&mut self, assignment: &Assignment) -> bool {
        let (ids, seen) = (assignment.ids(), assignment.order.target.seen());
        let done = self
            .control
            .ask(async |connection, schema| {
                refreshes::done_since(connection, schema, &ids, seen).await
            })
            .await;
        done == Some(true)
    }

    /// Notes a failure that the worker has not noted, over the loop's own connection; `None` if that is or goes away.
    async fn note_late(&mut self, assignment: &Assignment, failed: Failed) -> Option<Failed> {
        let retry = self.workers.retry();
        let noted = self
            .control
            .ask(async |connection, schema| {
                let (order, members) = (&assignment.order, &assignment.members);
                refresh::note_failures(connection, schema, order, members, &failed, retry).await
            })
            .await?;
        Some(Failed { noted, ..failed })
    }

    fn postpone(&mut self, unit: UnitId, by: TimeDelta) {
        let now = self.clock.now();
        self.registry.postpone(unit, now + by, now);
    }

    async fn end_noted(&mut self, assignment: &Assignment, failed: &Failed) {
        let suspended = failed.class == FailureClass::Permanent;
        let mut outcomes = Vec::with_capacity(failed.noted.len());
        for (id, row) in &failed.noted {
            let name = self.details.name(*id);
            let sqlstate = failed.sqlstate.as_deref();
            if suspended {
                error!(
                    materialized_view = name,
                    error = failed.message,
                    sqlstate,
                    "suspended until its settings are changed or it is resumed; its rows stay as they are"
                );
            } else if row.failures == 1 {
                warn!(
                    materialized_view = name,
                    error = failed.message,
                    sqlstate,
                    "refresh failed, trying again"
                );
            } else {
                debug!(
                    materialized_view = name,
                    error = failed.message,
                    failures = row.failures,
                    "refresh failed again"
                );
            }
            outcomes.push(failure_outcome(*id, row));
        }
        if outcomes.is_empty() {
            self.postpone(assignment.unit, BUSY_PAUSE);
            return;
        }
        if failed.class != FailureClass::Server {
            self.broken_off.remove(&assignment.unit);
        }
        if suspended {
            // What the dictionary says counts: it does not suspend a view whose settings were changed meanwhile.
            let ids: Vec<i32> = failed.noted.iter().map(|(id, _)| *id).collect();
            self.read_again(&ids).await;
            outcomes.clear();
        }
        self.registry
            .finish(assignment.unit, &outcomes, self.clock.now());
    }
}

fn broken(message: &str) -> Failed {
    Failed {
        class: FailureClass::Server,
        message: message.to_owned(),
        sqlstate: None,
        after: std::time::Duration::ZERO,
        noted: Vec::new(),
    }
}

fn outcome_of(row: &RefreshRow) -> Outcome {
    Outcome {
        id: row.mv_id,
        last_refresh: match row.status.as_str() {
            "unchanged" => Some(row.database_now),
            _ => row.last_refresh,
        },
        failure: None,
        suspended: false,
        avg_cost_ms: row.avg_cost_ms.map(views::as_cost),
    }
}

fn failure_outcome(id: i32, row: &FailureRow) -> Outcome {
    Outcome {
        id,
        last_refresh: row.last_refresh,
        failure: views::failure(row.failures, row.retry_at),
        suspended: false,
        avg_cost_ms: row.avg_cost_ms.map(views::as_cost),
    }
}
