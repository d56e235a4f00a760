//! Whose turn it is among the due.

use std::cmp::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::view::UnitId;

/// How urgent a due unit is. The least in order starts first: requested ones, then the latest relative to their own
/// period, then the smaller id.
///
/// Relative lateness is what makes an overloaded pool fair: a view refreshed every second and one refreshed every
/// hour fall behind by the same factor, and neither starves.
#[derive(Debug, Clone, Copy)]
pub struct Lateness {
    requested: bool,
    relative: f64,
    unit: UnitId,
}

impl Lateness {
    /// The lateness of a unit that is due since `due` and wants a refresh every `period`.
    #[must_use]
    pub fn new(
        unit: UnitId,
        requested: bool,
        due: DateTime<Utc>,
        period: Duration,
        now: DateTime<Utc>,
    ) -> Self {
        let late = now.signed_duration_since(due).as_seconds_f64();
        Self {
            requested,
            relative: late / period.max(Duration::from_secs(1)).as_secs_f64(),
            unit,
        }
    }

    /// The unit.
    #[must_use]
    pub fn unit(&self) -> UnitId {
        self.unit
    }
}

impl Ord for Lateness {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.requested.cmp(&self.requested))
            .then_with(|| other.relative.total_cmp(&self.relative))
            .then_with(|| self.unit.cmp(&other.unit))
    }
}

impl PartialOrd for Lateness {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Lateness {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Lateness {}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn order(mut units: Vec<Lateness>) -> Vec<i32> {
        units.sort();
        units
            .into_iter()
            .map(|lateness| match lateness.unit() {
                UnitId::View(id) => id,
                UnitId::Group(group) => panic!("{group:?}"),
            })
            .collect()
    }

    fn late(id: i32, requested: bool, seconds: i64, period: u64) -> Lateness {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        Lateness::new(
            UnitId::View(id),
            requested,
            now - TimeDelta::seconds(seconds),
            Duration::from_secs(period),
            now,
        )
    }

    #[test]
    fn the_latest_by_its_own_period_goes_first() {
        let hourly = late(1, false, 600, 3600);
        let each_second = late(2, false, 2, 1);
        let each_minute = late(3, false, 30, 60);
        assert_eq!(order(vec![hourly, each_second, each_minute]), [2, 3, 1]);
    }

    #[test]
    fn requests_go_before_everything_due_by_schedule() {
        assert_eq!(
            order(vec![late(1, false, 900, 1), late(2, true, 0, 3600)]),
            [2, 1]
        );
    }

    #[test]
    fn ties_go_to_the_smaller_id() {
        assert_eq!(
            order(vec![
                late(3, false, 9, 9),
                late(1, false, 9, 9),
                late(2, false, 9, 9)
            ]),
            [1, 2, 3]
        );
    }

    #[test]
    fn a_period_below_a_second_counts_as_one() {
        assert_eq!(
            order(vec![late(1, false, 1, 0), late(2, false, 2, 1)]),
            [2, 1]
        );
    }
}
