//! From wall-clock values to instants, across changes of the clocks.
//!
//! The rule is Vixie cron's (crontab(5) and `cron.c` of Debian), made total:
//!
//! - *Fixed times* (neither minute nor hour field starts with `*`) run once a day whatever the clocks do: a run in a
//!   skipped hour happens once, right after the gap, and in a doubled hour only the first pass counts.
//! - *Wildcard times* (minute or hour field starts with `*`) follow the time that really passes: they run in both
//!   passes of a doubled hour. Those with `*` in the hour field don't make up for skipped values, since the next
//!   hour's come anyway.
//! - The one deviation: `*/15 2 * * *` (wildcard minutes of fixed hours) in a skipped hour would not run at all that
//!   day in Vixie cron. Here it runs once right after the gap, so no day is ever left out.
//!
//! Gaps of any length are treated alike (Lord Howe's half hour, Samoa's skipped day).

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// No zone has ever turned back its clocks by more.
const LONGEST_OVERLAP: TimeDelta = TimeDelta::hours(24);

/// How a schedule behaves where wall-clock values are skipped or doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClockChange {
    /// Run in both passes of a doubled hour.
    runs_twice: bool,
    /// Run right after a gap that swallowed a run.
    makes_up: bool,
}

impl ClockChange {
    pub(super) fn of(minute_starts_with_star: bool, hour_starts_with_star: bool) -> Self {
        Self {
            runs_twice: minute_starts_with_star || hour_starts_with_star,
            makes_up: !hour_starts_with_star,
        }
    }
}

/// Which wall-clock values match, and what happens when the clocks change.
#[derive(Debug, Clone)]
pub(super) struct WallSchedule {
    /// A value matches if it is in any of these. The crate is fed wall-clock values as if they were UTC.
    pub(super) dates: Vec<cron::Schedule>,
    pub(super) clock_change: ClockChange,
}

impl WallSchedule {
    /// The first matching wall-clock value strictly after this one.
    pub(super) fn next_wall(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let after = after.and_utc();
        self.dates
            .iter()
            .filter_map(|dates| dates.after(&after).next())
            .min()
            .map(|next| next.naive_utc())
    }

    /// The first instant strictly after `after`.
    pub(super) fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let wall = wall_at(after, zone)?;
        let onward = self.next_onward(wall, after, zone);
        match self.next_in_second_pass(wall, after, zone) {
            Some(repeated) => Some(onward.map_or(repeated, |onward| onward.min(repeated))),
            None => onward,
        }
    }

    /// The first instant after `after` that shows a later wall-clock value than `wall`.
    ///
    /// Instants grow with wall-clock values here, so the first value that has an instant after `after` wins.
    fn next_onward(
        &self,
        mut wall: NaiveDateTime,
        after: DateTime<Utc>,
        zone: Tz,
    ) -> Option<DateTime<Utc>> {
        loop {
            wall = self.next_wall(wall)?;
            if let Some(instant) = self.instant_after(wall, after, zone) {
                return Some(instant);
            }
        }
    }

    /// The earliest instant after `after` that this wall-clock value stands for.
    fn instant_after(
        &self,
        wall: NaiveDateTime,
        after: DateTime<Utc>,
        zone: Tz,
    ) -> Option<DateTime<Utc>> {
        let (first, second) = match zone.from_local_datetime(&wall) {
            MappedLocalTime::Single(only) => (Some(only.to_utc()), None),
            MappedLocalTime::Ambiguous(a, b) => {
                let second = self.clock_change.runs_twice.then(|| a.max(b).to_utc());
                (Some(a.min(b).to_utc()), second)
            }
            MappedLocalTime::None => {
                let end = GapInfo::new(&wall, &zone).and_then(|gap| gap.end);
                (
                    end.filter(|_| self.clock_change.makes_up)
                        .map(|end| end.to_utc()),
                    None,
                )
            }
        };
        [first, second]
            .into_iter()
            .flatten()
            .find(|instant| *instant > after)
    }

    /// The first run in the second pass of a doubled stretch that begins after `after`, where that stretch repeats
    /// values up to `wall` (those beyond are found by going onward).
    fn next_in_second_pass(
        &self,
        wall: NaiveDateTime,
        after: DateTime<Utc>,
        zone: Tz,
    ) -> Option<DateTime<Utc>> {
        if !self.clock_change.runs_twice {
            return None;
        }
        let before = offset_at(after, zone);
        let horizon = after.checked_add_signed(LONGEST_OVERLAP)?;
        if offset_at(horizon, zone) >= before {
            return None;
        }
        let change = first_instant_of_other_offset(after, horizon, zone);
        let start = wall_at(change, zone)?;
        if start > wall {
            return None;
        }
        let next = self.next_wall(start - TimeDelta::seconds(1))?;
        let instant = change + (next - start);
        (next <= wall).then_some(instant)
    }
}

fn offset_at(instant: DateTime<Utc>, zone: Tz) -> i32 {
    zone.offset_from_utc_datetime(&instant.naive_utc())
        .fix()
        .local_minus_utc()
}

fn wall_at(instant: DateTime<Utc>, zone: Tz) -> Option<NaiveDateTime> {
    instant
        .naive_utc()
        .checked_add_offset(zone.offset_from_utc_datetime(&instant.naive_utc()).fix())
}

/// Bisects for the change of the clocks between two instants of different offsets.
fn first_instant_of_other_offset(
    before: DateTime<Utc>,
    after: DateTime<Utc>,
    zone: Tz,
) -> DateTime<Utc> {
    let offset = offset_at(before, zone);
    let (mut same, mut other) = (before.timestamp(), after.timestamp());
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        let instant = DateTime::from_timestamp(middle, 0).unwrap_or(after);
        if offset_at(instant, zone) == offset {
            same = middle;
        } else {
            other = middle;
        }
    }
    DateTime::from_timestamp(other, 0).unwrap_or(after)
}
