//! All views in memory, ordered by when they are next due.
//!
//! The registry knows *units*: a view by itself or a refresh group, which starts as one when its earliest member is
//! due. Each unit that will ever be due has a place: since when it is due, and from when on it may start. Every
//! change costs O(log n); the instant is always a parameter.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::dependencies;
use super::fairness::Lateness;
use super::schedule::{CLOCK_TOLERANCE, Failure};
use super::view::{GroupId, UnitId, View};

mod places;

use places::Place;

/// A view that is being refreshed.
#[derive(Debug, Clone, Copy)]
struct Run {
    unit: UnitId,
    ready_at: DateTime<Utc>,
    /// Its row was read again meanwhile.
    is_changed: bool,
}

/// What a refresh left behind in the dictionary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The view's `mv_id`.
    pub id: i32,
    /// Its last successful refresh now.
    pub last_refresh: Option<DateTime<Utc>>,
    /// Its failures now.
    pub failure: Option<Failure>,
    /// Whether it is suspended now.
    pub suspended: bool,
    /// Its average cost now, in milliseconds.
    pub avg_cost_ms: Option<f32>,
}

/// The views, by id and by when they are due.
#[derive(Debug)]
pub struct Registry {
    views: HashMap<i32, View>,
    groups: HashMap<GroupId, BTreeSet<i32>>,
    places: HashMap<UnitId, Place>,
    order: BTreeSet<(DateTime<Utc>, UnitId)>,
    running: HashMap<i32, Run>,
    longest_backoff: Duration,
    last_observed: Option<DateTime<Utc>>,
    revision: u64,
}

impl Registry {
    /// An empty registry; `longest_backoff` is the cap of [`super::backoff::delay`].
    #[must_use]
    pub fn new(longest_backoff: Duration) -> Self {
        Self {
            views: HashMap::new(),
            groups: HashMap::new(),
            places: HashMap::new(),
            order: BTreeSet::new(),
            running: HashMap::new(),
            longest_backoff,
            last_observed: None,
            revision: 0,
        }
    }

    /// Changes the cap of [`super::backoff::delay`], for what is placed from now on.
    pub fn set_longest_backoff(&mut self, longest_backoff: Duration) {
        self.longest_backoff = longest_backoff;
    }

    /// Adds or replaces a view. One that is being refreshed gets its new place when it has finished.
    pub fn upsert(&mut self, view: View, now: DateTime<Utc>) {
        let (id, unit) = (view.id, unit_of(&view));
        if let Some(group) = view.group {
            self.groups.entry(group).or_default().insert(id);
        }
        if let Some(run) = self.running.get_mut(&id) {
            run.is_changed = true;
        }
        let before = self
            .views
            .insert(id, view)
            .map(|old| unit_of(&old))
            .filter(|old| *old != unit);
        if let Some(before) = before {
            self.leave(before, id, now);
        }
        self.place(unit, now);
    }

    /// Forgets a view.
    pub fn remove(&mut self, id: i32, now: DateTime<Utc>) {
        if let Some(old) = self.views.remove(&id) {
            self.leave(unit_of(&old), id, now);
        }
    }

    /// Notes the present; if the clock was set back since the last call, everything is reckoned anew and the answer
    /// is true. (Then much may be due at once: see [`Registry::spread_overdue`].)
    pub fn observe(&mut self, now: DateTime<Utc>) -> bool {
        let set_back = self
            .last_observed
            .is_some_and(|last| last.signed_duration_since(now) > CLOCK_TOLERANCE);
        if set_back {
            self.clock_stepped_back(now);
        }
        self.last_observed = Some(now);
        set_back
    }

    /// Reckons every unit's place anew; places of the time before mean nothing on a clock set back.
    pub fn clock_stepped_back(&mut self, now: DateTime<Utc>) {
        self.places.clear();
        self.order.clear();
        let units: HashSet<UnitId> = self.views.values().map(unit_of).collect();
        for unit in units {
            self.place(unit, now);
        }
    }

