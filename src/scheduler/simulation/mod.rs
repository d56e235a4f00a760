//! Days of scheduling in milliseconds: a discrete-event simulation around the pure core.
//!
//! It plays the loop's part with refreshes that take as long as it is told. Real time only goes forward; the
//! database's clock is real time plus an offset that a test may step.

mod promises;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::backoff;
use super::dispatch::{Dispatcher, Start};
use super::lanes::{Lane, Lanes, Running};
use super::registry::{Outcome, Registry};
use super::schedule::Failure;
use super::view::{UnitId, View};

const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
const SPREAD_WINDOW: Duration = Duration::from_secs(10);

/// One refresh, in milliseconds of real time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: i64,
    end: i64,
}

/// Started, and going to end.
struct Started {
    start: Start,
    views: Vec<i32>,
    at: i64,
}

struct Simulation {
    registry: Registry,
    dispatcher: Dispatcher,
    lanes: Lanes,
    running: Running,
    /// Real time in milliseconds.
    now: i64,
    /// What the database's clock is ahead of real time.
    clock_offset: TimeDelta,
    /// Ends to come: when, and the key of `started`.
    ends: BinaryHeap<Reverse<(i64, u64)>>,
    started: HashMap<u64, Started>,
    starts: u64,
    /// How long refreshes take; 5 ms if not given.
    costs: HashMap<i32, i64>,
    failing: HashSet<i32>,
    failures: HashMap<i32, u32>,
    runs: BTreeMap<i32, Vec<Run>>,
    most_at_once: usize,
}

impl Simulation {
    fn new(workers: usize, views: impl IntoIterator<Item = View>) -> Self {
        let mut simulation = Self {
            registry: Registry::new(LONGEST_BACKOFF),
            dispatcher: Dispatcher::default(),
            lanes: Lanes::new(workers, None, Duration::from_secs(1)),
            running: Running::default(),
            now: 0,
            clock_offset: TimeDelta::zero(),
            ends: BinaryHeap::new(),
            started: HashMap::new(),
            starts: 0,
            costs: HashMap::new(),
            failing: HashSet::new(),
            failures: HashMap::new(),
            runs: BTreeMap::new(),
            most_at_once: 0,
        };
        let clock = simulation.clock();
        for view in views {
            simulation.registry.upsert(view, clock);
        }
        simulation
            .registry
            .spread_overdue(clock, SPREAD_WINDOW, workers);
        simulation
    }

    /// The database's clock.
    fn clock(&self) -> DateTime<Utc> {
        epoch() + TimeDelta::milliseconds(self.now) + self.clock_offset
    }

    /// Runs for so many seconds of real time.
    fn run_for(&mut self, seconds: i64) {
        let until = self.now + seconds * 1000;
        loop {
            self.tick();
            let next = self.next_event().filter(|next| *next <= until);
            let Some(next) = next else { break };
            assert!(
                next > self.now
                    || self
                        .ends
                        .peek()
                        .is_some_and(|Reverse((end, _))| *end <= self.now),
                "stuck"
            );
            self.now = next.max(self.now);
            while self
                .ends
                .peek()
                .is_some_and(|Reverse((end, _))| *end <= self.now)
            {
                self.end_one();
            }
        }
        self.now = until;
    }

    /// Stops everything for so long, as a daemon that is down: running refreshes end, nothing starts.
    fn sleep(&mut self, seconds: i64) {
        self.now += seconds * 1000;
        while !self.ends.is_empty() {
            self.end_one();
        }
        let clock = self.clock();
        self.registry
            .spread_overdue(clock, SPREAD_WINDOW, self.lanes.workers());
    }

    fn step_clock(&mut self, by: TimeDelta) {
        self.clock_offset += by;
    }

    fn next_event(&self) -> Option<i64> {
        let end = self.ends.peek().map(|Reverse((end, _))| *end);
        let clock = self.clock();
        let ready = self.registry.next_instant(clock);
        let wakes = ready
            .into_iter()
            .chain(self.dispatcher.look_again())
            .map(|instant| {
                let wait = instant - clock;
                // Rounded up, as a timer would.
                self.now + wait.num_milliseconds() + i64::from(wait.subsec_nanos() % 1_000_000 > 0)
            });
        end.into_iter().chain(wakes).min()
    }

