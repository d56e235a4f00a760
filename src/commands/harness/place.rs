//! Two schemas, each with a role of the same name that owns it, and the base tables.

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::connect::sqlstate;
use crate::dictionary::inventory::{self, Ownership};
use crate::error::{CommandError, Exit};
use crate::sql::{self, ModuleSchema, composed, identifier, quote_identifier, quote_literal};

/// The base tables.
pub(in crate::commands) const TABLES: &[&str] = &[
    "regions",
    "customers",
    "products",
    "orders",
    "order_lines",
    "shipments",
];

const DEFINITIONS: &str = include_str!("tables.sql");
const ROWS: &str = include_str!("rows.sql");

/// The comment by which schemas and roles are known that may be dropped again.
pub(in crate::commands) const MARK: &str = "made by mvrefreshd to try things on";

/// Where everything is: each name is that of a schema and of the role that owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Place {
    /// Of the base tables.
    pub(in crate::commands) source: String,
    /// Of the materialized views.
    pub(in crate::commands) views: String,
}

impl Place {
    /// Names as they are, not folded to lower case.
    pub(in crate::commands) fn new(source: &str, views: &str) -> Result<Self, CommandError> {
        if source == views {
            let message = "base tables and materialized views need two different schemas";
            return Err(CommandError::new(Exit::Usage, message));
        }
        Ok(Self {
            source: source.to_owned(),
            views: views.to_owned(),
        })
    }

    pub(in crate::commands) fn names(&self) -> [&str; 2] {
        [&self.source, &self.views]
    }
}

/// Has unqualified names mean what is here, for the rest of the session.
pub(in crate::commands) async fn use_names(
    connection: &mut PgConnection,
    place: &Place,
) -> Result<(), CommandError> {
    let [source, views] = place.names().map(quote_identifier);
    let set = format!("SET search_path TO {views}, {source}");
    connection.execute(composed(set)).await?;
    Ok(())
}

/// Roles, schemas, and what the roles need of the module. In a transaction of the caller's, so that all of it or nothing is made.
pub(in crate::commands) async fn create_schemas(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    place: &Place,
) -> Result<(), CommandError> {
    for name in place.names() {
        if exists(connection, "pg_catalog.pg_namespace", "nspname", name).await? {
            let message = format!("schema {} exists already", identifier(name));
            return Err(CommandError::new(Exit::Data, message).with_hint(
                "Hint: drop what is there, or choose others by --source-schema and --view-schema.",
            ));
        }
    }
    let user: String = sql::query_scalar("SELECT current_user::text")
        .fetch_one(&mut *connection)
        .await?;
    for name in place.names() {
        provide_role(connection, place, name, &user).await?;
    }
    let module = inventory::ownership(connection, schema).await?;
    let views = quote_identifier(&place.views);
    if !module.is_superuser {
        let grant = format!(
            "GRANT {views} TO {}{}",
            quote_identifier(&module.owner),
            options(connection)
        );
        grant_unless_member(connection, &module.owner, &place.views, grant).await?;
    }
    let grant = format!("GRANT {} TO {views}", quote_identifier(&module.executors));
    grant_unless_member(connection, &place.views, &module.executors, grant).await?;
    for name in place.names() {
        let name = quote_identifier(name);
        let create = format!(
            "CREATE SCHEMA {name} AUTHORIZATION {name}; COMMENT ON SCHEMA {name} IS {}",
            quote_literal(MARK)
        );
        connection.execute(sqlx::raw_sql(composed(create))).await?;
    }
    Ok(())
}

async fn exists(
    connection: &mut PgConnection,
    catalog: &str,
    column: &str,
    name: &str,
) -> sqlx::Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT FROM {catalog} WHERE {column} = $1)");
    sql::query_scalar(composed(sql))
        .bind(name)
        .fetch_one(connection)
        .await
}

/// From `PostgreSQL` 16 on a membership may be one without the right to act.
fn options(connection: &PgConnection) -> &'static str {
    match connection.server_version_num() {
        Some(number) if number >= 160_000 => " WITH INHERIT TRUE, SET TRUE",
        _ => "",
    }
}

/// A role of this name that the session may act for: an existing one, or a new one that is marked as ours.
async fn provide_role(
    connection: &mut PgConnection,
    place: &Place,
    name: &str,
    user: &str,
) -> Result<(), CommandError> {
    let quoted = quote_identifier(name);
    let options = options(connection);
    if !exists(connection, "pg_catalog.pg_roles", "rolname", name).await? {
        let create = format!(
            "CREATE ROLE {quoted} NOLOGIN; COMMENT ON ROLE {quoted} IS {}",
            quote_literal(MARK)
        );
        if let Err(error) = connection.execute(sqlx::raw_sql(composed(create))).await {
            if sqlstate(&error).as_deref() != Some("42501") {
                return Err(error.into());
            }
            return Err(roles_are_needed(place, user, options));
        }
    }
    let grant = format!("GRANT {quoted} TO CURRENT_USER{options}");
    grant_unless_member(connection, "", name, grant).await
}

fn roles_are_needed(place: &Place, user: &str, options: &str) -> CommandError {
    let [source, views] = place.names().map(identifier);
    let user = identifier(user);
    let message =
        format!("two roles are needed to own the schemas, and {user} may not create roles");
    CommandError::new(Exit::Permission, message).with_hint(format!(
        "As an administrator: CREATE ROLE {source} NOLOGIN; CREATE ROLE {views} NOLOGIN; GRANT {source}, {views} TO {user}{options};"
    ))
}

/// Makes a role (none: the session's user) a member of another.
async fn grant_unless_member(
    connection: &mut PgConnection,
    member: &str,
    role: &str,
    grant: String,
) -> Result<(), CommandError> {
    let sql = "SELECT pg_catalog.pg_has_role(coalesce(nullif($1, ''), current_user::text)::name, $2::text::name, 'USAGE')";
    let is_member: bool = sql::query_scalar(sql)
        .bind(member)
        .bind(role)
        .fetch_one(&mut *connection)
        .await?;
    if is_member {
        return Ok(());
    }
    match connection.execute(composed(grant.clone())).await {
        Ok(_) => Ok(()),
        Err(error) if sqlstate(&error).as_deref() == Some("42501") => {
            let error = CommandError::from(error);
            Err(error.with_hint(format!("As an administrator: {grant};")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The base tables with their rows, and what the owner of the materialized views and the module may do with them. In a
/// transaction of the caller's.
pub(in crate::commands) async fn create_tables(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    place: &Place,
    orders: u32,
) -> Result<(), CommandError> {
    let Ownership { owner, .. } = inventory::ownership(connection, schema).await?;
    let [source, views] = place.names().map(quote_identifier);
    let owner = quote_identifier(&owner);
    let statements = [
        format!("SET LOCAL ROLE {source}; SET LOCAL search_path TO {source}"),
        DEFINITIONS.to_owned(),
        ROWS.replace("@rows", &orders.to_string()),
        format!("GRANT USAGE ON SCHEMA {source} TO {views}, {owner}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA {source} TO {views}"),
        format!("GRANT SELECT, TRIGGER ON ALL TABLES IN SCHEMA {source} TO {owner}"),
        "SET LOCAL ROLE TO DEFAULT; SET LOCAL search_path TO DEFAULT".to_owned(),
    ];
    for statement in statements {
        connection
            .execute(sqlx::raw_sql(composed(statement)))
            .await?;
    }
    Ok(())
}
