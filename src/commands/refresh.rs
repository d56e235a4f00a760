//! `refresh`: one materialized view, or all that are due, by SQL, whether a daemon runs or not.

use std::time::Instant;

use serde::Serialize;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::output::Output;
use super::session::Session;
use super::{fast, phrases, privileges, schedules};
use crate::cli::{Method, Refresh};
use crate::connect::{describe, sqlstate};
use crate::dictionary::requests::{self, RefreshedRow};
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

/// How often a refresh that lost a race against another is tried.
const ATTEMPTS: u32 = 5;

pub(super) async fn run(
    session: &mut Session,
    arguments: &Refresh,
    output: Output,
) -> Result<Exit, CommandError> {
    let method = arguments.method.map(Method::as_str);
    match &arguments.which.name {
        Some(name) => one(session, name, method, output).await,
        None => all(session, method, arguments.force, output).await,
    }
}

async fn one(
    session: &mut Session,
    name: &str,
    method: Option<&'static str>,
    output: Output,
) -> Result<Exit, CommandError> {
    let view = views::by_name(&mut session.connection, &session.schema, name).await?;
    if method == Some("fast") {
        fast::prepare(session, &view).await?;
    }
    let (connection, schema) = (&mut session.connection, &session.schema);
    let order = Order {
        view: &view,
        method,
        trigger: "sql",
    };
    let rows = match perform(connection, schema, &order).await {
        Ok(rows) => rows,
        Err(error) => {
            let refused = privileges::is_refusal(&error);
            let error = CommandError::from(error);
            if !refused || !error.hints.is_empty() {
                return Err(error);
            }
            let grants = privileges::missing_for_view(connection, schema, view.mv_id).await;
            return Err(privileges::with_grants(error, grants));
        }
    };
    if !rows.iter().any(|row| row.mv_id == view.mv_id) {
        return Err(left_out(&view));
    }
    output.data(&rows, |rows| {
        let lines: Vec<String> = rows.iter().map(in_words).collect();
        lines.join("\n")
    })?;
    Ok(Exit::Ok)
}

fn left_out(view: &ViewRow) -> CommandError {
    let message = format!(
        "{} is {}, and its refresh group \"{}\" is refreshed without it",
        view.full_name,
        view.status,
        view.refresh_group.as_deref().unwrap_or_default()
    );
    CommandError::new(Exit::Data, message)
        .with_hint(format!("Hint: mvrefreshd resume '{}'", view.full_name))
}

/// One line of `refresh --all`.
#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    row: RefreshedRow,
    error: Option<String>,
}

