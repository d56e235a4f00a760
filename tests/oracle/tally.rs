//! What cases came to, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use crate::scenario::Case;
use crate::subject::Report;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    cases: u64,
    pub(crate) views: u64,
    pub(crate) fast: u64,
    unchanged: u64,
    complete: BTreeMap<String, u64>,
    failed_changes: u64,
    /// Cases whose refresh did not end in time: a query that joins a table with itself six times, say.
    pub(crate) slow: Vec<u64>,
    /// How often, and one of the queries.
    refused: BTreeMap<String, (u64, String)>,
}

impl Tally {
    pub(crate) fn count(&mut self, case: &Case, report: &Report) {
        self.cases += 1;
        self.views += u64::try_from(case.queries.len()).unwrap();
        self.fast += report.fast;
        self.unchanged += report.unchanged;
        add(&mut self.complete, &report.complete);
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
        self.unchanged += other.unchanged;
        add(&mut self.complete, &other.complete);
        self.failed_changes += other.failed_changes;
        self.slow.extend(other.slow);
        for (reason, (count, query)) in other.refused {
            self.refused.entry(reason).or_insert((0, query)).0 += count;
        }
    }

    pub(crate) fn refused_views(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }
}

fn add(to: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (reason, count) in counts {
        // without the names and numbers of the case
        let words = reason.split(' ').map(|word| {
            let is_plain = word
                .chars()
                .all(|c| c.is_alphabetic() || "',.:;()".contains(c));
            if is_plain { word } else { "…" }
        });
        *to.entry(words.collect::<Vec<_>>().join(" ")).or_insert(0) += count;
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
        let complete: u64 = self.complete.values().sum();
        writeln!(
            out,
            "{} cases with {} views, all exact: {} fast refreshes, {} with nothing pending, {complete} complete; {} changes failed; {} views refused",
            self.cases,
            self.views,
            self.fast,
            self.unchanged,
            self.failed_changes,
            self.refused_views()
        )?;
        if !self.slow.is_empty() {
            writeln!(out, "  took too long: seeds {:?}", self.slow)?;
        }
        for (reason, count) in &self.complete {
            writeln!(out, "  {count} × complete: {reason}")?;
        }
        for (reason, (count, query)) in &self.refused {
            writeln!(
                out,
                "  {count} × refused: {reason}; such as {}",
                query.trim()
            )?;
        }
        Ok(())
    }
}
