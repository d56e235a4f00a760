//! The five fields of a crontab, as text and as sets of values.

use std::fmt::Write as _;
use std::str::FromStr as _;

use super::CrontabError;

/// What one of the five fields may hold.
struct Kind {
    /// Number and name, as messages call it.
    name: &'static str,
    min: u8,
    max: u8,
    /// The range, for messages.
    range: &'static str,
    /// The range and the names, for messages.
    allowed: &'static str,
    /// Names of the values from `min` up.
    names: &'static [&'static str],
}

const MINUTE: Kind = Kind {
    name: "1 (minute)",
    min: 0,
    max: 59,
    range: "0-59",
    allowed: "0-59",
    names: &[],
};
const HOUR: Kind = Kind {
    name: "2 (hour)",
    min: 0,
    max: 23,
    range: "0-23",
    allowed: "0-23",
    names: &[],
};
const DAY: Kind = Kind {
    name: "3 (day of month)",
    min: 1,
    max: 31,
    range: "1-31",
    allowed: "1-31",
    names: &[],
};
const MONTH: Kind = Kind {
    name: "4 (month)",
    min: 1,
    max: 12,
    range: "1-12",
    allowed: "1-12, jan-dec",
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
/// Both 0 and 7 are Sunday.
const WEEKDAY: Kind = Kind {
    name: "5 (weekday)",
    min: 0,
    max: 7,
    range: "0-7",
    allowed: "0-7, sun-sat",
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};
const SUNDAY: u8 = 0;
const ALSO_SUNDAY: u8 = 7;

/// A set of the values 0-63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values(u64);

impl Values {
    fn contains(self, value: u8) -> bool {
        self.0 >> value & 1 == 1
    }

    fn insert(&mut self, value: u8) {
        self.0 |= 1 << value;
    }
}

/// Five parsed fields.
pub(super) struct Fields {
    minute: Values,
    hour: Values,
    day: Values,
    month: Values,
    /// 0-6, Sunday first.
    weekday: Values,
    pub(super) minute_starts_with_star: bool,
    pub(super) hour_starts_with_star: bool,
    either_day_suffices: bool,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Self, CrontabError> {
        let text = if text.starts_with('@') {
            shorthand(text)?
        } else {
            text
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(if fields.is_empty() {
                CrontabError::Empty
            } else {
                CrontabError::FieldCount(fields.len())
            });
        };
        Ok(Self {
            minute: MINUTE.parse(minute)?,
            hour: HOUR.parse(hour)?,
            day: DAY.parse(day)?,
            month: MONTH.parse(month)?,
            weekday: fold_sunday(WEEKDAY.parse(weekday)?),
            minute_starts_with_star: minute.starts_with('*'),
            hour_starts_with_star: hour.starts_with('*'),
            either_day_suffices: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }

    /// The same in the `cron` crate's language; two schedules where the earlier of both counts.
    pub(super) fn to_cron(&self) -> Result<Vec<cron::Schedule>, CrontabError> {
        let day = list(self.day, &DAY, 0);
        // The crate numbers weekdays from 1 = Sunday.
        let weekday = if self.weekday == Values(0b111_1111) {
            "*".to_owned()
        } else {
            list(self.weekday, &WEEKDAY, 1)
        };
        if self.either_day_suffices {
            Ok(vec![
                self.to_one_cron(&day, "*")?,
                self.to_one_cron("*", &weekday)?,
            ])
        } else {
            Ok(vec![self.to_one_cron(&day, &weekday)?])
        }
    }

    fn to_one_cron(&self, day: &str, weekday: &str) -> Result<cron::Schedule, CrontabError> {
        let minute = list(self.minute, &MINUTE, 0);
        let hour = list(self.hour, &HOUR, 0);
        let month = list(self.month, &MONTH, 0);
        let text = format!("0 {minute} {hour} {day} {month} {weekday}");
        cron::Schedule::from_str(&text).map_err(|error| CrontabError::Untranslatable {
            text,
            reason: error.to_string(),
        })
    }
}

fn shorthand(text: &str) -> Result<&'static str, CrontabError> {
    match text.to_ascii_lowercase().as_str() {
        "@hourly" => Ok("0 * * * *"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@monthly" => Ok("0 0 1 * *"),
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        _ => Err(CrontabError::UnknownShorthand(text.to_owned())),
    }
}

fn fold_sunday(mut weekdays: Values) -> Values {
    if weekdays.contains(ALSO_SUNDAY) {
        weekdays.0 &= !(1 << ALSO_SUNDAY);
        weekdays.insert(SUNDAY);
    }
    weekdays
}

/// A comma list of the values, each plus `shift`; `*` if all are there, which the crate keeps cheaper.
fn list(values: Values, kind: &Kind, shift: u8) -> String {
    if (kind.min..=kind.max).all(|value| values.contains(value)) {
        return "*".to_owned();
    }
    let mut text = String::new();
    for value in (kind.min..=kind.max).filter(|value| values.contains(*value)) {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String can't fail.
        let _ = write!(text, "{comma}{}", value + shift);
    }
    text
}

impl Kind {
    fn parse(&self, field: &str) -> Result<Values, CrontabError> {
        let mut values = Values(0);
        for item in field.split(',') {
            let (first, last, step) = self.item(item)?;
            for value in (first..=last).step_by(step) {
                values.insert(value);
            }
        }
        Ok(values)
    }

    /// First, last and step of `*`, `a`, `a-b`, `*/n` or `a-b/n`.
    fn item(&self, item: &str) -> Result<(u8, u8, usize), CrontabError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(item, step)?)),
            None => (item, None),
        };
        if range == "*" {
            return Ok((self.min, self.max, step.unwrap_or(1)));
        }
        let Some((first, last)) = range.split_once('-') else {
            let value = self.value(range, item)?;
            return match step {
                None => Ok((value, value, 1)),
                Some(step) => Err(CrontabError::StepWithoutRange {
                    field: self.name,
                    text: item.to_owned(),
                    remedy: format!("{value}-{}/{step}", self.max),
                }),
            };
        };
        let first = self.value(first, item)?;
        let last = match self.value(last, item)? {
            // `fri-sun` means what it says although Sunday is 0.
            SUNDAY if self.max == ALSO_SUNDAY && first > SUNDAY => ALSO_SUNDAY,
            last => last,
        };
        if first > last {
            return Err(self.backwards(item, first, last));
        }
        Ok((first, last, step.unwrap_or(1)))
    }

    fn step(&self, item: &str, step: &str) -> Result<usize, CrontabError> {
        Some(step)
            .filter(|step| step.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|step| step.parse::<u16>().ok())
            .filter(|step| *step > 0)
            .map(usize::from)
            .ok_or_else(|| CrontabError::BadStep {
                field: self.name,
                text: item.to_owned(),
            })
    }

    /// One number or name; `item` is what messages show if this part alone is empty.
    fn value(&self, text: &str, item: &str) -> Result<u8, CrontabError> {
        if let Some(index) = self
            .names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text))
        {
            return Ok(self.min + u8::try_from(index).unwrap_or(self.max));
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let shown = if text.is_empty() { item } else { text };
            return Err(CrontabError::NotUnderstood {
                field: self.name,
                text: shown.to_owned(),
                allowed: self.allowed,
            });
        }
        text.parse::<u8>()
            .ok()
            .filter(|value| (self.min..=self.max).contains(value))
            .ok_or_else(|| CrontabError::OutOfRange {
                field: self.name,
                text: text.to_owned(),
                allowed: self.range,
            })
    }

    fn backwards(&self, item: &str, first: u8, last: u8) -> CrontabError {
        let part = |from: u8, to: u8| {
            if from == to {
                from.to_string()
            } else {
                format!("{from}-{to}")
            }
        };
        CrontabError::Backwards {
            field: self.name,
            text: item.to_owned(),
            remedy: format!("{},{}", part(first, self.max), part(self.min, last)),
        }
    }
}
