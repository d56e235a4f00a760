//! What can be wrong with a crontab or a time zone.

/// A crontab or a time zone that can't be used; each message is one line that says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrontabError {
    /// There is no text.
    #[error(
        "the crontab is empty: write five fields (minute hour day month weekday), e.g. \"*/15 * * * *\""
    )]
    Empty,
    /// Too few or too many fields.
    #[error("a crontab has five fields (minute hour day month weekday); this has {}", counted(*.0))]
    FieldCount(usize),
    /// A word beginning with `@` that is none of the known ones.
    #[error(
        "\"{0}\" is not known; allowed are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually"
    )]
    UnknownShorthand(String),
    /// A number outside the field's range.
    #[error("cron field {field}: \"{text}\" is outside {allowed}")]
    OutOfRange {
        /// Number and name of the field.
        field: &'static str,
        /// The offending text.
        text: String,
        /// The allowed range.
        allowed: &'static str,
    },
    /// Something that is no number, name, range, list or step.
    #[error(
        "cron field {field}: \"{text}\" is not understood; allowed are *, {allowed}, lists a,b, ranges a-b and steps */n or a-b/n"
    )]
    NotUnderstood {
        /// Number and name of the field.
        field: &'static str,
        /// The offending text.
        text: String,
        /// The allowed range and names.
        allowed: &'static str,
    },
    /// A range whose end lies before its start.
    #[error("cron field {field}: \"{text}\" runs backwards; write {remedy}")]
    Backwards {
        /// Number and name of the field.
        field: &'static str,
        /// The offending text.
        text: String,
        /// The same as two ranges.
        remedy: String,
    },
    /// A step of zero, or one that is no number.
    #[error("cron field {field}: the step of \"{text}\" must be a whole number from 1 up")]
    BadStep {
        /// Number and name of the field.
        field: &'static str,
        /// The offending text.
        text: String,
    },
    /// A step behind a single value.
    #[error("cron field {field}: \"{text}\" has a step but no range; write {remedy}")]
    StepWithoutRange {
        /// Number and name of the field.
        field: &'static str,
        /// The offending text.
        text: String,
        /// The range that was probably meant.
        remedy: String,
    },
    /// The days don't exist, e.g. 30 February.
    #[error("the crontab \"{0}\" never occurs: none of its months has such a day")]
    NeverOccurs(String),
    /// The time zone is not in the IANA database.
    #[error("time zone \"{name}\" is not known{}", suggested(.suggestion.as_deref()))]
    UnknownZone {
        /// The name as given.
        name: String,
        /// The nearest known name, if any is near.
        suggestion: Option<String>,
    },
    /// The `cron` crate refused what was translated for it: a defect here, not of the input.
    #[error("the crontab \"{text}\" can't be evaluated: {reason}; please report this")]
    Untranslatable {
        /// The translated text.
        text: String,
        /// The crate's own message.
        reason: String,
    },
}

fn counted(count: usize) -> String {
    match count {
        1 => "one".to_owned(),
        2 => "two".to_owned(),
        3 => "three".to_owned(),
        4 => "four".to_owned(),
        6 => "six: seconds are not supported".to_owned(),
        7 => "seven: seconds and years are not supported".to_owned(),
        n => n.to_string(),
    }
}

fn suggested(name: Option<&str>) -> String {
    name.map_or_else(
        || "; use an IANA name such as \"Europe/Berlin\" or \"UTC\"".to_owned(),
        |name| format!("; did you mean \"{name}\"?"),
    )
}
