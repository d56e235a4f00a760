//! `status`: all materialized views, how stale they are, and what is wrong. Exits 0 whatever it shows: a monitoring
//! system reads `status` and `late` of the JSON.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::output::{self, Output};
use super::session::Session;
use super::{phrases, schedules};
use crate::dictionary::outlook::{self, ProgramRow};
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};
use crate::scheduler::schedule::Due;

#[derive(Debug, Serialize)]
struct Status {
    #[serde(flatten)]
    view: ViewRow,
    /// Not set: never, or on request only.
    next_due: Option<DateTime<Utc>>,
    late: bool,
    /// Logged changes that wait for it, where that can be told.
    pending_rows: Option<i64>,
    /// What was made of its definition; not set: nothing yet.
    program: Option<ProgramRow>,
}

pub(super) async fn run(session: &mut Session, output: Output) -> Result<Exit, CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    let rows = views::all(connection, schema).await?;
    let pending: HashMap<i32, i64> = outlook::pending(connection, schema)
        .await?
        .into_iter()
        .collect();
    let programs = outlook::programs(connection, schema).await?;
    let longest_backoff = session.config.scheduler.retry_max;
    let statuses: Vec<Status> = rows
        .into_iter()
        .map(|view| Status {
            next_due: match schedules::due(&view, longest_backoff) {
                Due::At(at) => Some(at),
                Due::Never(_) => None,
            },
            late: schedules::is_late(&view),
            pending_rows: pending.get(&view.mv_id).copied(),
            program: programs.iter().find(|p| p.mv_id == view.mv_id).cloned(),
            view,
        })
        .collect();
    output.data(&statuses, |statuses| as_text(statuses, longest_backoff))?;
    Ok(Exit::Ok)
}

fn as_text(statuses: &[Status], longest_backoff: Duration) -> String {
    if statuses.is_empty() {
        return "no materialized views; mvrefreshd create --help shows how to make one".to_owned();
    }
    let header = [
        "NAME", "STATUS", "METHOD", "SCHEDULE", "STALE", "PENDING", "TOOK", "CHANGED", "DUE",
    ];
    let rows = statuses.iter().map(|status| row(status, longest_backoff));
    let mut lines = vec![output::table(header, rows)];
    let failures: Vec<String> = statuses
        .iter()
        .filter_map(|status| failure(&status.view))
        .collect();
    let refusals = statuses.iter().filter_map(refusal);
    for part in [failures, refusals.collect()] {
        if !part.is_empty() {
            lines.push(String::new());
            lines.extend(part);
        }
    }
    lines.join("\n")
}

fn row(status: &Status, longest_backoff: Duration) -> [String; 9] {
    let view = &status.view;
    let late = if status.late { " (late)" } else { "" };
    let stale = phrases::or_dash(view.staleness_in_sec, phrases::seconds);
    let due = schedules::due(view, longest_backoff);
    [
        view.full_name.clone(),
        view.status.clone(),
        method(view),
        schedules::in_words(view),
        format!("{stale}{late}"),
        phrases::or_dash(status.pending_rows, |rows| rows.to_string()),
        phrases::or_dash(view.last_duration_ms, phrases::milliseconds),
        phrases::or_dash(view.last_rows_changed, |rows| rows.to_string()),
        schedules::due_in_words(due, view.database_now),
    ]
}

/// The setting, and what the last refresh was where that says more.
fn method(view: &ViewRow) -> String {
    if view.kind == "native" {
        return "native".to_owned();
    }
    let setting = &view.refresh_method;
    let last = view.last_method.as_deref().filter(|last| last != setting);
    let method = match last {
        Some(last) => format!("{setting}: {}", phrases::method(Some(last), None)),
        None => setting.clone(),
    };
    match view.complete_form.as_str() {
        "in_place" => method,
        form => format!("{method} ({form})"),
    }
}

/// Why a view that might be refreshed fast is not.
fn refusal(status: &Status) -> Option<String> {
    let program = status.program.as_ref()?;
    let (clause, reason) = (
        program.refused_clause.as_ref()?,
        program.refused_reason.as_ref()?,
    );
    let name = &status.view.full_name;
    let wanted = status.view.refresh_method != "complete";
    wanted.then(|| {
        phrases::folded(
            &format!("{name} is refreshed completely: {clause}: {reason}"),
            0,
        )
    })
}

fn failure(view: &ViewRow) -> Option<String> {
    let error = view.last_error.as_deref()?.replace('\n', " ");
    let ago = view.last_error_at.map_or_else(String::new, |at| {
        let seconds = view.database_now.signed_duration_since(at).as_seconds_f64();
        format!(" {} ago", phrases::seconds(seconds))
    });
    let name = &view.full_name;
    Some(if view.status == "suspended" {
        format!(
            "{name} was suspended{ago}: {error}\n  Correct it, then: mvrefreshd resume '{name}'"
        )
    } else {
        let times = phrases::count(i64::from(view.failures), "time", "times");
        format!("{name} has failed {times}, last{ago}: {error}")
    })
}