/// Each view, or refresh group, in a transaction of its own, those below others first.
async fn all(
    session: &mut Session,
    method: Option<&'static str>,
    force: bool,
    output: Output,
) -> Result<Exit, CommandError> {
    let candidates = views::of_the_user(&mut session.connection, &session.schema).await?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    for view in &candidates {
        if !view.enabled || !(force || schedules::is_due(view)) {
            continue;
        }
        if let Some(group) = view.refresh_group.as_deref() {
            if groups.contains(&group) {
                continue;
            }
            groups.push(group);
        }
        let order = Order {
            view,
            method,
            trigger: "all",
        };
        for outcome in outcomes_of(session, &order).await? {
            output.line(outcome_in_words(&outcome));
            outcomes.push(outcome);
        }
    }
    let failed = outcomes.iter().filter(|o| o.error.is_some()).count();
    output.data(&outcomes, |outcomes| summary(outcomes))?;
    Ok(if failed == 0 {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

fn summary(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return "no materialized view is due; --force refreshes all".to_owned();
    }
    let number = |status| outcomes.iter().filter(|o| o.row.status == status).count();
    let parts = ["refreshed", "unchanged", "failed"].map(|status| (number(status), status));
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts
        .map(|(number, status)| format!("{number} {status}"))
        .collect();
    parts.join(", ")
}

/// A broken connection ends it all; any other error is this view's own.
async fn outcomes_of(
    session: &mut Session,
    order: &Order<'_>,
) -> Result<Vec<Outcome>, CommandError> {
    if order.method == Some("fast")
        && let Err(error) = fast::prepare(session, order.view).await
    {
        return match error.exit {
            Exit::Data | Exit::Temporary => Ok(vec![failed(order.view, error.message)]),
            _ => Err(error),
        };
    }
    match perform(&mut session.connection, &session.schema, order).await {
        Ok(rows) => Ok(rows
            .into_iter()
            .map(|row| Outcome { row, error: None })
            .collect()),
        Err(error) if sqlstate(&error).is_none() => Err(error.into()),
        Err(error) => Ok(vec![failed(order.view, describe(&error))]),
    }
}

fn failed(view: &ViewRow, error: String) -> Outcome {
    Outcome {
        row: RefreshedRow {
            mv_id: view.mv_id,
            full_name: view.full_name.clone(),
            status: "failed".to_owned(),
            method: None,
            form: None,
            rows_changed: None,
            reason: None,
            pending_rows: None,
            duration_ms: None,
        },
        error: Some(error),
    }
}

struct Order<'a> {
    view: &'a ViewRow,
    method: Option<&'a str>,
    trigger: &'static str,
}

/// Refreshes in a transaction, again if another refresh was faster; a failure is noted.
async fn perform(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order<'_>,
) -> sqlx::Result<Vec<RefreshedRow>> {
    let begun = Instant::now();
    let mut attempt = 1;
    let error = loop {
        match perform_once(connection, schema, order).await {
            Ok(rows) => return Ok(rows),
            Err(error) if attempt < ATTEMPTS && is_lost_race(&error) => attempt += 1,
            Err(error) => break error,
        }
    };
    if sqlstate(&error).as_deref() == Some("0A000") && order.method == Some("fast") {
        // a method that can't be had is the command line's mistake, and no failure of the view
        return Err(error);
    }
    // What can't be noted, for lack of a permit or a connection, is reported all the same.
    let _ = note_failure(connection, schema, order, begun, &error).await;
    Err(error)
}

/// `serialization_failure`, `deadlock_detected`.
fn is_lost_race(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01"))
}

async fn perform_once(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order<'_>,
) -> sqlx::Result<Vec<RefreshedRow>> {
    // a refresh group is refreshed at one snapshot
    let begin = match order.view.refresh_group {
        Some(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
        None => "BEGIN ISOLATION LEVEL READ COMMITTED",
    };
    let mut transaction = connection.begin_with(begin).await?;
    let rows = requests::refresh(
        &mut transaction,
        schema,
        order.view.mv_id,
        order.method,
        order.trigger,
    )
    .await?;
    transaction.commit().await?;
    Ok(rows)
}

async fn note_failure(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order<'_>,
    begun: Instant,
    error: &sqlx::Error,
) -> sqlx::Result<()> {
    let code = sqlstate(error);
    let message = describe(error).replace('\n', " ");
    let mut transaction = connection.begin().await?;
    requests::permit(&mut transaction, schema, order.view.mv_id).await?;
    requests::note_failure(
        &mut transaction,
        schema,
        order.view.mv_id,
        order.trigger,
        begun.elapsed().as_secs_f64(),
        (&message, code.as_deref()),
    )
    .await?;
    transaction.commit().await
}

fn in_words(row: &RefreshedRow) -> String {
    let name = &row.full_name;
    let reason = row.reason.as_deref().unwrap_or_default();
    match row.status.as_str() {
        "refreshed" => {}
        "unchanged" => return format!("{name} is unchanged: {reason}"),
        status => return format!("{name} was not refreshed: {status}"),
    }
    let mut words = vec![phrases::method(row.method.as_deref(), row.form.as_deref())];
    words.extend(
        row.rows_changed
            .map(|rows| format!("{} changed", phrases::rows(rows))),
    );
    words.extend(row.duration_ms.map(phrases::milliseconds));
    let because = if reason.is_empty() { "" } else { "; " };
    format!("refreshed {name}: {}{because}{reason}", words.join(", "))
}

fn outcome_in_words(outcome: &Outcome) -> String {
    match &outcome.error {
        Some(error) => format!("{} failed: {error}", outcome.row.full_name),
        None => in_words(&outcome.row),
    }
}
