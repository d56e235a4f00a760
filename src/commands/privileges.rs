//! Which GRANT is missing.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::session::Session;
use crate::connect::{DatabaseError, describe};
use crate::dictionary::{definitions, sessions};
use crate::error::{CommandError, Exit};
use crate::sql::{ModuleSchema, quote_identifier};

/// The session's user may not use the module schema, or part of it.
pub(super) fn module_schema_refused(error: &sqlx::Error, session: &Session) -> CommandError {
    CommandError::new(Exit::Permission, describe(error)).with_hint(grant_module(session))
}

fn grant_module(session: &Session) -> String {
    // as module_role() of the module schema names it
    let role: String = session.schema.name().chars().take(54).collect();
    format!(
        "As an administrator: GRANT {} TO {};",
        quote_identifier(&format!("{role}_execute")),
        quote_identifier(session.user())
    )
}

/// Adds the GRANT that would have helped, where the server's message tells and no better hint was found before.
pub(super) async fn with_missing_grant(error: CommandError, session: &mut Session) -> CommandError {
    if error.exit != Exit::Permission || error.hints.iter().any(|hint| hint.contains("GRANT")) {
        return error;
    }
    let Some((kind, name)) = refused_object(&error.message) else {
        return error;
    };
    let (connection, schema) = (&mut session.connection, &session.schema);
    let is_ours = kind == "schema" && name == schema.name()
        || sessions::is_of_module(connection, schema, name)
            .await
            .unwrap_or_default();
    let grant = if is_ours {
        Some(grant_module(session))
    } else {
        grant_of(kind, name, session.user())
    };
    match grant {
        Some(grant) => error.with_hint(grant),
        None => error,
    }
}

/// Kind and name of what is refused: in the server's English message, as it is in no field of its own.
fn refused_object(message: &str) -> Option<(&str, &str)> {
    message
        .lines()
        .next()?
        .strip_prefix("permission denied for ")?
        .rsplit_once(' ')
}

fn grant_of(kind: &str, name: &str, user: &str) -> Option<String> {
    let privilege = match kind {
        "schema" => "USAGE ON SCHEMA",
        "function" => "EXECUTE ON FUNCTION",
        "table" | "view" | "materialized view" | "foreign table" => "SELECT ON",
        _ => return None,
    };
    Some(format!(
        "As its owner: GRANT {privilege} {} TO {};",
        quote_identifier(name),
        quote_identifier(user)
    ))
}

/// The privileges that a materialized view's owner, or an owner of a view between, lacks; empty where it can't be told.
pub(super) async fn missing_for_view(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> Vec<String> {
    look(connection, async |connection| {
        definitions::use_catalog_names(connection).await?;
        let Some(subject) = definitions::subject(connection, schema, mv_id).await? else {
            return Ok(Vec::new());
        };
        definitions::reads(connection, schema, &subject).await
    })
    .await
}

/// The same of a query, for a materialized view that the session's user would create of it.
pub(super) async fn missing_for_query(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    query: &str,
) -> Vec<String> {
    let command = definitions::temporary_view_command(query);
    look(connection, async |connection| {
        definitions::create_temporary_view(connection, &command).await?;
        definitions::use_catalog_names(connection).await?;
        let subject = definitions::temporary_subject(connection).await?;
        definitions::reads(connection, schema, &subject).await
    })
    .await
}

/// Looks in a transaction that leaves nothing behind. Whatever goes wrong, there is a first error to report already.
async fn look(
    connection: &mut PgConnection,
    read: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<Vec<definitions::ReadRow>>,
) -> Vec<String> {
    let Ok(mut transaction) = connection.begin().await else {
        return Vec::new();
    };
    let rows = read(&mut transaction).await.unwrap_or_default();
    let _ = transaction.rollback().await;
    rows.into_iter()
        .filter_map(|row| row.missing_grant)
        .collect()
}

/// An error with the missing privileges as hints.
pub(super) fn with_grants(error: CommandError, grants: Vec<String>) -> CommandError {
    grants.into_iter().fold(error, |error, grant| {
        error.with_hint(format!("As its owner: {grant}"))
    })
}

/// Whether the server refused for lack of a privilege.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    DatabaseError::of(error).is_some_and(|error| error.sqlstate == "42501")
}