    /// The units that may start as far as their time goes, the longest waiting first.
    pub fn ready(&self, now: DateTime<Utc>) -> impl Iterator<Item = UnitId> + '_ {
        self.order
            .range(..=(now, UnitId::MAX))
            .map(|(_, unit)| *unit)
    }

    /// The first instant after `now` at which a unit becomes ready: how long to sleep if nothing else happens.
    #[must_use]
    pub fn next_instant(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = (Bound::Excluded((now, UnitId::MAX)), Bound::Unbounded);
        self.order.range(after).next().map(|(instant, _)| *instant)
    }

    /// Whether a unit is ready, not running, and has nothing to wait for among what it reads.
    ///
    /// It waits for a unit below it that is ready or running, unless that has been refreshed since this one became
    /// ready. That limit is what keeps a view alive that reads one which is always due again: it waits for a run or two,
    /// not for ever.
    #[must_use]
    pub fn may_start(&self, unit: UnitId, now: DateTime<Utc>) -> bool {
        let Some(place) = self.places.get(&unit).filter(|place| place.ready_at <= now) else {
            return false;
        };
        let goes_first = |other: UnitId| {
            self.busy_since(other, now).is_some_and(|since| {
                since <= place.ready_at || !self.refreshed_since(other, place.ready_at)
            })
        };
        dependencies::may_start(unit, |unit| self.units_read_by(unit), goes_first)
    }

    /// Takes a unit out of the order while it is refreshed; the views to refresh, each after those it reads.
    pub fn mark_running(&mut self, unit: UnitId) -> Vec<i32> {
        let Some(place) = self.unplace(unit) else {
            return Vec::new();
        };
        let views = self.startable_members(unit);
        self.running.extend(views.iter().map(|id| {
            (
                *id,
                Run {
                    unit,
                    ready_at: place.ready_at,
                    is_changed: false,
                },
            )
        }));
        self.revision += 1;
        views
    }

    /// Ends a run, with what it left behind for each of its views, and gives the unit its next place.
    ///
    /// A view without outcome (removed, or found refreshed by another daemon and fed by `upsert`) keeps its state.
    pub fn finish(&mut self, unit: UnitId, outcomes: &[Outcome], now: DateTime<Utc>) {
        for outcome in outcomes {
            if let Some(view) = self.views.get_mut(&outcome.id) {
                view.state.last_refresh = outcome.last_refresh;
                view.state.failure = outcome.failure;
                view.state.suspended = outcome.suspended;
                view.avg_cost_ms = outcome.avg_cost_ms;
            }
        }
        let ended: Vec<i32> = self
            .running
            .extract_if(|_, run| run.unit == unit)
            .map(|(id, _)| id)
            .collect();
        let units: BTreeSet<UnitId> = ended
            .iter()
            .filter_map(|id| self.views.get(id))
            .map(unit_of)
            .chain([unit])
            .collect();
        for unit in units {
            self.place(unit, now);
        }
    }

    /// The views of a running unit that were replaced since it began. What the run leaves behind may be older than they are, so that
    /// after its end the dictionary has to be asked.
    #[must_use]
    pub fn changed_while_running(&self, unit: UnitId) -> Vec<i32> {
        let changed = self
            .running
            .iter()
            .filter(|(_, run)| run.unit == unit && run.is_changed);
        changed.map(|(id, _)| *id).collect()
    }

    /// Ends a run that did nothing (say, another daemon holds the lock) and looks at the unit again at `until`.
    pub fn postpone(&mut self, unit: UnitId, until: DateTime<Utc>, now: DateTime<Utc>) {
        self.finish(unit, &[], now);
        if self
            .places
            .get(&unit)
            .is_some_and(|place| place.ready_at < until)
        {
            self.move_start(unit, until);
        }
    }

    /// A due unit's urgency; `None` if it has no place.
    #[must_use]
    pub fn lateness(&self, unit: UnitId, now: DateTime<Utc>) -> Option<Lateness> {
        let place = self.places.get(&unit)?;
        Some(Lateness::new(
            unit,
            place.requested,
            place.due,
            self.period(unit),
            now,
        ))
    }

    /// What a unit's refresh will take in milliseconds as far as that was ever measured, and whether it fills some
    /// view for the first time.
    #[must_use]
    pub fn expected_cost(&self, unit: UnitId) -> (Option<f32>, bool) {
        self.members(unit)
            .filter(|view| is_on(view))
            .fold((None, false), |(cost, first), view| {
                let cost = match (cost, view.avg_cost_ms) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                };
                (cost, first || view.state.last_refresh.is_none())
            })
    }

    /// Since when a unit is due, or from when on it will be.
    #[must_use]
    pub fn due(&self, unit: UnitId) -> Option<DateTime<Utc>> {
        self.places.get(&unit).map(|place| place.due)
    }

    /// A view by its `mv_id`.
    #[must_use]
    pub fn view(&self, id: i32) -> Option<&View> {
        self.views.get(&id)
    }

    /// All views, in no order.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        self.views.values()
    }

    /// The unit in which a view is refreshed.
    #[must_use]
    pub fn unit(&self, id: i32) -> Option<UnitId> {
        self.views.get(&id).map(unit_of)
    }

    /// The views of a unit.
    #[must_use]
    pub fn members_of(&self, unit: UnitId) -> Vec<i32> {
        self.members(unit).map(|view| view.id).collect()
    }

    /// Whether a view is being refreshed.
    #[must_use]
    pub fn is_running(&self, id: i32) -> bool {
        self.running.contains_key(&id)
    }

    /// How many views there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.views.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// Changes whenever a unit's place does.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    fn members(&self, unit: UnitId) -> impl Iterator<Item = &View> {
        let (single, group) = match unit {
            UnitId::View(id) => (
                self.views.get(&id).filter(|view| view.group.is_none()),
                None,
            ),
            UnitId::Group(group) => (None, self.groups.get(&group)),
        };
        single.into_iter().chain(
            group
                .into_iter()
                .flatten()
                .filter_map(|id| self.views.get(id)),
        )
    }

    fn startable_members(&self, unit: UnitId) -> Vec<i32> {
        let members: Vec<i32> = self
            .members(unit)
            .filter(|view| is_on(view))
            .map(|view| view.id)
            .collect();
        let reads = |id: i32| {
            self.views
                .get(&id)
                .map(|view| view.depends_on.to_vec())
                .unwrap_or_default()
        };
        // Cycles are refused when views are created; should there be one, any order is as good.
        dependencies::topological_order(members.iter().copied(), reads).unwrap_or(members)
    }

    fn units_read_by(&self, unit: UnitId) -> Vec<UnitId> {
        let read = self.members(unit).flat_map(|view| view.depends_on.iter());
        read.filter_map(|id| self.unit(*id))
            .filter(|read| *read != unit)
            .collect()
    }

    fn period(&self, unit: UnitId) -> Duration {
        self.members(unit)
            .map(|view| view.schedule.period())
            .min()
            .unwrap_or_default()
    }

    /// Since when a unit is running or ready.
    fn busy_since(&self, unit: UnitId, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let running = self
            .members(unit)
            .filter_map(|view| self.running.get(&view.id))
            .map(|run| run.ready_at)
            .min();
        let ready = self
            .places
            .get(&unit)
            .map(|place| place.ready_at)
            .filter(|ready_at| *ready_at <= now);
        running.or(ready)
    }
}

fn unit_of(view: &View) -> UnitId {
    view.group.map_or(UnitId::View(view.id), UnitId::Group)
}

fn is_on(view: &View) -> bool {
    view.state.enabled && !view.state.suspended
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
