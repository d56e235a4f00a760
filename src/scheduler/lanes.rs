//! Two lanes over one bounded pool of workers, so that long refreshes can't starve quick ones.

use std::time::Duration;

/// Which share of the pool a refresh may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// May use every worker.
    Quick,
    /// May use only [`Lanes::long_workers`] of them.
    Long,
}

/// How many refreshes of each lane are running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Running {
    /// Running quick refreshes.
    pub quick: usize,
    /// Running long refreshes.
    pub long: usize,
}

impl Running {
    /// Counts a start.
    pub fn start(&mut self, lane: Lane) {
        *self.of(lane) += 1;
    }

    /// Counts an end.
    pub fn end(&mut self, lane: Lane) {
        let count = self.of(lane);
        *count = count.saturating_sub(1);
    }

    fn of(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Quick => &mut self.quick,
            Lane::Long => &mut self.long,
        }
    }
}

/// The pool's size and the rule that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    workers: usize,
    long_workers: usize,
    quick_up_to: Duration,
}

impl Lanes {
    /// A pool of `workers` (at least one). Refreshes expected to take longer than `quick_up_to` are long, and may hold
    /// at most `long_workers` workers at once; by default all but one, and never fewer than one: a single worker
    /// serves both lanes.
    #[must_use]
    pub fn new(workers: usize, long_workers: Option<usize>, quick_up_to: Duration) -> Self {
        let workers = workers.max(1);
        let long_workers = long_workers
            .unwrap_or(workers.saturating_sub(1))
            .clamp(1, workers);
        Self {
            workers,
            long_workers,
            quick_up_to,
        }
    }

    /// The lane for a refresh of this expected cost in milliseconds.
    ///
    /// Where the cost is unknown, a first fill is taken for long (it reads everything, and large loads come in
    /// batches of new views), any other refresh for quick (it will be measured then).
    #[must_use]
    pub fn lane(&self, expected_ms: Option<f32>, first_fill: bool) -> Lane {
        let long = match expected_ms.filter(|ms| ms.is_finite()) {
            Some(ms) => f64::from(ms) > self.quick_up_to.as_secs_f64() * 1e3,
            None => first_fill,
        };
        if long { Lane::Long } else { Lane::Quick }
    }

    /// Whether one more refresh of this lane may start now.
    #[must_use]
    pub fn admit(&self, running: Running, lane: Lane) -> bool {
        running.quick + running.long < self.workers
            && (lane == Lane::Quick || running.long < self.long_workers)
    }

    /// The pool's size.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The most workers that long refreshes may hold.
    #[must_use]
    pub fn long_workers(&self) -> usize {
        self.long_workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_worker_always_stays_free_of_long_refreshes() {
        let lanes = Lanes::new(4, None, SECOND);
        let three_long = Running { quick: 0, long: 3 };
        assert!(!lanes.admit(three_long, Lane::Long));
        assert!(lanes.admit(three_long, Lane::Quick));
    }

    #[test]
    fn the_pool_is_never_exceeded() {
        for workers in 0..6 {
            let lanes = Lanes::new(workers, None, SECOND);
            for long in 0..8 {
                for quick in 0..8 {
                    let running = Running { quick, long };
                    let full = quick + long >= workers.max(1);
                    assert_eq!(lanes.admit(running, Lane::Quick), !full);
                    if full {
                        assert!(!lanes.admit(running, Lane::Long));
                    }
                }
            }
        }
    }

    #[test]
    fn a_single_worker_serves_both_lanes() {
        let lanes = Lanes::new(1, None, SECOND);
        assert!(lanes.admit(Running::default(), Lane::Long));
        assert!(lanes.admit(Running::default(), Lane::Quick));
    }

    #[test]
    fn a_configured_share_holds_within_the_pool() {
        assert_eq!(Lanes::new(8, Some(2), SECOND).long_workers(), 2);
        assert_eq!(Lanes::new(8, Some(0), SECOND).long_workers(), 1);
        assert_eq!(Lanes::new(8, Some(99), SECOND).long_workers(), 8);
    }

    #[test]
    fn cost_decides_and_only_an_unmeasured_first_fill_is_long() {
        let lanes = Lanes::new(4, None, SECOND);
        assert_eq!(lanes.lane(Some(1_000.0), true), Lane::Quick);
        assert_eq!(lanes.lane(Some(1_001.0), false), Lane::Long);
        assert_eq!(lanes.lane(None, false), Lane::Quick);
        assert_eq!(lanes.lane(None, true), Lane::Long);
        assert_eq!(lanes.lane(Some(f32::NAN), true), Lane::Long);
    }

    #[test]
    fn running_counts_never_go_below_zero() {
        let mut running = Running::default();
        running.start(Lane::Long);
        running.end(Lane::Long);
        running.end(Lane::Long);
        assert_eq!(running, Running::default());
    }
}
