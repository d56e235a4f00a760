//! The table of materialized views.

use std::sync::Arc;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, Table, Width};

use super::numbers;
use crate::dictionary::overview::OverviewRow;
use crate::scheduler::crontab::Crontab;
use crate::scheduler::schedule::{self, Due, Failure, Idle, Schedule, ViewState};

/// From this width on there is room for everything.
const WIDE: u16 = 104;
/// A refresh takes until it is committed, and what is shown may be half a second old.
const GRACE_SECONDS: f64 = 1.0;
const BACKOFF_BEYOND_DOUBT: Duration = Duration::from_secs(24 * 3600);
const GAUGE_CELLS: usize = 5;

const HEADINGS: [(&str, u16, CellAlignment); 8] = [
    ("materialized view", 17, CellAlignment::Left),
    ("refresh", 8, CellAlignment::Left),
    ("rate", 9, CellAlignment::Left),
    ("staleness", 9, CellAlignment::Right),
    ("took", 7, CellAlignment::Right),
    ("changed", 7, CellAlignment::Right),
    ("next due", 9, CellAlignment::Right),
    ("status", 6, CellAlignment::Left),
];

/// How a materialized view stands against its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Within its refresh rate.
    Fresh,
    /// Beyond it, for no longer than a refresh takes.
    Due,
    /// Beyond it.
    Late,
    /// On request only, or never refreshed.
    Unmeasured,
}

/// The table's lines for a terminal of this width, or for a narrow one if it is unknown.
pub(super) fn lines(rows: &[OverviewRow], width: Option<u16>, colour: bool) -> Vec<String> {
    let wide = width.is_some_and(|width| width >= WIDE);
    let mut table = Table::new();
    table.load_style(NOTHING);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
        .set_header(HEADINGS.map(|(heading, ..)| Cell::new(heading).add_attribute(Attribute::Dim)));
    for row in rows {
        table.add_row(cells(row, wide));
    }
    for (column, (_, least, alignment)) in table.column_iter_mut().zip(HEADINGS) {
        column.set_padding((0, if wide { 2 } else { 1 }));
        column.set_cell_alignment(alignment);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(
            least + u16::from(wide),
        )));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Why views are refreshed completely that might have been refreshed fast, each in a paragraph of this width.
pub(super) fn reasons(rows: &[OverviewRow], width: usize) -> Vec<String> {
    let reason = |row: &OverviewRow| {
        let reason = row.last_reason.as_deref()?;
        let is_complete = row.kind != "native" && row.last_method.as_deref() == Some("complete");
        // what passes by itself
        let is_news = !matches!(
            reason,
            "first fill" | "not compiled yet" | "the first refresh since it was compiled"
        );
        (is_complete && is_news).then(|| format!("{}: completely: {reason}", row.mv_name))
    };
    let reasons = rows.iter().filter_map(reason);
    reasons
        .flat_map(|text| numbers::folded(&text, width))
        .collect()
}

fn cells(row: &OverviewRow, wide: bool) -> [Cell; 8] {
    let schedule = schedule_of(row);
    let standing = standing(row, &schedule);
    let colour = match standing {
        Standing::Fresh => Color::Green,
        Standing::Due => Color::Yellow,
        Standing::Late => Color::Red,
        Standing::Unmeasured => Color::Reset,
    };
    let status = match (row.status.as_str(), standing) {
        ("ok", Standing::Late) => "late",
        (status, _) => status,
    };
    let status_colour = if status == "ok" {
        Color::Green
    } else {
        Color::Red
    };
    [
        Cell::new(&row.mv_name),
        Cell::new(how(row, wide)),
        Cell::new(rate(row)),
        Cell::new(staleness(row, &schedule, wide)).fg(colour),
        Cell::new(
            row.last_duration_ms
                .map_or_else(dash, numbers::milliseconds),
        ),
        Cell::new(row.last_rows_changed.map_or_else(dash, numbers::count)),
        Cell::new(next_due(row, &schedule)),
        Cell::new(status).fg(status_colour),
    ]
}

fn dash() -> String {
    "-".to_owned()
}

fn how(row: &OverviewRow, wide: bool) -> String {
    let form = row.last_form.as_deref().map(|form| form.replace('_', " "));
    match (row.kind.as_str(), &row.last_method, form) {
        ("native", _, Some(form)) if wide => format!("native, {form}"),
        ("native", ..) => "native".to_owned(),
        (_, Some(method), Some(form)) if wide => format!("{method}, {form}"),
        (_, _, Some(form)) => form,
        (_, Some(method), None) => method.clone(),
        (_, None, None) => dash(),
    }
}

fn rate(row: &OverviewRow) -> String {
    match (row.refresh_rate_in_sec, &row.refresh_cron) {
        (Some(seconds), _) => format!("{seconds} s"),
        (None, Some(cron)) => cron.clone(),
        (None, None) => dash(),
    }
}

fn staleness_seconds(row: &OverviewRow) -> Option<f64> {
    let last = row.last_refresh?;
    let staleness = row.database_now.signed_duration_since(last);
    Some(staleness.as_seconds_f64().max(0.0))
}

fn staleness(row: &OverviewRow, schedule: &Schedule, wide: bool) -> String {
    let Some(seconds) = staleness_seconds(row) else {
        return dash();
    };
    let text = numbers::seconds(seconds);
    if wide && !schedule.is_empty() {
        format!(
            "{text} {}",
            gauge(seconds / schedule.period().as_secs_f64())
        )
    } else {
        text
    }
}

/// A share as a bar.
fn gauge(share: f64) -> String {
    let full = (1..=GAUGE_CELLS)
        .zip([0.1, 0.3, 0.5, 0.7, 0.9])
        .filter(|(_, least)| share >= *least)
        .count();
    "█".repeat(full) + &"░".repeat(GAUGE_CELLS - full)
}

