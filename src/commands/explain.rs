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
use crate::dictionary::definitions::{self, ColumnRow, KeyRow, ReadRow, Subject, UnsteadyRow};
use crate::dictionary::outlook::{self, LogRow, OutlookRow, ProgramRow};
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};
use crate::explanation::Fast;
use crate::refresh::examine;
use crate::sql::ModuleSchema;

/// What is known of a query.
#[derive(Debug, Serialize)]
struct Query {
    definition: String,
    columns: Vec<ColumnRow>,
    reads: Vec<ReadRow>,
    unsteady: Vec<UnsteadyRow>,
}

/// The form of a complete refresh, and how it pairs rows.
#[derive(Debug, Serialize)]
struct Complete {
    form: String,
    /// The unique index that pairs stored and fresh rows; none: a hash of the whole row.
    paired_by: Option<KeyRow>,
}

/// What is known of a materialized view besides its query.
#[derive(Debug, Serialize)]
struct Known {
    #[serde(flatten)]
    view: ViewRow,
    problem: Option<String>,
    remedy: Option<String>,
    /// None where a relation is gone.
    next_refresh: Option<OutlookRow>,
    /// None while it is yet to be compiled.
    program: Option<ProgramRow>,
    /// Those that its fast refresh reads, as compiled.
    logs: Vec<LogRow>,
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
    complete: Complete,
    /// None of a native one, and where a relation is gone.
    fast: Option<Fast>,
}

pub(super) async fn run(
    session: &mut Session,
    arguments: &Explain,
    output: Output,
) -> Result<Exit, CommandError> {
    let with_sql = arguments.sql || output.is_json();
    let explanation = match (&arguments.name, &arguments.query) {
        (Some(name), _) => view(session, name, with_sql).await?,
        (None, query) => alone(session, query.as_deref().unwrap_or_default(), with_sql).await?,
    };
    output.data(&explanation, text::explanation)?;
    Ok(Exit::Ok)
}

/// In a transaction that leaves nothing behind.
async fn view(
    session: &mut Session,
    name: &str,
    with_sql: bool,
) -> Result<Explanation, CommandError> {
    let schema = &session.schema;
    let mut transaction = session.connection.begin().await?;
    let view = views::by_name(&mut transaction, schema, name).await?;
    definitions::use_catalog_names(&mut transaction).await?;
    let id = view.mv_id;
    let subject = definitions::subject(&mut transaction, schema, id).await?;
    let (query, key) = match &subject {
        Some(subject) => (
            Some(query(&mut transaction, schema, subject).await?),
            definitions::key(&mut transaction, schema, subject.stored).await?,
        ),
        None => (None, None),
    };
    let examined = match subject {
        Some(_) => examine::materialized_view(&mut transaction, schema, id).await?,
        None => None,
    };
    let fast = match examined {
        Some(examined) => Some(Fast::new(&mut transaction, schema, examined, with_sql).await?),
        None => None,
    };
    let complete = Complete {
        form: form(&view, key.as_ref()).to_owned(),
        paired_by: key,
    };
    let known = known(&mut transaction, schema, view, query.is_some(), with_sql).await?;
    transaction.rollback().await?;
    Ok(Explanation {
        known: Some(known),
        query,
        complete,
        fast,
    })
}

async fn known(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    view: ViewRow,
    is_whole: bool,
    with_sql: bool,
) -> sqlx::Result<Known> {
    let id = view.mv_id;
    let problem = definitions::problem(connection, schema, id).await?;
    let (problem, remedy) = match problem {
        Some((problem, remedy)) => (Some(problem), remedy),
        None => (None, None),
    };
    let next_refresh = if is_whole {
        Some(outlook::of(connection, schema, id).await?)
    } else {
        None
    };
    let program = outlook::program(connection, schema, id).await?;
    let logs = outlook::logs(connection, schema, id).await?;
    let functions = if with_sql {
        definitions::refresh_functions(connection, schema, id).await?
    } else {
        Vec::new()
    };
    let session_settings = definitions::session_settings(connection, schema, id).await?;
    Ok(Known {
        view,
        problem,
        remedy,
        next_refresh,
        program,
        logs,
        session_settings: session_settings.into_iter().collect(),
        functions: functions.into_iter().collect(),
    })
}

fn form<'a>(view: &'a ViewRow, key: Option<&KeyRow>) -> &'a str {
    match (view.kind.as_str(), key) {
        ("native", Some(_)) if view.last_refresh.is_some() => "concurrently",
        ("native", _) => "plain",
        // as choose_form() of the module schema decides
        _ if view.last_refresh.is_none() => "rebuild",
        _ => view.complete_form.as_str(),
    }
}

/// Makes the query a temporary view, to see what that is made of, and takes it back.
async fn alone(
    session: &mut Session,
    text: &str,
    with_sql: bool,
) -> Result<Explanation, CommandError> {
    create::check(session, text).await?;
    let schema = &session.schema;
    let mut transaction = session.connection.begin().await?;
    let command = definitions::temporary_view_command(text);
    definitions::create_temporary_view(&mut transaction, &command)
        .await
        .map_err(|error| create::in_command(&error, command, text))?;
    definitions::use_catalog_names(&mut transaction).await?;
    let subject = definitions::temporary_subject(&mut transaction).await?;
    let query = query(&mut transaction, schema, &subject).await?;
    let examined = examine::view(&mut transaction, schema, &subject).await?;
    let fast = Fast::new(&mut transaction, schema, examined, with_sql).await?;
    transaction.rollback().await?;
    Ok(Explanation {
        known: None,
        query: Some(query),
        complete: Complete {
            form: "in_place".to_owned(),
            paired_by: None,
        },
        fast: Some(fast),
    })
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
