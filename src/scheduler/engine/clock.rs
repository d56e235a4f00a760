//! The database's clock, estimated between its answers.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

/// What the database's clock shows, from its last answer and this machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatabaseClock {
    database: DateTime<Utc>,
    monotonic: Instant,
}

impl DatabaseClock {
    /// Set by an answer just received.
    pub(super) fn set(database: DateTime<Utc>) -> Self {
        Self {
            database,
            monotonic: Instant::now(),
        }
    }

    /// Learns what it showed at some time between a question and now, when the answer has come.
    ///
    /// It is moved no further than that requires: an answer that was long under way says little, and must not set the
    /// clock back.
    pub(super) fn answered(&mut self, database: DateTime<Utc>, asked: Instant) {
        self.answered_after(database, asked.elapsed());
    }

    fn answered_after(&mut self, database: DateTime<Utc>, under_way: Duration) {
        let latest = database + TimeDelta::from_std(under_way).unwrap_or_default();
        *self = Self::set(self.now().clamp(database, latest));
    }

    /// Learns of an instant that has passed by now, however long ago: the clock never goes back because of it.
    pub(super) fn at_least(&mut self, database: DateTime<Utc>) {
        if self.now() < database {
            *self = Self::set(database);
        }
    }

    /// The present.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }

    /// What it shows at an instant of the monotonic clock.
    fn at(&self, instant: Instant) -> DateTime<Utc> {
        let elapsed = instant.saturating_duration_since(self.monotonic);
        self.database + TimeDelta::from_std(elapsed).unwrap_or_default()
    }

    /// How long from now until the database's clock shows this.
    pub(super) fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.now()).to_std().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_answers_it_goes_on_with_the_monotonic_clock() {
        let clock = DatabaseClock::set(DateTime::UNIX_EPOCH);
        let later = clock.at(clock.monotonic + Duration::from_secs(90));
        assert_eq!(later, DateTime::UNIX_EPOCH + TimeDelta::seconds(90));
        assert_eq!(clock.until(DateTime::UNIX_EPOCH), Duration::ZERO);
    }

    #[test]
    fn an_answer_moves_it_only_as_far_as_the_time_under_way_leaves_no_doubt() {
        let minute = |n| DateTime::UNIX_EPOCH + TimeDelta::minutes(n);
        let minutes = |clock: DatabaseClock| (clock.now() - minute(0)).num_minutes();
        let hour = Duration::from_secs(3_600);
        let mut clock = DatabaseClock::set(minute(100));
        clock.answered_after(minute(50), hour);
        assert_eq!(minutes(clock), 100, "no contradiction");
        clock.answered_after(minute(300), hour);
        assert_eq!(minutes(clock), 300, "it was behind");
        clock.answered_after(minute(200), hour);
        assert_eq!(minutes(clock), 260, "it was ahead");
        clock.answered_after(minute(10), Duration::ZERO);
        assert_eq!(minutes(clock), 10, "the database's clock was set back");
    }

    #[test]
    fn an_instant_that_has_passed_moves_it_forwards_only() {
        let mut clock = DatabaseClock::set(DateTime::UNIX_EPOCH + TimeDelta::hours(1));
        clock.at_least(DateTime::UNIX_EPOCH);
        assert!(clock.now() >= DateTime::UNIX_EPOCH + TimeDelta::hours(1));
        clock.at_least(DateTime::UNIX_EPOCH + TimeDelta::hours(2));
        assert!(clock.now() >= DateTime::UNIX_EPOCH + TimeDelta::hours(2));
    }
}
