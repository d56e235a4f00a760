//! What cases came to, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use crate::case::Report;
use crate::scenario::Case;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    cases: u64,
    pub(crate) views: u64,
    fast: u64,
    marked: u64,
    failed_changes: u64,
    /// How often, and one of the queries.
    refused: BTreeMap<String, (u64, String)>,
}

impl Tally {
    pub(crate) fn count(&mut self, case: &Case, report: &Report) {
        self.cases += 1;
        self.views += u64::try_from(case.queries.len()).unwrap();
        self.fast += report.fast;
        self.marked += report.marked;
        self.failed_changes += report.failed_changes;
        for refused in &report.refused {
            let (reason, query) = refused.split_once('\n').unwrap_or((refused, ""));
            let (count, _) = self
                .refused
                .entry(without_details(reason))
                .or_insert((0, query.to_owned()));
            *count += 1;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.views += other.views;
        self.fast += other.fast;
        self.marked += other.marked;
        self.failed_changes += other.failed_changes;
        for (reason, (count, query)) in other.refused {
            self.refused.entry(reason).or_insert((0, query)).0 += count;
        }
    }

    pub(crate) fn refused_views(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }
}

/// Reasons of the same kind count together: what they name of the query is left out.
fn without_details(reason: &str) -> String {
    match reason.split_once(": ") {
        Some((_, why)) => why.to_owned(),
        None => reason.to_owned(),
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} cases with {} views: {} fast refreshes, {} complete ones after TRUNCATE, all exact; {} changes failed; {} views refused",
            self.cases,
            self.views,
            self.fast,
            self.marked,
            self.failed_changes,
            self.refused_views()
        )?;
        for (reason, (count, query)) in &self.refused {
            writeln!(out, "  {count} × {reason}; such as {}", query.trim())?;
        }
        Ok(())
    }
}
