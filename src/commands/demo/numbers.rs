//! Numbers and text as people read them.

/// With commas between thousands.
pub(super) fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(0).to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun.
pub(super) fn counted(number: impl TryInto<u64>, one: &str, several: &str) -> String {
    let number = number.try_into().unwrap_or(0);
    let noun = if number == 1 { one } else { several };
    format!("{} {noun}", count(number))
}

/// Seconds, as minutes where there are many.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 99.95 {
        format!("{seconds:.1} s")
    } else if seconds < 999.5 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// Milliseconds, as seconds where there are many.
pub(super) fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 9.95 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 9_999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        seconds(milliseconds / 1000.0)
    }
}

/// Text in lines of so many characters, broken between words.
pub(super) fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown: Vec<String> = [0, 7, 999, 1_000, 123_456, 1_234_567]
            .map(|number: u32| count(number))
            .into();
        assert_eq!(shown, ["0", "7", "999", "1,000", "123,456", "1,234,567"]);
        assert_eq!(counted(1, "row", "rows"), "1 row");
        assert_eq!(counted(2_000, "row", "rows"), "2,000 rows");
    }

    #[test]
    fn times_keep_to_a_few_characters() {
        let shown = [0.04, 9.96, 99.96, 999.6, 7_200.0].map(seconds);
        assert_eq!(shown, ["0.0 s", "10.0 s", "100 s", "17 min", "120 min"]);
        let shown = [0.04, 9.96, 1_234.0, 12_345.0].map(milliseconds);
        assert_eq!(shown, ["0.0 ms", "10 ms", "1234 ms", "12.3 s"]);
    }

    #[test]
    fn long_text_is_broken_between_words() {
        assert_eq!(
            folded("one two\nthree incomprehensible", 9),
            ["one two", "three", "incomprehensible"]
        );
    }
}
