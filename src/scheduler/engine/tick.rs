//! One tick: what is due is read again in one query, and as much of it started as the workers can take.

use std::collections::HashSet;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tracing::{error, warn};

use super::super::dispatch::Start;
use super::super::lanes::Lane;
use super::super::view::{UnitId, View};
use super::workers::Assignment;
use super::{Engine, views};
use crate::dictionary::refreshes::{self, FailureNote, Limits, Order, Target};
use crate::dictionary::schedules::{self, ScheduleRow};

/// Due units read again at once; what is beyond has its turn when these have been started.
const BATCH: usize = 1024;

impl Engine {
    pub(super) async fn tick(&mut self) {
        self.watch_clock();
        if self.lanes.admit(self.running, Lane::Quick) {
            self.dispatch().await;
        }
    }

    fn watch_clock(&mut self) {
        let now = self.clock.now();
        if self.registry.observe(now) {
            warn!("the database's clock was set back: all schedules are reckoned anew");
            self.details.forget_checks();
            let window = self.tunables.scheduler.startup_spread;
            self.registry
                .spread_overdue(now, window, self.lanes.workers());
        }
    }

    /// Reads a due unit again, and in the same query all others that are due: another daemon or somebody by SQL may have
    /// refreshed, changed or dropped them. False if the database is away.
    async fn confirm(&mut self, first: UnitId) -> bool {
        let now = self.clock.now();
        let registry = &self.registry;
        self.confirmed
            .retain(|unit| registry.due(*unit).is_some_and(|due| due <= now));
        let others = registry
            .ready(now)
            .filter(|unit| *unit != first && !self.confirmed.contains(unit));
        let units: Vec<UnitId> = std::iter::once(first).chain(others).take(BATCH).collect();
        let ids: Vec<i32> = units
            .iter()
            .flat_map(|unit| registry.members_of(*unit))
            .collect();
        if !self.read_again(&ids).await {
            return false;
        }
        let now = self.clock.now();
        let still_due = |unit: &UnitId| self.registry.due(*unit).is_some_and(|due| due <= now);
        self.confirmed.extend(units.into_iter().filter(still_due));
        true
    }

    /// Reads these views again; false if the database is away.
    pub(super) async fn read_again(&mut self, ids: &[i32]) -> bool {
        let asked = Instant::now();
        let answer = self
            .control
            .ask(async |connection, schema| schedules::of_views(connection, schema, ids).await)
            .await;
        let Some((rows, now)) = answer else {
            return false;
        };
        self.clock.answered(now, asked);
        let there: HashSet<i32> = rows.iter().map(|row| row.mv_id).collect();
        for id in ids.iter().filter(|id| !there.contains(id)) {
            self.forget(*id);
        }
        for row in &rows {
            self.take_in(row, now).await;
        }
        true
    }

    /// Takes a row of the dictionary into the registry. Rows read together are taken in as of one instant, or a view
    /// could seem to have been waiting for longer than one it reads. A crontab that can't be followed suspends its view.
    pub(super) async fn take_in(&mut self, row: &ScheduleRow, now: DateTime<Utc>) {
        if row.is_quiet {
            self.details.check(row.mv_id, now);
        }
        let checked_at = self.details.checked_at(row.mv_id);
        let (mut view, problem) = views::view(row, checked_at, &mut self.interner);
        if let Some(problem) = problem
            && row.enabled
            && !row.suspended
        {
            error!(materialized_view = row.mv_name, %problem, "suspended: its crontab can not be followed");
            let message = problem.to_string();
            let note = FailureNote {
                mv_id: row.mv_id,
                trigger: "schedule",
                seconds_ago: 0.0,
                error: &message,
                error_code: None,
                retry_after_seconds: 0.0,
                suspend: true,
                due_at: None,
            };
            self.control
                .ask(async |connection, schema| {
                    refreshes::note_failure(connection, schema, &note).await
                })
                .await;
            view.state.suspended = true;
        }
        self.details.note(row);
        self.registry.upsert(view, now);
    }

    async fn dispatch(&mut self) {
        loop {
            let now = self.clock.now();
            self.looked_at = now;
            let Some(start) = self
                .dispatcher
                .next(&self.registry, &self.lanes, self.running, now)
            else {
                return;
            };
            if !self.confirmed.contains(&start.unit) {
                if !self.confirm(start.unit).await {
                    return;
                }
                if !self.registry.may_start(start.unit, self.clock.now()) {
                    continue;
                }
            }
            let due_at = self.registry.due(start.unit);
            let members = self.registry.mark_running(start.unit);
            self.confirmed.remove(&start.unit);
            if members.is_empty() {
                self.registry.finish(start.unit, &[], now);
                continue;
            }
            let assignment = self.assignment(start, &members, due_at);
            self.count_start(&assignment);
            self.running.start(start.lane);
            self.workers.start(assignment);
        }
    }

    fn assignment(&self, start: Start, ids: &[i32], due_at: Option<DateTime<Utc>>) -> Assignment {
        let members: Vec<&View> = ids
            .iter()
            .filter_map(|id| self.registry.view(*id))
            .collect();
        let last_refresh = members
            .iter()
            .filter_map(|view| view.state.last_refresh)
            .max();
        let is_requested = |view: &&View| view.state.requested_at > view.state.last_refresh;
        let requested = members.iter().copied().find(is_requested);
        Assignment {
            unit: start.unit,
            lane: start.lane,
            order: Order {
                target: match start.unit {
                    UnitId::View(id) => Target::View {
                        id,
                        seen: last_refresh,
                    },
                    UnitId::Group(group) => Target::Group {
                        name: self
                            .interner
                            .group_name(group)
                            .unwrap_or_default()
                            .to_owned(),
                        seen: last_refresh,
                    },
                },
                trigger: if requested.is_some() {
                    "request"
                } else {
                    "schedule"
                },
                method: requested
                    .and_then(|view| self.details.requested_method(view.id))
                    .map(str::to_owned),
                due_at,
                limits: self.limits(&members),
            },
            members: members
                .iter()
                .map(|view| {
                    (
                        view.id,
                        view.state.failure.map_or(0, |failure| failure.failures),
                    )
                })
                .collect(),
        }
    }

    /// A group's limit is the largest of its members'.
    fn limits(&self, members: &[&View]) -> Limits {
        let scheduler = &self.tunables.scheduler;
        let default_ms =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(0);
        let own = |limit: fn(&View) -> Option<std::num::NonZeroU32>, default| {
            members
                .iter()
                .map(|view| limit(view).map_or(default, |own| u64::from(own.get())))
                .max_by_key(|limit| if *limit == 0 { u64::MAX } else { *limit })
                .unwrap_or(default)
        };
        Limits {
            silence_ms: default_ms(self.control.patience()),
            statement_ms: own(
                |view| view.timeouts.statement_ms,
                default_ms(scheduler.statement_timeout),
            ),
            lock_ms: own(
                |view| view.timeouts.lock_ms,
                default_ms(scheduler.lock_timeout),
            ),
        }
    }
}
