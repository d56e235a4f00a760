//! The metrics: from the daemon's memory, and from the boards of those databases that can be had.

use std::sync::Arc;

use crate::board::{Board, BoardView};
use crate::vitals::{DatabaseState, Outcome, Phase, Report, Tallies, Vitals};

use super::exposition::Exposition;
pub use super::exposition::{Kind, Metric};

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $constant: Metric = Metric { name: $name, kind: Kind::$kind, help: $help, labels: &[$($label),*] };)*

        /// Every metric that can be exported.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "mvrefreshd_build_info" ["version"] "Always 1; the program's version.";
    START_TIME = Gauge "mvrefreshd_start_time_seconds" [] "When the daemon started.";
    RESIDENT = Gauge "mvrefreshd_resident_memory_bytes" [] "Memory that the daemon holds.";
    LAST_TICK = Gauge "mvrefreshd_scheduler_last_tick_timestamp_seconds" [] "When the scheduler's loop last came round.";
    TICKS = Counter "mvrefreshd_scheduler_ticks_total" [] "How often the scheduler's loop came round, or waited within bounds.";
    RUNNING = Gauge "mvrefreshd_scheduler_running" [] "Whether the scheduler runs: 0 while the daemon starts, waits for its database or stops.";
    DATABASE_UP = Gauge "mvrefreshd_database_up" [] "Whether the database answers and can be written to.";
    DATABASE_LOSSES = Counter "mvrefreshd_database_losses_total" [] "How often the database went away.";
    REFRESHES = Counter "mvrefreshd_refreshes_total" ["method", "outcome"] "Refreshes that ended.";
    DURATION = Histogram "mvrefreshd_refresh_duration_seconds" ["method"] "What refreshes took that did something.";
    ROWS = Counter "mvrefreshd_refresh_rows_total" ["method"] "Rows inserted, updated and deleted by refreshes.";
    LATENESS = Histogram "mvrefreshd_refresh_lateness_seconds" [] "From due to begun, of refreshes by schedule.";
    WORKERS = Gauge "mvrefreshd_workers" [] "Refreshes that may run at a time.";
    WORKERS_BUSY = Gauge "mvrefreshd_workers_busy" ["lane"] "Refreshes that are running, by lane.";
    WAITING = Gauge "mvrefreshd_refreshes_waiting" [] "Refreshes that are due but not begun.";
    LONGEST_WAIT = Gauge "mvrefreshd_refresh_longest_wait_seconds" [] "For how long the longest of these has been due.";
    VIEWS_KNOWN = Gauge "mvrefreshd_views_scheduled" [] "Materialized views that the scheduler knows.";
    VIEWS_SUSPENDED = Gauge "mvrefreshd_views_suspended" [] "Materialized views suspended after a permanent error.";
    VIEWS_FAILING = Gauge "mvrefreshd_views_failing" [] "Materialized views whose last refresh failed and is tried again.";
    AUDITS = Counter "mvrefreshd_audits_total" ["result"] "Audits by this daemon: the view was equal to its query, or different.";
    UPKEEP_ROUNDS = Counter "mvrefreshd_upkeep_rounds_total" [] "Rounds of upkeep: compiling, repairing, pruning, auditing.";
    BOARD_UP = Gauge "mvrefreshd_dictionary_readable" [] "Whether the metrics below could be read from the database just now.";
    VIEWS = Gauge "mvrefreshd_views" ["status"] "Materialized views by status.";
    VIEWS_LATE = Gauge "mvrefreshd_views_late" [] "Materialized views that have been due for longer than their period and 10 s.";
    MAX_RATIO = Gauge "mvrefreshd_views_max_staleness_ratio" [] "The greatest staleness of a scheduled view in periods; up to about 1 is as it should be.";
    STALENESS = Gauge "mvrefreshd_view_staleness_seconds" ["view"] "Time since a view's rows were right, of the views that are latest.";
    PERIOD = Gauge "mvrefreshd_view_period_seconds" ["view"] "The usual distance of its refreshes.";
    VIEW_LATENESS = Gauge "mvrefreshd_view_lateness_seconds" ["view"] "For how long it has been due.";
    VIEW_FAILURES = Gauge "mvrefreshd_view_failures" ["view"] "Failures since its last success.";
    LOG_ROWS = Gauge "mvrefreshd_log_rows" ["table"] "About how many rows a materialized view log holds, of the largest logs.";
    LOG_BYTES = Gauge "mvrefreshd_log_bytes" ["table"] "Bytes of it on disk.";
    LOGS = Gauge "mvrefreshd_logs" [] "Materialized view logs.";
    LOGS_BYTES = Gauge "mvrefreshd_logs_bytes" [] "Bytes of all of them on disk.";
}

