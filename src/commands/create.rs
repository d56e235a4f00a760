//! `create`: a materialized view from a query or from a view.

mod parallel;
mod staged;

use std::io::Read;
use std::path::Path;

use serde::Serialize;

pub(super) use self::parallel::Division;
use self::staged::Staged;
use super::fast::{self, Candidate, Prospect};
use super::output::Output;
use super::privileges;
use super::session::Session;
use super::{phrases, schedules};
use crate::cli::{CompleteForm, Create, CreateQuery, Method};
use crate::connect::{DatabaseError, Position, describe_in_query};
use crate::definition::Refusal;
use crate::dictionary::changes::{self, NewView};
use crate::dictionary::views::{self, ViewRow};
use crate::dictionary::{definitions, outlook};
use crate::error::{CommandError, Exit};
use crate::refresh::examine::Examination;

/// A new materialized view, and what is to be expected of its refreshes.
#[derive(Debug, Serialize)]
struct Created {
    #[serde(flatten)]
    view: ViewRow,
    #[serde(flatten)]
    prospect: Option<Prospect>,
}

pub(super) async fn run(
    session: &mut Session,
    arguments: &Create,
    output: Output,
) -> Result<Exit, CommandError> {
    let timing = schedules::timing(&arguments.schedule)?;
    let query = query(&arguments.query)?;
    if let Some(query) = &query {
        check(session, query).await?;
    }
    let view = NewView {
        name: &arguments.name,
        query: query.as_deref(),
        view: arguments.query.view.as_deref(),
        timing,
        method: arguments.method.map(Method::as_str),
        complete_form: arguments.complete_form.map(form),
        group: arguments.group.as_deref(),
        without_data: arguments.no_data,
        owner: None,
    };
    let division = match (arguments.parallel, &arguments.split_by) {
        (Some(sessions), Some(column)) => Some(Division { sessions, column }),
        _ => None,
    };
    let (mv_id, prospect) = make(session, &view, division).await?;
    let view = views::by_id(&mut session.connection, &session.schema, mv_id).await?;
    output.data(&Created { view, prospect }, in_words)?;
    Ok(Exit::Ok)
}

/// Creates it, filled by one session or by several; its key, and what is to be expected of its refreshes.
pub(super) async fn make(
    session: &mut Session,
    view: &NewView<'_>,
    division: Option<Division<'_>>,
) -> Result<(i32, Option<Prospect>), CommandError> {
    match division {
        Some(division) => parallel::create(session, view, division).await,
        None => create(session, view).await,
    }
}

/// Finds out whether it can be refreshed fast, and creates it such that its first refresh is a fast one, as far as the
/// session's user may.
async fn create(
    session: &mut Session,
    view: &NewView<'_>,
) -> Result<(i32, Option<Prospect>), CommandError> {
    if view.method == Some("complete") {
        return Ok((at_once(session, view).await?, None));
    }
    let must_be_fast = view.method == Some("fast");
    let examination = match examine(session, view).await {
        Ok(examination) => examination,
        Err(error) if must_be_fast || error.as_database_error().is_none() => {
            return Err(refused(session, &error, view).await);
        }
        // the creation itself will find out, or the daemon
        Err(_) => {
            let mv_id = at_once(session, view).await?;
            return Ok((mv_id, Some(Prospect::Awaited { reason: None })));
        }
    };
    let refusal = examination.refusal().cloned();
    if let Some(refusal) = refusal {
        if must_be_fast {
            return Err(fast::refused(view.name, &refusal));
        }
        return without_fast(session, view, refusal).await;
    }
    let may_install = outlook::may_install(&mut session.connection, &session.schema).await?;
    match examination.draft {
        Ok(draft) if may_install => {
            Staged {
                session,
                view,
                must_be_fast,
            }
            .create(&draft, &examination.facts)
            .await
        }
        _ => {
            let mv_id = at_once(session, view).await?;
            Ok((mv_id, Some(Prospect::Awaited { reason: None })))
        }
    }
}

