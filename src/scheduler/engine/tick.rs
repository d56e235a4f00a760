//! One tick: what is due is read again in one query, and as much of it started as the workers can take.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
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

/// So long before a unit is due it is read again, so that its refresh need not wait for that: longer than a small query
/// and the timer's step take, and so short that what happens in between matters little. A refresh that has been done
/// elsewhere since is left out by `perform_refresh`, which knows from which state it was started.
pub(super) const FORESIGHT: TimeDelta = TimeDelta::milliseconds(10);

impl Engine {
    pub(super) async fn tick(&mut self) {
        self.watch_clock();
        if self.lanes.admit(self.running, Lane::Quick) {
            self.dispatch().await;
        }
        if self.lanes.admit(self.running, Lane::Quick) && self.control.is_ready() {
            self.foresee().await;
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

    /// Reads a due unit again, and in the same query all others that are due or soon will be: another daemon or somebody
    /// by SQL may have refreshed, changed or dropped them. False if the database is away.
    async fn confirm(&mut self, first: UnitId) -> bool {
        let soon = self.clock.now() + FORESIGHT;
        let units: Vec<UnitId> = std::iter::once(first)
            .chain(self.unconfirmed(soon).filter(|unit| *unit != first))
            .take(BATCH)
            .collect();
        self.read_units_again(units).await
    }

    /// Reads again what is due soon, as [`Engine::confirm`] does when it is due.
    async fn foresee(&mut self) {
        let soon = self.clock.now() + FORESIGHT;
        self.foreseen_to = soon;
        let units: Vec<UnitId> = self.unconfirmed(soon).take(BATCH).collect();
        if !units.is_empty() {
            self.read_units_again(units).await;
        }
    }

    /// The units due by an instant that have not been read again for that.
    fn unconfirmed(&self, by: DateTime<Utc>) -> impl Iterator<Item = UnitId> {
        self.registry
            .ready(by)
            .filter(|unit| !self.is_confirmed(*unit))
    }

    fn is_confirmed(&self, unit: UnitId) -> bool {
        let due = self.registry.due(unit);
        due.is_some() && self.confirmed.get(&unit).copied() == due
    }

    /// Reads units again, and notes those for which that leaves something to do at the instant they were due at.
    async fn read_units_again(&mut self, units: Vec<UnitId>) -> bool {
        let registry = &self.registry;
        self.confirmed
            .retain(|unit, due| registry.due(*unit) == Some(*due));
        let dues: HashMap<UnitId, DateTime<Utc>> = units
            .iter()
            .filter_map(|unit| Some((*unit, registry.due(*unit)?)))
            .collect();
        let ids: Vec<i32> = units
            .iter()
            .flat_map(|unit| registry.members_of(*unit))
            .collect();
        let Some(quiet) = self.read_again(&ids).await else {
            return false;
        };
        let registry = &self.registry;
        // one that was found quiet before its time is looked at again when it comes, unless that made it due later
        let is_quiet = |unit: UnitId| {
            registry
                .members_of(unit)
                .iter()
                .all(|id| quiet.contains(id))
        };
        let still_due = dues
            .into_iter()
            .filter(|(unit, due)| registry.due(*unit) == Some(*due) && !is_quiet(*unit));
        self.confirmed.extend(still_due);
        true
    }

    /// Reads these views again, and says for which of them nothing is pending; `None` if the database is away.
    pub(super) async fn read_again(&mut self, ids: &[i32]) -> Option<HashSet<i32>> {
        let asked = Instant::now();
        let answer = self
            .control
            .ask(async |connection, schema| schedules::of_views(connection, schema, ids).await)
            .await;
        let (rows, now) = answer?;
        self.clock.answered(now, asked);
        let there: HashSet<i32> = rows.iter().map(|row| row.mv_id).collect();
        for id in ids.iter().filter(|id| !there.contains(id)) {
            self.forget(*id);
        }
        for row in &rows {
            self.take_in(row, now).await;
        }
        let quiet = rows.iter().filter(|row| row.is_quiet);
        Some(quiet.map(|row| row.mv_id).collect())
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
            if !self.is_confirmed(start.unit) {
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
