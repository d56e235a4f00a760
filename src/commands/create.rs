//! `create`: a materialized view from a query or from a view.

use std::io::Read;
use std::path::Path;

use super::output::Output;
use super::privileges;
use super::session::Session;
use super::{phrases, schedules};
use crate::cli::{CompleteForm, Create, CreateQuery, Method};
use crate::connect::{DatabaseError, describe_in_query};
use crate::dictionary::changes::{self, NewView};
use crate::dictionary::definitions;
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};

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
    };
    let mv_id = match changes::create(&mut session.connection, &session.schema, &view).await {
        Ok(mv_id) => mv_id,
        Err(error) => return Err(refused(session, &error, &view).await),
    };
    let created = views::by_id(&mut session.connection, &session.schema, mv_id).await?;
    output.data(&created, in_words)?;
    Ok(Exit::Ok)
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
    definitions::check_query(&mut session.connection, query)
        .await
        .map_err(|error| in_query(error, query))
}

/// An error with its place in the user's query.
pub(super) fn in_query(error: sqlx::Error, query: &str) -> CommandError {
    let message = describe_in_query(&error, query);
    let exit = CommandError::from(error).exit;
    CommandError::new(exit, message)
}

async fn refused(session: &mut Session, error: &sqlx::Error, view: &NewView<'_>) -> CommandError {
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

fn in_words(view: &ViewRow) -> String {
    let rows = match (view.last_refresh, view.last_rows_changed) {
        (None, _) => "left empty until its first refresh".to_owned(),
        (Some(_), rows) => phrases::rows(rows.unwrap_or_default()),
    };
    format!(
        "created {}: {rows}, refreshed {}",
        view.full_name,
        schedules::in_words(view)
    )
}