/// What there is to say of a database.
#[derive(Debug)]
pub struct Subject<'a> {
    /// What it is called.
    pub database: &'a str,
    /// What its loop publishes.
    pub vitals: &'a Vitals,
    /// None while it can't be read: the metrics from it are absent then, rather than old.
    pub board: Option<Arc<Board>>,
}

/// The page for Prometheus.
#[must_use]
pub fn render(subjects: &[Subject<'_>], top_views: usize) -> String {
    let mut page = Exposition::default();
    about_process(&mut page, subjects);
    for subject in subjects {
        page.about(subject.database);
        let (vitals, report) = (subject.vitals, subject.vitals.report());
        about_loop(&mut page, vitals, &report);
        about_refreshes(&mut page, &vitals.tallies().clone());
        about_work(&mut page, &report);
        one(&mut page, &BOARD_UP, u8::from(subject.board.is_some()));
        if let Some(board) = &subject.board {
            about_views(&mut page, board, top_views);
            about_logs(&mut page, board, top_views);
        }
    }
    page.into_text()
}

fn one(page: &mut Exposition, metric: &Metric, value: impl std::fmt::Display) {
    page.write(metric, [([], value)]);
}

fn about_process(page: &mut Exposition, subjects: &[Subject<'_>]) {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    page.write(&BUILD_INFO, [([version], 1)]);
    let started_at = subjects.iter().map(|subject| subject.vitals.started_at());
    if let Some(started_at) = started_at.min() {
        one(page, &START_TIME, started_at.timestamp());
    }
    if let Some(bytes) = resident_bytes() {
        one(page, &RESIDENT, bytes);
    }
}

fn about_loop(page: &mut Exposition, vitals: &Vitals, report: &Report) {
    let now = chrono::Utc::now().timestamp_millis();
    let silence = i64::try_from(vitals.pulse.silence().as_millis()).unwrap_or(i64::MAX);
    one(page, &LAST_TICK, seconds(now.saturating_sub(silence)));
    one(page, &TICKS, vitals.pulse.beats());
    one(page, &RUNNING, u8::from(report.phase == Phase::Running));
    one(
        page,
        &DATABASE_UP,
        u8::from(report.database == DatabaseState::Up),
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 have 41 bits"
)]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Where the system tells it as Linux does.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn about_refreshes(page: &mut Exposition, tallies: &Tallies) {
    one(page, &DATABASE_LOSSES, tallies.database_losses);
    let refreshes = tallies.refreshes.iter();
    page.write(
        &REFRESHES,
        refreshes.map(|(key, count)| {
            (
                [key.method.to_owned(), key.outcome.name().to_owned()],
                count,
            )
        }),
    );
    let durations = tallies.durations.iter();
    page.write_histograms(
        &DURATION,
        durations.map(|(method, histogram)| ([(*method).to_owned()], histogram.clone())),
    );
    let rows = tallies.rows.iter();
    page.write(
        &ROWS,
        rows.map(|(method, rows)| ([(*method).to_owned()], rows)),
    );
    page.write_histograms(&LATENESS, [([], tallies.lateness.clone())]);
    let audits = [
        ("equal", tallies.audits_equal),
        ("different", tallies.audits_different),
    ];
    page.write(
        &AUDITS,
        audits.map(|(result, count)| ([result.to_owned()], count)),
    );
    one(page, &UPKEEP_ROUNDS, tallies.upkeep_rounds);
}

fn about_work(page: &mut Exposition, report: &Report) {
    let counts = &report.counts;
    one(page, &WORKERS, counts.workers);
    let lanes = [("quick", counts.busy_quick), ("long", counts.busy_long)];
    page.write(
        &WORKERS_BUSY,
        lanes.map(|(lane, busy)| ([lane.to_owned()], busy)),
    );
    one(page, &WAITING, counts.waiting);
    one(page, &LONGEST_WAIT, counts.longest_wait);
    one(page, &VIEWS_KNOWN, counts.views);
    one(page, &VIEWS_SUSPENDED, counts.suspended);
    one(page, &VIEWS_FAILING, counts.failing);
}

/// Every status, so that an alert is about a number that falls to 0, not about one that is gone.
const STATUSES: [&str; 7] = [
    "ok",
    "empty",
    "failing",
    "quarantined",
    "suspended",
    "disabled",
    "dropped",
];

fn about_views(page: &mut Exposition, board: &Board, top_views: usize) {
    let count = |status| {
        board
            .views
            .iter()
            .filter(|view| view.status == status)
            .count()
    };
    page.write(
        &VIEWS,
        STATUSES.map(|status| ([status.to_owned()], count(status))),
    );
    let late = board.views.iter().filter(|view| view.is_late).count();
    one(page, &VIEWS_LATE, late);
    let scheduled = board.views.iter().filter(|view| view.due_at.is_some());
    let ratios = scheduled.filter_map(BoardView::staleness_ratio);
    one(page, &MAX_RATIO, ratios.fold(0.0, f64::max));
    let top = top(&board.views, top_views);
    let each = |value: fn(&BoardView) -> Option<f64>| {
        top.iter()
            .filter_map(move |view| Some(([view.name.clone()], value(view)?)))
    };
    page.write(&STALENESS, each(|view| view.staleness_s));
    page.write(&PERIOD, each(|view| view.period_s));
    page.write(&VIEW_LATENESS, each(|view| Some(view.late_s)));
    page.write(&VIEW_FAILURES, each(|view| Some(f64::from(view.failures))));
}

/// Those in trouble first, then the stalest in relation to their periods; in a lasting order where that is equal.
fn top(views: &[BoardView], limit: usize) -> Vec<&BoardView> {
    let mut views: Vec<&BoardView> = views.iter().collect();
    if views.len() > limit {
        views.sort_by(|a, b| {
            let ratio = |view: &BoardView| view.staleness_ratio().unwrap_or(0.0);
            let trouble = b.is_in_trouble().cmp(&a.is_in_trouble());
            trouble
                .then(ratio(b).total_cmp(&ratio(a)))
                .then(a.id.cmp(&b.id))
        });
        views.truncate(limit);
    }
    views
}

fn about_logs(page: &mut Exposition, board: &Board, limit: usize) {
    // the largest come first
    let logs = || board.logs.iter().take(limit);
    page.write(
        &LOG_ROWS,
        logs().map(|log| ([log.base_table.clone()], log.rows)),
    );
    page.write(
        &LOG_BYTES,
        logs().map(|log| ([log.base_table.clone()], log.bytes)),
    );
    one(page, &LOGS, board.logs.len());
    one(
        page,
        &LOGS_BYTES,
        board.logs.iter().map(|log| log.bytes).sum::<i64>(),
    );
}

/// The values that the label `outcome` can have.
#[must_use]
pub fn outcomes() -> Vec<&'static str> {
    Outcome::ALL.map(Outcome::name).to_vec()
}
