//! What was made, dropped again; and a look at what is left.

use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, FromRow};

use super::place::{MARK, Place, TABLES};
use crate::connect::describe;
use crate::dictionary::{changes, inventory, outlook};
use crate::error::{CommandError, Exit};
use crate::sql::{self, ModuleSchema, composed, identifier, quote_identifier};

/// Which of a place's schemas and roles there are, and which of them are ours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct Marks {
    /// Our schemas.
    pub(in crate::commands) schemas: Vec<String>,
    /// Schemas of these names that are somebody else's.
    pub(in crate::commands) foreign: Vec<String>,
    /// Our roles; others of these names were there before.
    pub(in crate::commands) roles: Vec<String>,
}

impl Marks {
    /// Whether there is anything of ours.
    pub(in crate::commands) fn any(&self) -> bool {
        !self.schemas.is_empty() || !self.roles.is_empty()
    }
}

#[derive(FromRow)]
struct Marked {
    is_schema: bool,
    name: String,
    is_ours: bool,
}

pub(in crate::commands) async fn marks(
    connection: &mut PgConnection,
    place: &Place,
) -> Result<Marks, CommandError> {
    let sql = "
        SELECT true AS is_schema, nspname::text AS name, coalesce(pg_catalog.obj_description(oid, 'pg_namespace') LIKE $2 || '%', false) AS is_ours
        FROM pg_catalog.pg_namespace WHERE nspname::text = ANY ($1)
        UNION ALL
        SELECT false, rolname::text, coalesce(pg_catalog.shobj_description(oid, 'pg_authid') LIKE $2 || '%', false)
        FROM pg_catalog.pg_roles WHERE rolname::text = ANY ($1)";
    let rows: Vec<Marked> = sql::query_as(sql)
        .bind(place.names())
        .bind(MARK)
        .fetch_all(connection)
        .await?;
    let mut found = Marks::default();
    for row in rows {
        match (row.is_schema, row.is_ours) {
            (true, true) => found.schemas.push(row.name),
            (true, false) => found.foreign.push(row.name),
            (false, true) => found.roles.push(row.name),
            (false, false) => {}
        }
    }
    Ok(found)
}

/// Drops materialized views, logs, tables, schemas and roles; what else is in the schemas makes it fail, and nothing is
/// dropped then. Roles that can't be dropped are kept: they and the reasons, in words.
pub(in crate::commands) async fn drop_all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    place: &Place,
) -> Result<Vec<String>, CommandError> {
    let found = marks(connection, place).await?;
    if let Some(foreign) = found.foreign.first() {
        let message = format!(
            "schema {} was not made by this command and is not dropped",
            identifier(foreign)
        );
        return Err(CommandError::new(Exit::Data, message)
            .with_hint("Hint: --source-schema and --view-schema name the schemas."));
    }
    let may_forget = outlook::may_install(connection, schema).await?;
    let mut transaction = connection.begin().await?;
    let views = inventory::views_in(&mut transaction, schema, &place.views).await?;
    for mv_id in &views {
        changes::drop_by_id(&mut transaction, schema, *mv_id).await?;
    }
    if may_forget {
        inventory::forget(&mut transaction, schema, &views).await?;
        inventory::drop_logs_in(&mut transaction, schema, &place.source).await?;
    }
    let source = quote_identifier(&place.source);
    for table in TABLES.iter().rev() {
        let drop = format!("DROP TABLE IF EXISTS {source}.{table}");
        transaction.execute(composed(drop)).await?;
    }
    for name in &found.schemas {
        let drop = format!("DROP SCHEMA {}", quote_identifier(name));
        transaction.execute(composed(drop)).await?;
    }
    let mut kept = Vec::new();
    for role in &found.roles {
        kept.extend(drop_role(&mut transaction, schema, role).await?);
    }
    transaction.commit().await?;
    Ok(kept)
}

/// Drops a role, or says why not.
async fn drop_role(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    role: &str,
) -> Result<Option<String>, CommandError> {
    let quoted = quote_identifier(role);
    let mut attempt = connection.begin().await?;
    // given when the first refresh function was made over to it
    let drop = format!("REVOKE ALL ON SCHEMA {schema} FROM {quoted}; DROP ROLE {quoted}");
    match attempt.execute(sqlx::raw_sql(composed(drop))).await {
        Ok(_) => {
            attempt.commit().await?;
            Ok(None)
        }
        Err(error) => {
            attempt.rollback().await?;
            let reason = describe(&error).replace('\n', " ");
            Ok(Some(format!("role {}: {reason}", identifier(role))))
        }
    }
}

/// What there still is of a place, in words.
pub(in crate::commands) async fn leftovers(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    place: &Place,
) -> Result<Vec<String>, CommandError> {
    let found = marks(connection, place).await?;
    let schemas = found.schemas.iter().chain(&found.foreign);
    let schemas = schemas.map(|name| format!("schema {}", identifier(name)));
    let roles = found.roles.iter();
    let mut left: Vec<String> = schemas
        .chain(roles.map(|name| format!("role {}", identifier(name))))
        .collect();
    left.extend(inventory::traces(connection, schema, &place.names()).await?);
    Ok(left)
}
