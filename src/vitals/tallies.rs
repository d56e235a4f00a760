//! What has been counted since the daemon started.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Rows were brought up to date, or found to be.
    Succeeded,
    /// Nothing was pending.
    Unchanged,
    /// An error that may pass: it is tried again.
    Failed,
    /// An error that does not pass: the view was suspended.
    Suspended,
    /// The connection broke, or none was to be had.
    BrokenOff,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::Unchanged,
        Self::Failed,
        Self::Suspended,
        Self::BrokenOff,
    ];

    /// The name that metrics give it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Suspended => "suspended",
            Self::BrokenOff => "broken_off",
        }
    }
}

/// What refreshes are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefreshKey {
    /// `fast`, `complete`, `none` where nothing was done, `unknown` where it failed before that was chosen.
    pub method: &'static str,
    /// How it ended.
    pub outcome: Outcome,
}

impl RefreshKey {
    /// Of a method as the dictionary names it.
    #[must_use]
    pub fn new(method: Option<&str>, outcome: Outcome) -> Self {
        let method = match method {
            Some("fast") => "fast",
            Some("complete") => "complete",
            Some("none") => "none",
            _ => "unknown",
        };
        Self { method, outcome }
    }
}

/// The upper bounds of durations, in seconds: refreshes take from a millisecond to hours.
const BOUNDS: [f64; 16] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0,
    3600.0,
];

/// How many observations lie below each of a row of bounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    below: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    /// Adds a duration in seconds.
    pub fn observe(&mut self, seconds: f64) {
        let seconds = seconds.max(0.0);
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        for below in &mut self.below[bucket..] {
            *below += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// Each bound in seconds, and how many observations are no greater.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        BOUNDS.into_iter().zip(self.below)
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// The numbers. They only grow.
#[derive(Debug, Clone, Default)]
pub struct Tallies {
    /// Refreshes.
    pub refreshes: BTreeMap<RefreshKey, u64>,
    /// Seconds that refreshes took which did something, by method.
    pub durations: BTreeMap<&'static str, Histogram>,
    /// Rows inserted, updated and deleted, by method.
    pub rows: BTreeMap<&'static str, u64>,
    /// Seconds from due to begun, of refreshes that were due by their schedule.
    pub lateness: Histogram,
    /// Audits that found a materialized view equal to its query.
    pub audits_equal: u64,
    /// Audits that found a difference.
    pub audits_different: u64,
    /// Times that the database went away.
    pub database_losses: u64,
    /// Rounds of upkeep.
    pub upkeep_rounds: u64,
}

impl Tallies {
    /// Counts a refresh that ended.
    pub fn refresh(&mut self, key: RefreshKey) {
        *self.refreshes.entry(key).or_default() += 1;
    }

    /// Notes what a refresh took and changed.
    pub fn done(&mut self, method: &'static str, took: Duration, rows: u64) {
        let durations = self.durations.entry(method).or_default();
        durations.observe(took.as_secs_f64());
        *self.rows.entry(method).or_default() += rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_in_its_bucket_and_all_above() {
        let mut histogram = Histogram::default();
        for seconds in [0.001, 0.3, 7_200.0, -1.0] {
            histogram.observe(seconds);
        }
        let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
        assert_eq!(buckets[0], (0.001, 2), "a bound belongs to its bucket");
        assert!(buckets.contains(&(0.25, 2)) && buckets.contains(&(0.5, 3)));
        assert_eq!(buckets.last(), Some(&(3600.0, 3)));
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum() - 7_200.301).abs() < 1e-9);
    }

    #[test]
    fn methods_are_a_closed_set_whatever_the_dictionary_says() {
        let key = |method| RefreshKey::new(method, Outcome::Failed).method;
        assert_eq!(key(Some("fast")), "fast");
        assert_eq!(key(Some("something new")), "unknown");
        assert_eq!(key(None), "unknown");
    }
}
