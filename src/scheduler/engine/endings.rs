//! What follows when a refresh has ended.

use chrono::TimeDelta;
use tracing::{debug, error, info, warn};

use super::super::registry::Outcome;
use super::super::view::UnitId;
use super::clock::DatabaseClock;
use super::workers::{Assignment, Ended};
use super::{Engine, views};
use crate::dictionary::refreshes::{FailureRow, RefreshRow};
use crate::refresh::{self, Failed, FailureClass, Report};

/// When to look again at a view that another session is refreshing.
const BUSY_PAUSE: TimeDelta = TimeDelta::seconds(1);

impl Engine {
    pub(super) async fn end(&mut self, ended: Ended) {
        self.running.end(ended.assignment.lane);
        let unit = ended.assignment.unit;
        self.confirmed.remove(&unit);
        match ended.result {
            Ok(Report::Done(rows)) => self.end_done(unit, &rows).await,
            Ok(Report::Failed(failed)) => self.end_failed(&ended.assignment, failed).await,
            Err(connect_error) => {
                // the same words for the loop's own connection, should it be gone as well
                self.end_without_answer(&ended.assignment, None, &connect_error.to_string())
                    .await;
            }
        }
        self.workers.close_idle(self.lanes.workers()).await;
    }

    async fn end_done(&mut self, unit: UnitId, rows: &[RefreshRow]) {
        if let Some(now) = rows.iter().map(|row| row.database_now).max() {
            self.clock = DatabaseClock::set(now);
        }
        if rows.iter().any(|row| row.status == "busy") {
            let now = self.clock.now();
            self.registry.postpone(unit, now + BUSY_PAUSE, now);
            return;
        }
        let outcomes: Vec<Outcome> = rows
            .iter()
            .filter(|row| views::is_final(row))
            .map(outcome_of)
            .collect();
        for row in rows {
            self.say(row);
        }
        let changed: Vec<i32> = rows
            .iter()
            .filter(|row| !views::is_final(row))
            .map(|row| row.mv_id)
            .collect();
        if !changed.is_empty() {
            self.read_again(&changed).await;
        }
        self.registry.finish(unit, &outcomes, self.clock.now());
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
            rows_changed = row.rows_changed,
            duration_ms = row.duration_ms,
            "refresh ended"
        );
    }

    async fn end_failed(&mut self, assignment: &Assignment, failed: Failed) {
        match failed.class {
            FailureClass::Server => {
                let reason = failed.message.clone();
                self.end_without_answer(assignment, Some(failed), &reason)
                    .await;
            }
            FailureClass::ReadOnly => {
                self.control.away(&failed.message);
                let now = self.clock.now();
                self.registry.postpone(assignment.unit, now, now);
            }
            FailureClass::Transient | FailureClass::Permanent => {
                self.end_noted(assignment, &failed);
            }
        }
    }

    /// The worker's connection broke. If the server answers on another, it was this refresh's own trouble (somebody
    /// ended its backend, or it crashed); else the refresh is done when the server is back.
    async fn end_without_answer(
        &mut self,
        assignment: &Assignment,
        failed: Option<Failed>,
        reason: &str,
    ) {
        let retry = self.workers.retry();
        let noted = self
            .control
            .ask(async |connection, schema| match &failed {
                Some(failed) => {
                    refresh::note_failures(
                        connection,
                        schema,
                        &assignment.order,
                        &assignment.members,
                        failed,
                        retry,
                    )
                    .await
                }
                None => Ok(Vec::new()),
            })
            .await;
        let now = self.clock.now();
        match (failed, noted) {
            (Some(failed), Some(noted)) => self.end_noted(assignment, &Failed { noted, ..failed }),
            (None, Some(_)) => {
                // no connection to be had for a worker, though the loop has one: too many connections, say
                warn!(
                    reason = reason.replace('\n', " "),
                    "a worker can not connect: trying again"
                );
                self.registry
                    .postpone(assignment.unit, now + BUSY_PAUSE, now);
            }
            (_, None) => self.registry.postpone(assignment.unit, now, now),
        }
    }

    fn end_noted(&mut self, assignment: &Assignment, failed: &Failed) {
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
            outcomes.push(failure_outcome(*id, row, suspended));
        }
        let now = self.clock.now();
        self.registry.finish(assignment.unit, &outcomes, now);
        if outcomes.is_empty() {
            self.registry
                .postpone(assignment.unit, now + BUSY_PAUSE, now);
        }
    }
}

fn outcome_of(row: &RefreshRow) -> Outcome {
    Outcome {
        id: row.mv_id,
        last_refresh: row.last_refresh,
        failure: None,
        suspended: false,
        avg_cost_ms: row.avg_cost_ms.map(views::as_cost),
    }
}

fn failure_outcome(id: i32, row: &FailureRow, suspended: bool) -> Outcome {
    Outcome {
        id,
        last_refresh: row.last_refresh,
        failure: views::failure(row.failures, row.retry_at),
        suspended,
        avg_cost_ms: row.avg_cost_ms.map(views::as_cost),
    }
}
