//! Where each unit stands in the order of starts, and what moves it.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Registry, is_on};
use crate::scheduler::dependencies;
use crate::scheduler::fairness::Lateness;
use crate::scheduler::schedule::{self, Due};
use crate::scheduler::spread;
use crate::scheduler::view::UnitId;

/// Where a unit stands in the order of starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Since when it is due; lateness counts from here.
    pub(super) due: DateTime<Utc>,
    /// From when on it may start: `due`, or when the registry learnt of it, or later if spread or postponed.
    pub(super) ready_at: DateTime<Utc>,
    pub(super) requested: bool,
}

impl Registry {
    /// Gives what is overdue start times within a window, so that a restart is no storm: the latest first, requests
    /// and as many as there are workers at once, none later than a view that reads it.
    pub fn spread_overdue(&mut self, now: DateTime<Utc>, window: Duration, workers: usize) {
        let mut overdue: Vec<Lateness> = self
            .ready(now)
            .filter_map(|unit| self.lateness(unit, now))
            .collect();
        overdue.retain(|lateness| !self.places[&lateness.unit()].requested);
        overdue.sort_unstable();
        let periods: Vec<Duration> = overdue
            .iter()
            .map(|lateness| self.period(lateness.unit()))
            .collect();
        let delays = spread::delays(&periods, window, workers);
        let mut starts: HashMap<UnitId, DateTime<Utc>> = overdue
            .iter()
            .zip(delays)
            .map(|(lateness, delay)| {
                (
                    lateness.unit(),
                    now + TimeDelta::from_std(delay).unwrap_or_default(),
                )
            })
            .collect();
        for lateness in &overdue {
            let start = starts[&lateness.unit()];
            for read in dependencies::closure(lateness.unit(), |unit| self.units_read_by(unit)) {
                starts
                    .entry(read)
                    .and_modify(|other| *other = (*other).min(start));
            }
        }
        for (unit, start) in starts {
            self.move_start(unit, start);
        }
    }

    /// Whether all of a unit's views were refreshed at this instant or later.
    pub(super) fn refreshed_since(&self, unit: UnitId, instant: DateTime<Utc>) -> bool {
        self.members(unit)
            .filter(|view| is_on(view))
            .all(|view| view.state.last_refresh.is_some_and(|last| last >= instant))
    }

    pub(super) fn leave(&mut self, unit: UnitId, id: i32, now: DateTime<Utc>) {
        if let UnitId::Group(group) = unit
            && let Some(members) = self.groups.get_mut(&group)
        {
            members.remove(&id);
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
        self.place(unit, now);
    }

    /// Puts a unit where it belongs now. One whose due instant did not change keeps its start, so that re-reading
    /// the dictionary undoes neither spreading nor its turn.
    pub(super) fn place(&mut self, unit: UnitId, now: DateTime<Utc>) {
        let before = self.unplace(unit);
        self.revision += 1;
        let Some((due, requested)) = self.unit_due(unit, now) else {
            return;
        };
        let ready_at = match before {
            Some(before) if before.due == due && before.requested == requested => before.ready_at,
            _ => due.max(now),
        };
        self.places.insert(
            unit,
            Place {
                due,
                ready_at,
                requested,
            },
        );
        self.order.insert((ready_at, unit));
    }

    pub(super) fn unplace(&mut self, unit: UnitId) -> Option<Place> {
        let place = self.places.remove(&unit)?;
        self.order.remove(&(place.ready_at, unit));
        Some(place)
    }

    pub(super) fn move_start(&mut self, unit: UnitId, ready_at: DateTime<Utc>) {
        if let Some(place) = self.unplace(unit) {
            self.places.insert(unit, Place { ready_at, ..place });
            self.order.insert((ready_at, unit));
            self.revision += 1;
        }
    }

    /// The earliest due instant of a unit's members, but, since they succeed or fail together, not before any
    /// member's retry; and whether a request is pending. `None` while running and if never.
    fn unit_due(&self, unit: UnitId, now: DateTime<Utc>) -> Option<(DateTime<Utc>, bool)> {
        let mut due: Option<DateTime<Utc>> = None;
        let mut held: Option<DateTime<Utc>> = None;
        let mut requested = false;
        for view in self.members(unit) {
            if self.running.contains_key(&view.id) {
                return None;
            }
            if let Due::At(instant) =
                schedule::next_due(&view.schedule, &view.state, self.longest_backoff, now)
            {
                due = Some(due.map_or(instant, |due| due.min(instant)));
                requested |= schedule::request_due(&view.state, now).is_some();
                held = held.max(schedule::held_until(&view.state, self.longest_backoff, now));
            }
        }
        due.map(|due| (held.map_or(due, |held| due.max(held)), requested))
    }
}
