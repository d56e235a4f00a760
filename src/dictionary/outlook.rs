//! What can be told of coming refreshes: what is compiled, what is in its way, what is pending and what it would cost.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use crate::sql::{self, ModuleSchema};

/// What was made of the definition of a materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct ProgramRow {
    /// The view's key.
    pub mv_id: i32,
    /// Whether it has a fast refresh; if not, the clause and the reason are set.
    pub is_fast: bool,
    /// The clause that rules it out.
    pub refused_clause: Option<String>,
    /// Why.
    pub refused_reason: Option<String>,
    /// When it was compiled.
    pub compiled_at: DateTime<Utc>,
    /// Make its state tables, if it needs any.
    pub state_definitions: Vec<String>,
    /// Makes the index by which stored rows are found.
    pub row_index_definition: Option<String>,
}

const PROGRAM: &str =
    "SELECT mv_id, body IS NOT NULL AS is_fast, refused_clause, refused_reason, compiled_at,
                              array(SELECT s ->> 'definition' FROM jsonb_array_elements(states) WITH ORDINALITY AS t (s, n) ORDER BY n) AS state_definitions,
                              row_index_definition
                       FROM @.fast_programs";

/// What was made of one materialized view; none: nothing yet.
pub async fn program(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Option<ProgramRow>> {
    sql::query_as(schema.sql(&format!("{PROGRAM} WHERE mv_id = $1")))
        .bind(mv_id)
        .fetch_optional(connection)
        .await
}

/// What was made of every materialized view.
pub async fn programs(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<ProgramRow>> {
    sql::query_as(schema.sql(PROGRAM))
        .fetch_all(connection)
        .await
}

/// How many logged changes wait for each materialized view; left out where that can't be told.
pub async fn pending(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<(i32, i64)>> {
    let sql = schema.sql(
        "SELECT mv_id, pending
         FROM @.fast_programs CROSS JOIN LATERAL (SELECT @.pending_changes_of(mv_id)) AS p (pending)
         WHERE pending IS NOT NULL",
    );
    sql::query_as(sql).fetch_all(connection).await
}

/// What the next refresh would be now.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct OutlookRow {
    /// `none`, `fast` or `complete`.
    pub method: String,
    /// The form, should it be or become a complete one.
    pub form: String,
    /// Why this method.
    pub reason: String,
    /// How many logged changes wait.
    pub pending_rows: Option<i64>,
    /// Whether upkeep may make it a fast one: it is to be compiled, or a log is to be repaired.
    pub needs_upkeep: bool,
    /// What a fast refresh would cost, in milliseconds.
    pub fast_ms: Option<f64>,
    /// What a complete one would.
    pub complete_ms: Option<f64>,
}

/// What the next refresh of a materialized view would be, and why.
pub async fn of(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<OutlookRow> {
    let sql = schema.sql(
        "SELECT method, coalesce(form, '') AS form, coalesce(reason, '') AS reason, pending_rows, needs_upkeep, fast_ms, complete_ms
         FROM @.refresh_outlook($1)",
    );
    sql::query_as(sql).bind(mv_id).fetch_one(connection).await
}

/// A log that a fast refresh reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct LogRow {
    /// Its table, quoted where needed.
    pub log_name: String,
    /// Whose changes it holds.
    pub base_table: String,
    /// How many changes wait; unknown while the materialized view was not refreshed since it was compiled.
    pub pending_rows: Option<i64>,
    /// Why it can't be relied upon.
    pub problem: Option<String>,
}

/// The logs that the fast refresh of a materialized view reads.
pub async fn logs(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Vec<LogRow>> {
    sql::query_as(schema.sql("SELECT * FROM @.logs_outlook($1)"))
        .bind(mv_id)
        .fetch_all(connection)
        .await
}

/// Whether the session's user may compile materialized views, as the daemon does.
pub async fn may_install(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<bool> {
    let sql = schema.sql(
        "SELECT bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE'))
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = $1 AND p.proname IN ('ensure_log', 'install_program', 'record_refusal', 'perform_refresh')",
    );
    sql::query_scalar(sql)
        .bind(schema.name())
        .fetch_one(connection)
        .await
}

/// What keeps tables from being logged, and columns of tables from being read, for a materialized view of this owner:
/// as clause and reason.
pub async fn obstacle(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    owner: Oid,
    tables: &[u32],
    columns: &[(u32, String)],
) -> sqlx::Result<Option<(String, String)>> {
    let tables: Vec<Oid> = tables.iter().copied().map(Oid).collect();
    let of: Vec<Oid> = columns.iter().map(|(table, _)| Oid(*table)).collect();
    let columns: Vec<&str> = columns.iter().map(|(_, column)| column.as_str()).collect();
    // as ensure_log() and install_program() of the module schema will find
    let sql = schema.sql(
        "WITH module AS (SELECT n.nspowner AS role FROM pg_catalog.pg_namespace n WHERE n.nspname = $5)
         SELECT 'materialized view log', coalesce(
                    @.log_refusal(t.relation),
                    pg_catalog.format('the role of the module, \"%s\", may not create triggers on %s',
                                      pg_catalog.pg_get_userbyid(module.role), @.qualified_name(t.relation)))
         FROM pg_catalog.unnest($2) AS t (relation) CROSS JOIN module
         JOIN pg_catalog.pg_class c ON c.oid = t.relation
         WHERE @.log_refusal(t.relation) IS NOT NULL
            OR NOT pg_catalog.has_schema_privilege(module.role, c.relnamespace, 'USAGE')
            OR EXISTS (SELECT FROM @.log_members(t.relation) m WHERE NOT pg_catalog.has_table_privilege(module.role, m.member, 'TRIGGER'))
         UNION ALL
         SELECT 'privileges', pg_catalog.format('\"%s\" may not read column \"%s\" of %s itself',
                                                pg_catalog.pg_get_userbyid($1), l.name, @.qualified_name(l.relation))
         FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) AS l (relation, name)
         JOIN pg_catalog.pg_class c ON c.oid = l.relation
         WHERE NOT (pg_catalog.has_schema_privilege($1, c.relnamespace, 'USAGE')
                    AND pg_catalog.has_column_privilege($1, l.relation, l.name, 'SELECT'))
         LIMIT 1",
    );
    sql::query_as(sql)
        .bind(owner)
        .bind(tables)
        .bind(of)
        .bind(columns)
        .bind(schema.name())
        .fetch_optional(connection)
        .await
}

/// The logs that there are of these tables: table and number.
pub async fn log_ids(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    tables: &[u32],
) -> sqlx::Result<Vec<(Oid, i32)>> {
    let tables: Vec<Oid> = tables.iter().copied().map(Oid).collect();
    let sql = schema.sql(
        "SELECT base_table::oid, log_id FROM @.materialized_view_logs WHERE base_table = ANY ($1)",
    );
    sql::query_as(sql).bind(tables).fetch_all(connection).await
}
