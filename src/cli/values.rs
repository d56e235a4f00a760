//! Values of options.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::config::parse_duration;

/// A refresh rate: whole seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshRate(i32);

impl RefreshRate {
    /// In seconds, as the dictionary keeps it (`refresh_rate_in_sec`).
    #[must_use]
    pub fn seconds(self) -> i32 {
        self.0
    }
}

impl FromStr for RefreshRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = parse_duration(text)?;
        if duration < Duration::from_secs(1) {
            return Err("a refresh rate is at least 1s".to_owned());
        }
        if duration.subsec_nanos() != 0 {
            return Err("a refresh rate is a whole number of seconds".to_owned());
        }
        i32::try_from(duration.as_secs())
            .map(Self)
            .map_err(|_| "a refresh rate is at most 2147483647 seconds (68 years)".to_owned())
    }
}

/// How to refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Whichever is cheaper
    Auto,
    /// From the logged changes
    Fast,
    /// From the whole defining view
    Complete,
}

impl Method {
    /// As the dictionary keeps it (`refresh_method`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fast => "fast",
            Self::Complete => "complete",
        }
    }
}

/// How a complete refresh puts its result into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompleteForm {
    /// Write only the rows that differ
    InPlace,
    /// Empty the table, load it, build its indexes again
    Rebuild,
}

impl CompleteForm {
    /// As written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InPlace => "in-place",
            Self::Rebuild => "rebuild",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for CompleteForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
