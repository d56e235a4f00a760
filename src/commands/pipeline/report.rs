//! What the pipeline prints: stages with their times, and the problems.

use std::time::Instant;

use serde::Serialize;

use crate::commands::output::Output;
use crate::commands::phrases;
use crate::error::{CommandError, Exit};

/// A stage of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Install,
    Schemas,
    Tables,
    Logs,
    Views,
    OneChange,
    ManyChanges,
    Comparison,
    Drop,
    Leftovers,
}

impl Stage {
    /// Whether it is gone through even if one before it has failed.
    pub(super) fn is_cleaning_up(self) -> bool {
        matches!(self, Self::Drop | Self::Leftovers)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Schemas => "schemas",
            Self::Tables => "objects and data",
            Self::Logs => "logs",
            Self::Views => "materialized views",
            Self::OneChange => "one row changed",
            Self::ManyChanges => "many rows changed",
            Self::Comparison => "comparison",
            Self::Drop => "drop",
            Self::Leftovers => "nothing left",
        }
    }
}

/// How a stage went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What was done, in words.
    pub(super) words: String,
    /// Lines that are of interest, but nothing is wrong with.
    pub(super) notes: Vec<String>,
    /// What is wrong.
    pub(super) problems: Vec<String>,
}

impl Outcome {
    pub(super) fn done(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            ..Self::default()
        }
    }
}

#[derive(Debug, Serialize)]
struct Entry {
    stage: &'static str,
    milliseconds: f64,
    done: String,
    notes: Vec<String>,
    problems: Vec<String>,
}

/// All stages so far.
#[derive(Debug)]
pub(super) struct Report {
    output: Output,
    begun: Instant,
    entries: Vec<Entry>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            begun: Instant::now(),
            entries: Vec::new(),
        }
    }

    /// Prints a stage that has ended; one that has failed as a whole has that as its problem.
    pub(super) fn end_stage(
        &mut self,
        stage: Stage,
        begun: Instant,
        outcome: Result<Outcome, CommandError>,
    ) {
        let outcome = outcome.unwrap_or_else(|error| Outcome {
            words: "failed".to_owned(),
            notes: Vec::new(),
            problems: vec![in_one_line(error)],
        });
        let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
        self.output.line(format!(
            "{:<20}{:>9}  {}",
            stage.name(),
            phrases::milliseconds(milliseconds),
            outcome.words
        ));
        for note in &outcome.notes {
            self.output.line(phrases::folded(note, 31));
        }
        for problem in &outcome.problems {
            self.output.line(format!("  problem: {problem}"));
        }
        self.entries.push(Entry {
            stage: stage.name(),
            milliseconds,
            done: outcome.words,
            notes: outcome.notes,
            problems: outcome.problems,
        });
    }

    /// The verdict.
    pub(super) fn end(self) -> Result<Exit, CommandError> {
        let problems: Vec<String> = self
            .entries
            .iter()
            .flat_map(|entry| {
                let with_stage = |problem| format!("{}: {problem}", entry.stage);
                entry.problems.iter().map(with_stage)
            })
            .collect();
        let spent = phrases::milliseconds(self.begun.elapsed().as_secs_f64() * 1000.0);
        self.output.data(&self.entries, |_| match problems.len() {
            0 => format!("ran with no issues, in {spent}"),
            count => {
                let number = i64::try_from(count).unwrap_or(i64::MAX);
                let mut lines = vec![format!(
                    "ran with {}, in {spent}:",
                    phrases::count(number, "issue", "issues")
                )];
                lines.extend(problems.iter().map(|problem| format!("  {problem}")));
                lines.join("\n")
            }
        })?;
        Ok(if problems.is_empty() {
            Exit::Ok
        } else {
            Exit::Negative
        })
    }
}

fn in_one_line(error: CommandError) -> String {
    let parts = std::iter::once(error.message).chain(error.hints);
    parts.collect::<Vec<_>>().join(" ").replace('\n', " ")
}