async fn examine(session: &mut Session, view: &NewView<'_>) -> sqlx::Result<Examination> {
    let candidate = match (view.query, view.view) {
        (Some(query), _) => Candidate::Query(query),
        (None, name) => Candidate::View(name.unwrap_or_default()),
    };
    fast::look(session, candidate).await
}

/// In one transaction, filled.
async fn at_once(session: &mut Session, view: &NewView<'_>) -> Result<i32, CommandError> {
    match changes::create(&mut session.connection, &session.schema, view).await {
        Ok(mv_id) => Ok(mv_id),
        Err(error) => Err(refused(session, &error, view).await),
    }
}

async fn without_fast(
    session: &mut Session,
    view: &NewView<'_>,
    refusal: Refusal,
) -> Result<(i32, Option<Prospect>), CommandError> {
    let mv_id = at_once(session, view).await?;
    // so that the dictionary knows why; else the daemon will see to it
    let _ = fast::compile(session, mv_id).await;
    Ok((mv_id, Some(refusal.into())))
}

/// The dictionary's name of a form.
pub(super) fn form(form: CompleteForm) -> &'static str {
    match form {
        CompleteForm::InPlace => "in_place",
        CompleteForm::Rebuild => "rebuild",
    }
}

fn query(source: &CreateQuery) -> Result<Option<String>, CommandError> {
    let Some(file) = &source.query_file else {
        return Ok(source.query.clone());
    };
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map(Some).map_err(|error| {
        let message = format!("the query file {} cannot be read: {error}", file.display());
        CommandError::new(Exit::Data, message)
    })
}

/// Fails with the server's message and the place in the user's own text.
pub(super) async fn check(session: &mut Session, query: &str) -> Result<(), CommandError> {
    if query.trim().trim_end_matches(';').trim().is_empty() {
        return Err(CommandError::new(Exit::Data, "the query is empty"));
    }
    let command = definitions::check_command(query);
    definitions::check_query(&mut session.connection, &command)
        .await
        .map_err(|error| in_command(&error, command, query))
}

/// The place in the command as the place in the query that is part of it.
pub(super) fn in_command(error: &sqlx::Error, command: String, query: &str) -> CommandError {
    let Some(mut server) = DatabaseError::of(error) else {
        return CommandError::new(Exit::Unavailable, crate::connect::describe(error));
    };
    server.position = server.position.map(|position| Position {
        query: Some(command),
        character: position.character,
    });
    let message = server.in_query(query);
    CommandError::new(crate::error::exit_of_sqlstate(&server.sqlstate), message)
}

pub(super) async fn refused(
    session: &mut Session,
    error: &sqlx::Error,
    view: &NewView<'_>,
) -> CommandError {
    let server = DatabaseError::of(error);
    let mut command_error = server.map_or_else(
        || CommandError::new(Exit::Unavailable, crate::connect::describe(error)),
        CommandError::from,
    );
    let (connection, schema) = (&mut session.connection, &session.schema);
    let query = match (view.query, view.view) {
        (Some(query), _) => query.to_owned(),
        (None, Some(name)) => format!("TABLE {name}"),
        (None, None) => return command_error,
    };
    if view.query.is_some() {
        let message = describe_in_query(error, &query);
        if message.contains('^') {
            // it has detail and hint already
            command_error = CommandError::new(command_error.exit, message);
        }
    }
    if privileges::is_refusal(error) && command_error.hints.is_empty() {
        let grants = privileges::missing_for_query(connection, schema, &query).await;
        return privileges::with_grants(command_error, grants);
    }
    command_error
}

fn in_words(created: &Created) -> String {
    let view = &created.view;
    let rows = match (view.last_refresh, view.last_rows_changed) {
        (None, _) => "left empty until its first refresh".to_owned(),
        (Some(_), rows) => phrases::rows(rows.unwrap_or_default()),
    };
    let text = format!(
        "created {}: {rows}, refreshed {}",
        view.full_name,
        schedules::in_words(view)
    );
    fast::with_prospect(text, created.prospect.as_ref())
}
