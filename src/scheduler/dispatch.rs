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

/// With more units ready than this, a ranking has to serve for a while, even when its useful part is used up.
const CHEAP_TO_RANK: usize = 1_000;

/// How long, for each unit beyond: several times what ranking it costs, so that ranking stays a small part of the work.
const SERVICE_PER_UNIT: TimeDelta = TimeDelta::microseconds(5);

/// Of a large backlog, this part is kept ranked in each lane (and no less than [`CHEAP_TO_RANK`] units).
const RANKED_PART: usize = 16;

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
    look_again: Option<DateTime<Utc>>,
}

/// For which state of the registry the ranking was made, and until when it has to serve at least.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    at: DateTime<Utc>,
    serves_until: DateTime<Utc>,
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
        self.look_again = None;
        if !lanes.admit(running, Lane::Quick) {
            return None;
        }
        let long_too = lanes.admit(running, Lane::Long);
        if self.is_older_than(RANKING_LIFETIME, now) && self.may_rank(registry, now) {
            self.rank(registry, lanes, now);
        }
        if let Some(start) = self.take(registry, long_too, now) {
            return Some(start);
        }
        if !self.may_rank(registry, now) {
            let changed = self.is_changed(registry, now);
            self.look_again = self
                .ranked
                .filter(|_| changed)
                .map(|ranked| ranked.serves_until);
            return None;
        }
        self.rank(registry, lanes, now);
        self.take(registry, long_too, now)
    }

    /// When to ask again although nothing ended and nothing became ready: after a `None` amid a backlog so large that
    /// it is not ranked anew for every start.
    #[must_use]
    pub fn look_again(&self) -> Option<DateTime<Utc>> {
        self.look_again
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
            let queue = if lane == Lane::Quick {
                &mut self.quick
            } else {
                &mut self.long
            };
            let unit = queue.pop_front()?.unit();
            if registry.may_start(unit, now) {
                return Some(Start { unit, lane });
            }
        }
    }

    fn rank(&mut self, registry: &Registry, lanes: &Lanes, now: DateTime<Utc>) {
        let (mut quick, mut long) = (Vec::new(), Vec::new());
        let mut seen = 0;
        // What has to wait is left out before the ranking is cut short, or it could crowd out what it waits for.
        for unit in registry.ready(now) {
            seen += 1;
            if !registry.may_start(unit, now) {
                continue;
            }
            let (cost, first_fill) = registry.expected_cost(unit);
            let queue = match lanes.lane(cost, first_fill) {
                Lane::Quick => &mut quick,
                Lane::Long => &mut long,
            };
            queue.extend(registry.lateness(unit, now));
        }
        let kept = CHEAP_TO_RANK.max(seen / RANKED_PART);
        self.quick = most_urgent(quick, kept);
        self.long = most_urgent(long, kept);
        let costly = i32::try_from(seen.saturating_sub(CHEAP_TO_RANK)).unwrap_or(i32::MAX);
        let serves_until = now + SERVICE_PER_UNIT * costly;
        self.ranked = Some(Ranked {
            at: now,
            serves_until,
            revision: registry.revision(),
        });
    }

    /// Whether another ranking could differ.
    fn is_changed(&self, registry: &Registry, now: DateTime<Utc>) -> bool {
        self.ranked.is_none_or(|ranked| {
            ranked.revision != registry.revision()
                || now < ranked.at
                || registry
                    .next_instant(ranked.at)
                    .is_some_and(|instant| instant <= now)
        })
    }

    /// Whether another ranking could differ, and the last has served long enough.
    fn may_rank(&self, registry: &Registry, now: DateTime<Utc>) -> bool {
        let served = self
            .ranked
            .is_none_or(|ranked| now < ranked.at || now >= ranked.serves_until);
        served && self.is_changed(registry, now)
    }

    fn is_older_than(&self, age: TimeDelta, now: DateTime<Utc>) -> bool {
        self.ranked
            .is_none_or(|ranked| now < ranked.at || now - ranked.at >= age)
    }
}

fn most_urgent(mut units: Vec<Lateness>, kept: usize) -> VecDeque<Lateness> {
    if units.len() > kept {
        units.select_nth_unstable(kept);
        units.truncate(kept);
    }
    units.sort_unstable();
    units.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
