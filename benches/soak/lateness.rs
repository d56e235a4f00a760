//! How late refreshes begin, and what of that is the kills' doing.

use std::collections::HashMap;

use super::figures::Refresh;
use super::measure::{median, quantile, report};

/// So long after a kill its consequences count as such: a daemon starts anew, sessions are opened. In milliseconds.
const AFTERMATH: f64 = 1_000.0;

/// What a kill had to do with a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// It fell into the time from its being due to its end, or broke off an attempt before.
    Hit,
    /// It came shortly before the refresh was due.
    Near,
    None,
}

/// Prints the lateness of all, and of those that kills had to do with and those that they had not, beside the `typical` duration.
///
/// A refresh that is done at the second attempt is late by all that has passed since it was due for the first.
pub(super) fn print<'a>(refreshes: impl Iterator<Item = &'a Refresh>, kills: &[f64], typical: f64) {
    let late = lateness(refreshes, kills);
    let of = |kinds: &[Kill]| -> Vec<f64> {
        let wanted = late.iter().filter(|(kill, _)| kinds.contains(kill));
        wanted.map(|(_, late)| *late).collect()
    };
    let all = [Kill::Hit, Kill::Near, Kill::None];
    line("lateness of all", &of(&all), typical, "p99 ≤ 2 ×");
    line(
        "lateness, no kill since a second before it was due",
        &of(&[Kill::None]),
        typical,
        "p99 ≤ 2 ×",
    );
    line(
        "lateness, due within a second after a kill",
        &of(&[Kill::Near]),
        typical,
        "",
    );
    line(
        "lateness, waiting or running at a kill",
        &of(&[Kill::Hit]),
        typical,
        "",
    );
}

fn line(figure: &str, late: &[f64], typical: f64, reach: &str) {
    if late.is_empty() {
        return report(figure, "none", reach);
    }
    let p99 = quantile(late, 0.99);
    let measured = format!(
        "{}: p50 {:.1} ms, p90 {:.1} ms, p99 {p99:.1} ms ({:.2} × the median duration), longest {:.0} ms",
        late.len(),
        median(late),
        quantile(late, 0.9),
        p99 / typical,
        quantile(late, 1.0)
    );
    report(figure, &measured, reach);
}

fn lateness<'a>(refreshes: impl Iterator<Item = &'a Refresh>, kills: &[f64]) -> Vec<(Kill, f64)> {
    let mut in_order: Vec<&Refresh> = refreshes.collect();
    in_order.sort_unstable_by(|a, b| a.started.total_cmp(&b.started));
    let mut first_due: HashMap<i32, f64> = HashMap::new();
    let mut late = Vec::new();
    for refresh in in_order {
        let Some(due) = refresh.due else { continue };
        if refresh.has_failed() {
            first_due.entry(refresh.view).or_insert(due);
        } else if refresh.is_done_by_schedule() {
            let failed = first_due.remove(&refresh.view);
            let due = failed.map_or(due, |failed| failed.min(due));
            let within = |from: f64, to: f64| kills.iter().any(|kill| (from..=to).contains(kill));
            let kill = if failed.is_some() || within(due, refresh.ended()) {
                Kill::Hit
            } else if within(due - AFTERMATH, due) {
                Kill::Near
            } else {
                Kill::None
            };
            late.push((kill, refresh.started - due));
        }
    }
    late
}
