//! `explain`: how a materialized view or a query is refreshed, and why.

mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::create;
use super::output::Output;
use super::session::Session;
use crate::cli::Explain;
use crate::connect::{DatabaseError, Position};
use crate::dictionary::definitions::{self, ColumnRow, KeyRow, ReadRow, Subject, UnsteadyRow};
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

/// Why no refresh is a fast one.
const FAST_REFUSED: &str = "this version knows complete refresh only";

/// What is known of a query.
#[derive(Debug, Serialize)]
struct Query {
    definition: String,
    columns: Vec<ColumnRow>,
    reads: Vec<ReadRow>,
    unsteady: Vec<UnsteadyRow>,
}

/// How it is refreshed.
#[derive(Debug, Serialize)]
struct Plan {
    method: &'static str,
    form: String,
    /// The unique index that pairs stored and fresh rows; none: a hash of the whole row.
    paired_by: Option<KeyRow>,
    fast_refused: &'static str,
}

/// What is known of a materialized view besides its query.
#[derive(Debug, Serialize)]
struct Known {
    #[serde(flatten)]
    view: ViewRow,
    problem: Option<String>,
    remedy: Option<String>,
    session_settings: BTreeMap<String, String>,
    functions: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Explanation {
    /// None for a query alone.
    #[serde(flatten)]
    known: Option<Known>,
    /// None where a relation is gone.
    query: Option<Query>,
    refresh: Plan,
}

pub(super) async fn run(
    session: &mut Session,
    arguments: &Explain,
    output: Output,
) -> Result<Exit, CommandError> {
    let explanation = match (&arguments.name, &arguments.query) {
        (Some(name), _) => view(session, name, arguments.sql || output.is_json()).await?,
        (None, query) => alone(session, query.as_deref().unwrap_or_default()).await?,
    };
    output.data(&explanation, text::explanation)?;
    Ok(Exit::Ok)
}

/// In a transaction that leaves nothing behind.
async fn view(
    session: &mut Session,
    name: &str,
    with_functions: bool,
) -> Result<Explanation, CommandError> {
    let schema = &session.schema;
    let mut transaction = session.connection.begin().await?;
    let view = views::by_name(&mut transaction, schema, name).await?;
    definitions::use_catalog_names(&mut transaction).await?;
    let id = view.mv_id;
    let problem = definitions::problem(&mut transaction, schema, id).await?;
    let (problem, remedy) = match problem {
        Some((problem, remedy)) => (Some(problem), remedy),
        None => (None, None),
    };
    let functions = if with_functions {
        definitions::refresh_functions(&mut transaction, schema, id).await?
    } else {
        Vec::new()
    };
    let subject = definitions::subject(&mut transaction, schema, id).await?;
    let (query, key) = match &subject {
        Some(subject) => (
            Some(query(&mut transaction, schema, subject).await?),
            definitions::key(&mut transaction, schema, subject.stored).await?,
        ),
        None => (None, None),
    };
    let session_settings = definitions::session_settings(&mut transaction, schema, id).await?;
    transaction.rollback().await?;
    Ok(Explanation {
        refresh: plan(&view, key),
        query,
        known: Some(Known {
            view,
            problem,
            remedy,
            session_settings: session_settings.into_iter().collect(),
            functions: functions.into_iter().collect(),
        }),
    })
}

fn plan(view: &ViewRow, key: Option<KeyRow>) -> Plan {
    let form = match (view.kind.as_str(), &key) {
        ("native", Some(_)) if view.last_refresh.is_some() => "concurrently",
        ("native", _) => "plain",
        // as choose_form() of the module schema decides
        _ if view.last_refresh.is_none() => "rebuild",
        _ => view.complete_form.as_str(),
    };
    Plan {
        method: "complete",
        form: form.to_owned(),
        paired_by: key,
        fast_refused: FAST_REFUSED,
    }
}

/// Makes the query a temporary view, to see what that is made of, and takes it back.
async fn alone(session: &mut Session, text: &str) -> Result<Explanation, CommandError> {
    create::check(session, text).await?;
    let schema = &session.schema;
    let mut transaction = session.connection.begin().await?;
    let command = definitions::temporary_view_command(text);
    definitions::create_temporary_view(&mut transaction, &command)
        .await
        .map_err(|error| in_command(&error, command, text))?;
    definitions::use_catalog_names(&mut transaction).await?;
    let subject = definitions::temporary_subject(&mut transaction).await?;
    let query = query(&mut transaction, schema, &subject).await?;
    transaction.rollback().await?;
    Ok(Explanation {
        known: None,
        query: Some(query),
        refresh: Plan {
            method: "complete",
            form: "in_place".to_owned(),
            paired_by: None,
            fast_refused: FAST_REFUSED,
        },
    })
}

/// The place in the command as the place in the query that is part of it.
fn in_command(error: &sqlx::Error, command: String, query: &str) -> CommandError {
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

async fn query(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    subject: &Subject,
) -> sqlx::Result<Query> {
    Ok(Query {
        definition: definitions::text(connection, schema, subject.source).await?,
        columns: definitions::columns(connection, schema, subject.stored).await?,
        reads: definitions::reads(connection, schema, subject).await?,
        unsteady: definitions::unsteady(connection, schema, subject.source).await?,
    })
}