fn standing(row: &OverviewRow, schedule: &Schedule) -> Standing {
    let Some(seconds) = staleness_seconds(row).filter(|_| !schedule.is_empty()) else {
        return Standing::Unmeasured;
    };
    let rate = schedule.period().as_secs_f64();
    let took = row.last_duration_ms.unwrap_or_default() / 1000.0;
    if seconds <= rate {
        Standing::Fresh
    } else if seconds <= rate + took + GRACE_SECONDS {
        Standing::Due
    } else {
        Standing::Late
    }
}

fn next_due(row: &OverviewRow, schedule: &Schedule) -> String {
    match schedule::next_due(
        schedule,
        &state_of(row),
        BACKOFF_BEYOND_DOUBT,
        row.database_now,
    ) {
        Due::At(instant) => {
            let seconds = instant
                .signed_duration_since(row.database_now)
                .as_seconds_f64();
            if seconds < 0.05 {
                "now".to_owned()
            } else {
                format!("in {}", numbers::seconds(seconds))
            }
        }
        Due::Never(Idle::Unscheduled) => "on demand".to_owned(),
        Due::Never(Idle::Disabled | Idle::Suspended) => dash(),
    }
}

fn schedule_of(row: &OverviewRow) -> Schedule {
    let rate = row
        .refresh_rate_in_sec
        .and_then(|seconds| u64::try_from(seconds).ok());
    let zone = row.refresh_time_zone.as_deref().unwrap_or("UTC");
    // The dictionary refuses crontabs that can't be read.
    let cron = row
        .refresh_cron
        .as_deref()
        .and_then(|text| Crontab::parse(text, zone).ok());
    Schedule {
        rate: rate.map(Duration::from_secs),
        cron: cron.map(Arc::new),
    }
}

fn state_of(row: &OverviewRow) -> ViewState {
    let failures = u32::try_from(row.failures).unwrap_or_default();
    let failure = row.retry_at.filter(|_| failures > 0);
    ViewState {
        last_refresh: row.last_refresh,
        created_at: row.created_at,
        requested_at: row.requested_at,
        failure: failure.map(|retry_at| Failure { failures, retry_at }),
        enabled: row.enabled,
        suspended: row.status == "suspended",
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn row(name: &str, rate: Option<i32>, seconds_ago: Option<i64>) -> OverviewRow {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        OverviewRow {
            mv_name: name.to_owned(),
            qualified_name: format!("public.{name}"),
            kind: "table".to_owned(),
            refresh_rate_in_sec: rate,
            refresh_cron: rate.is_none().then(|| "* * * * *".to_owned()),
            refresh_time_zone: None,
            enabled: true,
            status: "ok".to_owned(),
            created_at: now - TimeDelta::hours(1),
            requested_at: None,
            last_refresh: seconds_ago.map(|seconds| now - TimeDelta::seconds(seconds)),
            last_duration_ms: seconds_ago.map(|_| 1_234.0),
            last_rows_changed: seconds_ago.map(|_| 130_000),
            last_method: seconds_ago.map(|_| "complete".to_owned()),
            last_form: seconds_ago.map(|_| "in_place".to_owned()),
            last_reason: seconds_ago.map(|_| "rank: not known".to_owned()),
            failures: 0,
            retry_at: None,
            last_error: None,
            database_now: now,
        }
    }

    fn all() -> Vec<OverviewRow> {
        vec![
            row("orders_by_status", Some(1), Some(2)),
            row("category_sales", Some(30), Some(12)),
            row("city_sales", Some(5), Some(60)),
            row("order_search", None, Some(20)),
            row("new", Some(1), None),
        ]
    }

    #[test]
    fn the_table_fits_eighty_columns() {
        let lines = lines(&all(), Some(80), false);
        assert!(
            lines.iter().all(|line| line.chars().count() <= 80),
            "{lines:#?}"
        );
        assert_eq!(
            lines[2],
            "category_sales    in place 30 s         12.0 s 1234 ms 130,000 in 18.0 s ok"
        );
    }

    #[test]
    fn the_wide_table_fits_its_least_width() {
        let lines = lines(&all(), Some(WIDE), false);
        let most = usize::from(WIDE);
        assert!(
            lines.iter().all(|line| line.chars().count() <= most),
            "{lines:#?}"
        );
        assert!(lines[2].contains("complete, in place") && lines[2].contains("12.0 s ██░░░"));
    }

    #[test]
    fn only_what_is_longer_overdue_than_a_refresh_takes_is_late() {
        let lines = lines(&all(), None, false);
        let ends: Vec<&str> = lines[1..]
            .iter()
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        assert_eq!(ends, ["ok", "ok", "late", "ok", "ok"]);
        assert!(lines[1].contains(" now "), "{lines:#?}");
    }

    #[test]
    fn what_is_refreshed_completely_is_told_with_the_reason() {
        let mut rows = all();
        rows[1].last_method = Some("fast".to_owned());
        rows[2].last_reason = Some("first fill".to_owned());
        assert_eq!(
            reasons(&rows, 80),
            [
                "orders_by_status: completely: rank: not known",
                "order_search: completely: rank: not known"
            ]
        );
    }

    #[test]
    fn colours_mark_staleness_against_the_rate() {
        let lines = lines(&all(), None, true);
        let colour = |line: usize, code: &str| lines[line].contains(&format!("\x1b[{code}m"));
        assert!(
            colour(1, "38;5;11") && colour(2, "38;5;10") && colour(3, "38;5;9"),
            "{lines:?}"
        );
    }
}
