//! What to start next: the registry's ready units, by lateness, as far as lanes and dependencies allow.
//!
//! Ranking all that is ready costs O(n), so a ranking serves many starts and is made anew only when something
//! changed and it is used up or old.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::fairness::Lateness;
use super::lanes::{Lane, Lanes, Running};
use super::registry::Registry;
use super::view::UnitId;

/// How long a ranking serves while there is a backlog.
const RANKING_LIFETIME: TimeDelta = TimeDelta::milliseconds(50);

/// Ranked units kept in each lane; with more waiting, the rest is ranked again later.
const RANKED_PER_LANE: usize = 512;

/// A refresh to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// What to refresh.
    pub unit: UnitId,
    /// The lane whose share of the pool it takes.
    pub lane: Lane,
}

/// Picks the next unit to start; keeps its ranking between calls.
#[derive(Debug, Default)]
pub struct Dispatcher {
    quick: VecDeque<Lateness>,
    long: VecDeque<Lateness>,
    ranked: Option<Ranked>,
}

/// For which state of the registry the ranking was made.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    at: DateTime<Utc>,
    revision: u64,
}

impl Dispatcher {
    /// The unit to start now beside those running, or `None` until something ends, changes or becomes ready.
    ///
    /// The caller marks it as running in the registry before asking again.
    pub fn next(
        &mut self,
        registry: &Registry,
        lanes: &Lanes,
        running: Running,
        now: DateTime<Utc>,
    ) -> Option<Start> {
        if !lanes.admit(running, Lane::Quick) {
            return None;
        }
        let long_too = lanes.admit(running, Lane::Long);
        if self.is_stale(registry, now) {
            self.rank(registry, lanes, now);
        }
        if let Some(start) = self.take(registry, long_too, now) {
            return Some(start);
        }
        if self.is_changed(registry, now) {
            self.rank(registry, lanes, now);
            return self.take(registry, long_too, now);
        }
        None
    }

    /// The most urgent of the admitted lanes. Those that may not start after all are dropped until the next ranking.
    fn take(&mut self, registry: &Registry, long_too: bool, now: DateTime<Utc>) -> Option<Start> {
        loop {
            let lane = match (self.quick.front(), self.long.front().filter(|_| long_too)) {
                (None, None) => return None,
                (Some(_), None) => Lane::Quick,
                (None, Some(_)) => Lane::Long,
                (Some(quick), Some(long)) => {
                    if quick <= long {
                        Lane::Quick
                    } else {
                        Lane::Long
                    }
                }
            };
            let queue = if lane == Lane::Quick { &mut self.quick } else { &mut self.long };
            let unit = queue.pop_front()?.unit();
            if registry.may_start(unit, now) {
                return Some(Start { unit, lane });
            }
        }
    }

    fn rank(&mut self, registry: &Registry, lanes: &Lanes, now: DateTime<Utc>) {
        let (mut quick, mut long) = (Vec::new(), Vec::new());
        // What has to wait is left out before the ranking is cut short, or it could crowd out what it waits for.
        for unit in registry.ready(now).filter(|unit| registry.may_start(*unit, now)) {
            let (cost, first_fill) = registry.expected_cost(unit);
            let queue = match lanes.lane(cost, first_fill) {
                Lane::Quick => &mut quick,
                Lane::Long => &mut long,
            };
            queue.extend(registry.lateness(unit, now));
        }
        self.quick = most_urgent(quick);
        self.long = most_urgent(long);
        self.ranked = Some(Ranked { at: now, revision: registry.revision() });
    }

    fn is_changed(&self, registry: &Registry, now: DateTime<Utc>) -> bool {
        self.ranked.is_none_or(|ranked| {
            ranked.revision != registry.revision()
                || now < ranked.at
                || registry.next_instant(ranked.at).is_some_and(|instant| instant <= now)
        })
    }

    fn is_stale(&self, registry: &Registry, now: DateTime<Utc>) -> bool {
        let old = self.ranked.is_none_or(|ranked| now < ranked.at || now - ranked.at >= RANKING_LIFETIME);
        old && self.is_changed(registry, now)
    }
}

fn most_urgent(mut units: Vec<Lateness>) -> VecDeque<Lateness> {
    if units.len() > RANKED_PER_LANE {
        units.select_nth_unstable(RANKED_PER_LANE);
        units.truncate(RANKED_PER_LANE);
    }
    units.sort_unstable();
    units.into()
}

#[cfg(test)]
mod tests;
