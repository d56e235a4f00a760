//! Numbers and spans in words.

use std::time::Duration;

use crate::config::show_duration;

/// A count with its noun: `1 row`, `12 rows`.
pub(super) fn count(number: i64, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{number} {noun}")
}

/// `1 row`, `12 rows`.
pub(super) fn rows(number: i64) -> String {
    count(number, "row", "rows")
}

/// A span in its two greatest units: `1h 30m`, `12s`.
pub(super) fn seconds(seconds: f64) -> String {
    // Negative only where a clock was set back.
    let span = Duration::try_from_secs_f64(seconds.floor().max(0.0)).unwrap_or(Duration::MAX);
    let whole = show_duration(span);
    whole
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A short duration: `0.4 ms`, `12 ms`, `3.2 s`, `5m 12s`.
pub(super) fn milliseconds(milliseconds: f64) -> String {
    // as they are rounded: never 10.0 ms, 1000 ms or 60.0 s
    if milliseconds < 9.95 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else if milliseconds < 59_950.0 {
        format!("{:.1} s", milliseconds / 1000.0)
    } else {
        seconds(milliseconds / 1000.0)
    }
}

/// A number for people, to two digits.
pub(super) fn rounded(number: f64) -> String {
    let scale = 10_f64.powf((number.max(1.0).log10().floor() - 1.0).max(0.0));
    format!("{:.0}", (number / scale).round() * scale)
}

/// A refresh method, with the form of a complete one: `fast`, `complete (in_place)`, `unchanged`.
pub(super) fn method(method: Option<&str>, form: Option<&str>) -> String {
    match (method, form) {
        (None, _) => "-".to_owned(),
        (Some("none"), _) => "unchanged".to_owned(),
        (Some(method), None) => method.to_owned(),
        (Some(method), Some(form)) => format!("{method} ({form})"),
    }
}

/// The width that texts are folded to.
const WIDTH: usize = 80;

/// Text in lines of eighty characters, indented, the first one less than the others. Broken between words.
pub(super) fn folded(text: &str, indentation: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            last => {
                let hanging = if last.is_some() { 2 } else { 0 };
                lines.push(" ".repeat(indentation + hanging) + word);
            }
        }
    }
    lines.join("\n")
}

/// A value, or a dash where there is none.
pub(super) fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units_and_short_ones_in_milliseconds() {
        assert_eq!(seconds(0.9), "0s");
        assert_eq!(seconds(-5.0), "0s");
        assert_eq!(seconds(5400.0), "1h 30m");
        assert_eq!(seconds(90_061.0), "1day 1h");
        assert_eq!(milliseconds(0.42), "0.4 ms");
        assert_eq!(milliseconds(9.96), "10 ms");
        assert_eq!(milliseconds(312.4), "312 ms");
        assert_eq!(milliseconds(999.7), "1.0 s");
        assert_eq!(milliseconds(3_210.0), "3.2 s");
        assert_eq!(milliseconds(59_999.0), "59s");
        assert_eq!(milliseconds(312_000.0), "5m 12s");
    }

    #[test]
    fn long_text_is_folded_between_words_with_a_hanging_indentation() {
        let text = format!("{} {}", "a".repeat(50), "b".repeat(40));
        let folded = folded(&text, 4);
        let lines: Vec<&str> = folded.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("    a") && lines[1].starts_with("      b"));
        assert_eq!(super::folded("short", 2), "  short");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(rows(1), "1 row");
        assert_eq!(rows(0), "0 rows");
    }
}
