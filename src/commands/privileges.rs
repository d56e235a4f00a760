//! Which GRANT is missing.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::session::Session;
use crate::connect::{DatabaseError, describe};
use crate::dictionary::definitions;
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
pub(super) fn with_missing_grant(error: CommandError, session: &Session) -> CommandError {
    if error.exit != Exit::Permission || error.hints.iter().any(|hint| hint.contains("GRANT")) {
        return error;
    }
    match missing_grant(&error.message, session) {
        Some(grant) => error.with_hint(grant),
        None => error,
    }
}

/// Reads the server's English message: what is refused is in no field of its own.
fn missing_grant(message: &str, session: &Session) -> Option<String> {
    let (kind, name) = message
        .lines()
        .next()?
        .strip_prefix("permission denied for ")?
        .rsplit_once(' ')?;
    let user = quote_identifier(session.user());
    let object = quote_identifier(name);
    match kind {
        "schema" if name == session.schema.name() => Some(grant_module(session)),
        "schema" => Some(format!(
            "As its owner: GRANT USAGE ON SCHEMA {object} TO {user};"
        )),
        // names are told without their schema, and only the module's are likely to be used here
        "function" => Some(grant_module(session)),
        "table" | "view" | "materialized view" | "foreign table" => {
            Some(format!("As its owner: GRANT SELECT ON {object} TO {user};"))
        }
        _ => None,
    }
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
