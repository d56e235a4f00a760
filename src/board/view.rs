//! One materialized view on the board.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::due;
use crate::dictionary::board::{RecentRow, SourceRow};
use crate::dictionary::outlook::ProgramRow;
use crate::dictionary::views::ViewRow;
use crate::scheduler::engine::ViewCensus;
use crate::scheduler::schedule::Due;

/// A view counts as late when it has been due for longer than its period, and than this.
const LATE_AFTER: f64 = 10.0;

/// A materialized view as it is now. Times are the database's; durations end in their unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BoardView {
    /// The dictionary's key.
    pub id: i32,
    /// The name with its schema, quoted where needed.
    pub name: String,
    /// `table`, or `native` for an adopted one.
    pub kind: String,
    /// The owner.
    pub owner: String,
    /// As in the dictionary: `ok`, `empty`, `failing`, `quarantined`, `suspended`, `disabled`, `dropped`.
    pub status: String,
    /// Refresh rate in seconds.
    pub rate_s: Option<i32>,
    /// Crontab.
    pub cron: Option<String>,
    /// The crontab's time zone; UTC where absent.
    pub time_zone: Option<String>,
    /// The setting: `auto`, `fast` or `complete`.
    pub method: String,
    /// Refresh group.
    pub group: Option<String>,
    /// As of when its rows are known to be right.
    pub right_at: Option<DateTime<Utc>>,
    /// Seconds since then.
    pub staleness_s: Option<f64>,
    /// The usual distance of two refreshes in seconds; none: on request only.
    pub period_s: Option<f64>,
    /// Since or from when on it is due; none: never.
    pub due_at: Option<DateTime<Utc>>,
    /// For how many seconds it has been due.
    pub late_s: f64,
    /// Whether that is worth a complaint.
    pub is_late: bool,
    /// Whether it is being refreshed, by whomever.
    pub is_refreshing: bool,
    /// The method of the last refresh.
    pub last_method: Option<String>,
    /// Why that one.
    pub last_reason: Option<String>,
    /// Milliseconds it took.
    pub last_ms: Option<f64>,
    /// Rows it changed.
    pub last_rows: Option<i64>,
    /// Moving average of a refresh's duration in milliseconds.
    pub avg_ms: Option<f64>,
    /// Failures since the last success.
    pub failures: i32,
    /// The last failure's message.
    pub error: Option<String>,
    /// When it was.
    pub error_at: Option<DateTime<Utc>>,
    /// Not before.
    pub retry_at: Option<DateTime<Utc>>,
    /// Whether it can be refreshed fast; none: not compiled yet.
    pub is_fast: Option<bool>,
    /// The clause that rules that out, and why.
    pub refused: Option<String>,
    /// The materialized views that it reads.
    pub reads_views: Vec<i32>,
    /// The tables that it reads.
    pub reads_tables: Vec<String>,
    /// Milliseconds of the latest refreshes, the latest last.
    pub recent_ms: Vec<f64>,
    /// A letter for each: `f` fast, `c` complete, `x` failed.
    pub recent_kinds: String,
}

/// What is known of a view beside its row.
pub(super) struct Parts {
    pub(super) program: Option<ProgramRow>,
    pub(super) recent: Option<RecentRow>,
    pub(super) sources: Vec<SourceRow>,
    pub(super) census: Option<ViewCensus>,
    pub(super) is_refreshing: bool,
}

impl BoardView {
    pub(super) fn new(row: ViewRow, parts: Parts) -> Self {
        let now = row.database_now;
        // the daemon knows of quiet views what the dictionary notes now and then only
        let right_at = match parts.census {
            Some(census) => census.right_at.max(row.last_refresh),
            None => row.last_refresh,
        };
        let seconds_since =
            |at: DateTime<Utc>| now.signed_duration_since(at).as_seconds_f64().max(0.0);
        let schedule = due::schedule(&row);
        let period_s = (!schedule.is_empty()).then(|| schedule.period().as_secs_f64());
        let due_at = due_at(&row, parts.census);
        let late_s = due_at.map_or(0.0, seconds_since);
        let (reads_views, reads_tables) = split(parts.sources);
        let recent = parts.recent;
        let (recent_ms, recent_kinds) = recent.map_or_else(Default::default, |recent| {
            let rounded = recent
                .durations
                .iter()
                .map(|ms| (ms * 100.0).round() / 100.0);
            (rounded.collect(), recent.kinds)
        });
        Self {
            id: row.mv_id,
            staleness_s: right_at.map(seconds_since),
            is_late: late_s > period_s.unwrap_or(0.0).max(LATE_AFTER),
            is_refreshing: parts.is_refreshing
                || parts.census.is_some_and(|census| census.is_refreshing),
            is_fast: parts.program.as_ref().map(|program| program.is_fast),
            refused: parts.program.and_then(|program| {
                Some(format!(
                    "{}: {}",
                    program.refused_clause?, program.refused_reason?
                ))
            }),
            name: row.full_name,
            kind: row.kind,
            owner: row.owner,
            status: row.status,
            rate_s: row.refresh_rate_in_sec,
            cron: row.refresh_cron,
            time_zone: row.refresh_time_zone,
            method: row.refresh_method,
            group: row.refresh_group,
            right_at,
            period_s,
            due_at,
            late_s,
            last_method: row.last_method,
            last_reason: row.last_reason,
            last_ms: row.last_duration_ms,
            last_rows: row.last_rows_changed,
            avg_ms: row.avg_cost_ms,
            failures: row.failures,
            error: row.last_error,
            error_at: row.last_error_at,
            retry_at: row.retry_at,
            reads_views,
            reads_tables,
            recent_ms,
            recent_kinds,
        }
    }

    /// How stale it is in relation to its period: 1 is just before a refresh, as it should be. None without schedule.
    #[must_use]
    pub fn staleness_ratio(&self) -> Option<f64> {
        Some(self.staleness_s? / self.period_s?)
    }

    /// Whether somebody has to look at it: it is failing, suspended, quarantined or late.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        self.is_late
            || matches!(
                self.status.as_str(),
                "failing" | "suspended" | "quarantined"
            )
    }
}

fn due_at(row: &ViewRow, census: Option<ViewCensus>) -> Option<DateTime<Utc>> {
    if let Some(census) = census {
        return census.due_at;
    }
    match due::due(row, Duration::MAX) {
        Due::At(at) => Some(at),
        Due::Never(_) => None,
    }
}

fn split(sources: Vec<SourceRow>) -> (Vec<i32>, Vec<String>) {
    let mut views = Vec::new();
    let mut tables = Vec::new();
    for source in sources {
        match (source.source_id, source.source) {
            (Some(id), _) => views.push(id),
            (None, Some(name)) => tables.push(name),
            (None, None) => {}
        }
    }
    (views, tables)
}
