//! Five-field crontabs in a time zone, with the meaning that Vixie cron (Debian's) gives them.
//!
//! The `cron` crate finds the next matching wall-clock value; it is no Unix cron (six fields, weekdays from 1, day
//! of month and weekday both required, runs lost or doubled when the clocks change), so the fields are parsed here and the
//! mapping of wall-clock values to instants is in `wall_clock.rs`.
//!
//! *Days.* Where both the day of the month and the weekday are restricted (neither field starts with `*`), a day
//! matches if either does; otherwise both must.
//!
//! *Clock changes.* A run in a skipped hour happens once, right after the gap; in a doubled hour once, in the first
//! pass. Wildcard times (minute or hour field starts with `*`) follow real time instead: they run in both passes, and
//! with a wildcard hour they don't make up for skipped values. The details are in `wall_clock.rs`.

mod error;
mod fields;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod oracle;
mod wall_clock;
mod zone;

use std::hash::{Hash, Hasher};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

pub use error::CrontabError;
use fields::Fields;
use wall_clock::{ClockChange, WallSchedule};
pub use zone::parse_time_zone;

/// Occurrences that are looked at to estimate how far apart runs are.
const ESTIMATE_RUNS: u32 = 16;

/// A crontab line's five time fields, read in one time zone.
#[derive(Debug, Clone)]
pub struct Crontab {
    text: Box<str>,
    zone: Tz,
    wall: WallSchedule,
    interval: Duration,
}

impl Crontab {
    /// Reads five fields (minute, hour, day of the month, month, weekday) or one of `@hourly`, `@daily`,
    /// `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`, meant in the named IANA time zone.
    pub fn parse(text: &str, zone: &str) -> Result<Self, CrontabError> {
        Self::in_zone(text, parse_time_zone(zone)?)
    }

    /// As [`Crontab::parse`], with a time zone that is known already.
    pub fn in_zone(text: &str, zone: Tz) -> Result<Self, CrontabError> {
        let text = text.trim();
        let fields = Fields::parse(text)?;
        let wall = WallSchedule {
            dates: fields.to_cron()?,
            clock_change: ClockChange::of(
                fields.minute_starts_with_star,
                fields.hour_starts_with_star,
            ),
        };
        let interval =
            estimate_interval(&wall).ok_or_else(|| CrontabError::NeverOccurs(text.to_owned()))?;
        Ok(Self {
            text: text.into(),
            zone,
            wall,
            interval,
        })
    }

    /// The first instant strictly after `after` at which this crontab runs; `None` past the year 2100.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.wall.next_after(after, self.zone)
    }

    /// How far apart runs are on average, estimated over the next few; never zero.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The text as it was given, without blanks around it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The time zone its fields are meant in.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }
}

/// Two crontabs are the same if they read the same, in the same zone.
impl PartialEq for Crontab {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for Crontab {}

impl Hash for Crontab {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.zone.name().hash(state);
    }
}

/// The mean distance of the first runs after a fixed day; `None` if there is no run at all.
///
/// A run may be 40 years away (29 February on a Sunday, across 2100), so the search starts long ago.
fn estimate_interval(wall: &WallSchedule) -> Option<Duration> {
    let start: NaiveDateTime = Utc
        .with_ymd_and_hms(1999, 12, 31, 23, 59, 59)
        .single()?
        .naive_utc();
    let first = wall.next_wall(start)?;
    let mut last = first;
    let mut runs = 0;
    while runs < ESTIMATE_RUNS {
        let Some(next) = wall.next_wall(last) else {
            break;
        };
        last = next;
        runs += 1;
    }
    let total = (last - first).to_std().unwrap_or_default();
    Some((total / runs.max(1)).max(Duration::from_secs(60)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
