//! The end of the show: a last refresh of everything, the comparison, and the figures.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep};

use super::daemon::Stopped;
use super::live::f64_of;
use super::numbers;
use super::output::Output;
use super::writers::Written;
use crate::connect::{describe, sqlstate};
use crate::dictionary::overview::{self, OverviewRow, RefreshTotals};
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

/// How long the last refreshes may take.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Asks the daemon to refresh all once more, and waits until it has: everything written so far is in then. False if it
/// takes too long.
///
/// A view is asked for only when those it reads are done: the scheduler lets a view wait for one below it that became
/// due no later, and a refresh that is due anyway just before the requests need not wait for them.
pub(super) async fn refresh_all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> Result<bool, CommandError> {
    let deadline = Instant::now() + PATIENCE;
    for level in 0.. {
        if overview::request_level(connection, schema, level).await? == 0 {
            break;
        }
        while overview::all(connection, schema)
            .await?
            .iter()
            .any(is_awaited)
        {
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(true)
}

/// One that somebody disabled meanwhile, or that is suspended, is not refreshed on request either.
fn is_awaited(row: &OverviewRow) -> bool {
    row.enabled && row.status != "suspended" && row.last_refresh <= row.requested_at
}

/// Compares every materialized view with its defining view, and says how many are exact; whether all are.
pub(super) async fn verify_all(
    output: &Output,
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> Result<bool, CommandError> {
    output.say("Comparing each materialized view with its defining view, row by row.\n");
    let rows = overview::all(connection, schema).await?;
    let mut exact = 0;
    let mut compared = 0;
    for row in &rows {
        let comparison = match overview::verify(connection, schema, &row.qualified_name).await {
            Ok(comparison) => comparison,
            Err(error) if sqlstate(&error).is_some() => {
                output.say(&format!(
                    "  {} can not be compared: {}",
                    row.mv_name,
                    describe(&error)
                ));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        compared += comparison.rows_compared.unsigned_abs();
        if comparison.is_exact() {
            exact += 1;
        } else {
            output.say(&format!(
                "  {} ({}) differs from its defining view: {} missing, {} too many",
                row.mv_name, row.status, comparison.rows_missing, comparison.rows_unexpected
            ));
        }
    }
    output.say(&format!(
        "{exact} of {} materialized views verified exact ({} compared)",
        rows.len(),
        numbers::counted(compared, "row", "rows")
    ));
    Ok(exact == rows.len() && exact > 0)
}

/// Prints what was written and refreshed; how many refreshes failed.
pub(super) async fn figures(
    output: &Output,
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    written: Written,
    writing: Duration,
) -> Result<i64, CommandError> {
    let totals = overview::refresh_totals(connection, schema).await?;
    let rate = f64_of(written.transactions) / writing.as_secs_f64().max(0.001);
    output.say(&format!(
        "\nWritten: {} touching {} in {} ({rate:.0}/s).\nRefreshed meanwhile:\n",
        numbers::counted(written.transactions, "transaction", "transactions"),
        numbers::counted(written.rows, "row", "rows"),
        numbers::seconds(writing.as_secs_f64())
    ));
    for line in table(&totals).lines() {
        output.say(&format!("  {}", line.trim_end()));
    }
    output.say(&format!("\n{}", fast_share(&totals)));
    let lateness = totals.iter().filter_map(|row| row.max_lateness_ms);
    if let Some(most) = lateness.reduce(f64::max) {
        output.say(&format!(
            "The longest wait from due to started: {}.",
            numbers::milliseconds(most)
        ));
    }
    let failed = totals.iter().filter(|row| row.outcome == "failed");
    Ok(failed.map(|row| row.refreshes).sum())
}

/// How many of the refreshes were fast, native views aside.
fn fast_share(totals: &[RefreshTotals]) -> String {
    let native = ["plain", "concurrently"];
    let ours = totals.iter().filter(|row| {
        row.outcome == "succeeded"
            && !row
                .form
                .as_deref()
                .is_some_and(|form| native.contains(&form))
    });
    let (mut fast, mut all) = (0, 0);
    for row in ours {
        all += row.refreshes;
        if row.method.as_deref() == Some("fast") {
            fast += row.refreshes;
        }
    }
    format!(
        "{} of {} were fast, not counting the native view's.",
        numbers::count(fast),
        numbers::counted(all, "refresh", "refreshes")
    )
}

fn table(totals: &[RefreshTotals]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    table.set_header([
        "method",
        "form",
        "outcome",
        "refreshes",
        "rows changed",
        "p50",
        "p95",
    ]);
    for row in totals {
        let dash = || "-".to_owned();
        table.add_row([
            row.method.clone().unwrap_or_else(dash),
            row.form
                .as_ref()
                .map_or_else(dash, |form| form.replace('_', " ")),
            row.outcome.clone(),
            numbers::count(row.refreshes),
            row.rows_changed.map_or_else(dash, numbers::count),
            numbers::milliseconds(row.p50_ms),
            numbers::milliseconds(row.p95_ms),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index >= 3 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What the whole came to.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) all_refreshed: bool,
    pub(super) all_exact: bool,
    pub(super) failed_refreshes: i64,
    pub(super) daemon: Stopped,
}

impl Verdict {
    /// Says what went wrong; done only if nothing at all did.
    pub(super) fn say(self, output: &Output) -> Exit {
        let status = self.daemon.status;
        let wrong = [
            (!self.all_refreshed)
                .then(|| "Some materialized views were not refreshed in time.".to_owned()),
            (self.failed_refreshes > 0).then(|| {
                let failed = numbers::counted(self.failed_refreshes, "refresh", "refreshes");
                format!("{failed} failed.")
            }),
            (!status.success()).then(|| format!("The daemon ended with {status}.")),
        ];
        let wrong: Vec<String> = wrong.into_iter().flatten().collect();
        for line in &wrong {
            output.say(line);
        }
        if wrong.is_empty() && self.all_exact {
            return Exit::Ok;
        }
        let end_of_log = self.daemon.end_of_log;
        output.say(&format!("The daemon's log ends with:\n  {end_of_log}"));
        Exit::Negative
    }
}
