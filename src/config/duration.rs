//! Durations as people write them: `30s`, `5m`, `1h30m`, `7d`; a plain number is seconds.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;

/// Reads a duration. The error is a sentence fit for the user.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = |why: &str| {
        Err(format!(
            "{text:?} is not a duration{why}: write for example 30s, 5m, 1h30m or 7d"
        ))
    };
    if text.starts_with('-') {
        return wrong(" (it is negative)");
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(seconds) => Ok(Duration::from_secs(seconds)),
            Err(_) => wrong(" (it is too large)"),
        };
    }
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(duration),
        Err(_) => wrong(""),
    }
}

/// Writes a duration the way [`parse`] reads it, for example `1h 30m`.
#[must_use]
pub fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 30s, 5m or 1h30m")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(seconds))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
        parse(&seconds.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn reads_units_and_plain_seconds() {
        for (text, seconds) in [
            ("30s", 30),
            ("5m", 300),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("7d", 604_800),
            ("90", 90),
            (" 0 ", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn refuses_what_is_no_duration_with_an_example() {
        for text in [
            "",
            "-5",
            "-5s",
            "fast",
            "5 parsecs",
            "99999999999999999999",
            "1.5s x",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("1h30m"), "{text}: {error}");
        }
        assert!(parse("-5").unwrap_err().contains("negative"));
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for seconds in [0, 1, 59, 60, 5400, 604_800, 31_557_600] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}
