//! All materialized views taken away, for a schema change or for good, and brought back.

use serde::Serialize;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// What became of one materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct OutcomeRow {
    /// The name with its schema, quoted where needed.
    pub mv_name: String,
    /// `dropped`, `recreated` or `failed`.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// Drops all materialized views of the session's user, with or without their dictionary rows.
pub async fn drop_all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    keep_settings: bool,
) -> sqlx::Result<Vec<OutcomeRow>> {
    let sql = schema.sql("SELECT mv_name, outcome, error FROM @.drop_all_materialized_views($1)");
    sql::query_as(sql)
        .bind(keep_settings)
        .fetch_all(connection)
        .await
}

/// Makes those again that were dropped while their dictionary rows stayed, and fills them.
pub async fn recreate_all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<OutcomeRow>> {
    let sql = schema.sql("SELECT mv_name, outcome, error FROM @.recreate_all_materialized_views()");
    sql::query_as(sql).fetch_all(connection).await
}

/// A materialized view as an uninstallation leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct RemainingRow {
    /// The name with its schema, quoted where needed.
    pub full_name: String,
    /// `table`, or `native` for an adopted one.
    pub kind: String,
    /// Whether it is there, rather than dropped for an upgrade or by hand.
    pub is_there: bool,
    /// The view that gave it its name: its present name with its schema, quoted where needed.
    pub renamed_view: Option<String>,
}

/// Every materialized view, by name.
pub async fn remaining(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<RemainingRow>> {
    let sql = schema.sql(
        "SELECT pg_catalog.format('%I.%I', m.mv_schema, m.mv_name) AS full_name, m.kind,
                EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.mv_relation) AS is_there,
                CASE WHEN s.view_origin = 'renamed'
                          AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.v_relation)
                     THEN pg_catalog.format('%I.%I', m.v_schema, m.v_name) END AS renamed_view
         FROM @.materialized_views m JOIN @.materialized_view_settings s USING (mv_id)
         ORDER BY m.mv_schema, m.mv_name",
    );
    sql::query_as(sql).fetch_all(connection).await
}