    fn tick(&mut self) {
        let clock = self.clock();
        if self.registry.observe(clock) {
            self.registry
                .spread_overdue(clock, SPREAD_WINDOW, self.lanes.workers());
        }
        while let Some(start) =
            self.dispatcher
                .next(&self.registry, &self.lanes, self.running, clock)
        {
            self.start(start);
        }
        self.most_at_once = self
            .most_at_once
            .max(self.running.quick + self.running.long);
    }

    fn start(&mut self, start: Start) {
        let views = self.registry.mark_running(start.unit);
        assert!(!views.is_empty(), "{start:?} has nothing to refresh");
        for busy in self.started.values() {
            assert!(
                views.iter().all(|id| !busy.views.contains(id)),
                "{views:?} would be refreshed twice at once"
            );
        }
        self.running.start(start.lane);
        assert!(self.running.long <= self.lanes.long_workers());
        assert!(self.running.quick + self.running.long <= self.lanes.workers());
        let cost: i64 = views
            .iter()
            .map(|id| self.costs.get(id).copied().unwrap_or(5))
            .sum();
        self.starts += 1;
        self.ends.push(Reverse((self.now + cost, self.starts)));
        self.started.insert(
            self.starts,
            Started {
                start,
                views,
                at: self.now,
            },
        );
    }

    fn end_one(&mut self) {
        let Some(Reverse((end, key))) = self.ends.pop() else {
            return;
        };
        let started = self.started.remove(&key).unwrap();
        let clock = self.clock();
        let took = f32::from(u16::try_from(end - started.at).unwrap_or(u16::MAX));
        let outcomes: Vec<Outcome> = started
            .views
            .iter()
            .map(|id| self.outcome(*id, started.at, took))
            .collect();
        for id in &started.views {
            self.runs.entry(*id).or_default().push(Run {
                start: started.at,
                end,
            });
        }
        self.running.end(started.start.lane);
        self.registry.finish(started.start.unit, &outcomes, clock);
    }

    /// A refresh shows the snapshot of its start, so that is what `last_refresh` says.
    fn outcome(&mut self, id: i32, started: i64, took: f32) -> Outcome {
        let snapshot = epoch() + TimeDelta::milliseconds(started) + self.clock_offset;
        let before = self.registry.view(id).map(|view| view.state);
        let failures = self.failures.entry(id).or_default();
        let (last_refresh, failure) = if self.failing.contains(&id) {
            *failures += 1;
            let delay = backoff::delay(*failures, Duration::from_secs(1), LONGEST_BACKOFF, 0.5);
            let retry_at = epoch()
                + TimeDelta::milliseconds(self.now)
                + self.clock_offset
                + TimeDelta::from_std(delay).unwrap();
            (
                before.and_then(|state| state.last_refresh),
                Some(Failure {
                    failures: *failures,
                    retry_at,
                }),
            )
        } else {
            *failures = 0;
            (Some(snapshot), None)
        };
        Outcome {
            id,
            last_refresh,
            failure,
            suspended: false,
            avg_cost_ms: Some(took),
        }
    }

    fn runs(&self, id: i32) -> &[Run] {
        self.runs.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The runs that started in this span of real seconds.
    fn runs_between(&self, id: i32, from: i64, to: i64) -> usize {
        self.runs(id)
            .iter()
            .filter(|run| (from * 1000..to * 1000).contains(&run.start))
            .count()
    }

    /// The longest time between two starts from a second on, up to the present, in milliseconds.
    fn longest_pause(&self, id: i32, from: i64) -> i64 {
        let starts = self
            .runs(id)
            .iter()
            .map(|run| run.start)
            .filter(|start| *start >= from * 1000);
        let mut last = from * 1000;
        let mut longest = 0;
        for start in starts.chain([self.now]) {
            longest = longest.max(start - last);
            last = start;
        }
        longest
    }
}

/// When the simulation begins.
fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn unit(id: i32) -> UnitId {
    UnitId::View(id)
}

fn lane_of(simulation: &Simulation, id: i32) -> Lane {
    let (cost, first_fill) = simulation.registry.expected_cost(unit(id));
    simulation.lanes.lane(cost, first_fill)
}
