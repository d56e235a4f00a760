//! What a materialized view is made of, or a query that may become one: read from the catalog.
//!
//! Names in these statements are resolved in `pg_catalog`: call [`use_catalog_names`] first.

use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;
use sqlx::{Connection, Executor, FromRow};

use crate::sql::{self, ModuleSchema, composed};

/// Makes `pg_catalog` the `search_path` until the end of the transaction.
pub async fn use_catalog_names(connection: &mut PgConnection) -> sqlx::Result<()> {
    connection
        .execute("SET LOCAL search_path TO pg_catalog, pg_temp")
        .await?;
    Ok(())
}

/// The command by which the server parses and analyses a query, without running it.
#[must_use]
pub fn check_command(query: &str) -> String {
    format!("PREPARE mvrefreshd_query AS\n{}", without_semicolon(query))
}

/// Carries out a [`check_command`]. The driver's own way of preparing knows no multiranges.
pub async fn check_query(connection: &mut PgConnection, command: &str) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    // a pooler's session may know the name already, and must not keep it
    transaction.execute("DEALLOCATE ALL").await?;
    sql::query(composed(command.to_owned()))
        .execute(&mut transaction)
        .await?;
    transaction.execute("DEALLOCATE ALL").await?;
    transaction.rollback().await
}

fn without_semicolon(query: &str) -> &str {
    let query = query.trim_end();
    query.strip_suffix(';').unwrap_or(query)
}

/// The command that makes a query a view for the rest of the transaction or session.
#[must_use]
pub fn temporary_view_command(query: &str) -> String {
    // in parentheses, so that only one query fits in; without its semicolon, as create_materialized_view takes it
    let query = without_semicolon(query);
    format!("CREATE TEMPORARY VIEW mvrefreshd_query AS (\n{query}\n)")
}

/// Carries out a [`temporary_view_command`].
pub async fn create_temporary_view(
    connection: &mut PgConnection,
    command: &str,
) -> sqlx::Result<()> {
    sql::query(composed(command.to_owned()))
        .execute(connection)
        .await?;
    Ok(())
}

/// The relations to look at.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Subject {
    /// What holds the query: the defining view, or the native materialized view itself.
    pub source: Oid,
    /// The materialized view; for a query alone, what holds it.
    pub stored: Oid,
    /// In whose name it is refreshed.
    pub owner: Oid,
}

/// Of a materialized view; none where one of its relations is gone.
pub async fn subject(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Option<Subject>> {
    let sql = schema.sql(
        "SELECT v.oid AS source, m.oid AS stored, m.relowner AS owner
         FROM @.materialized_view_settings s
         JOIN pg_class m ON m.oid = s.mv_relation
         JOIN pg_class v ON v.oid = coalesce(s.v_relation, s.mv_relation)
         WHERE s.mv_id = $1",
    );
    sql::query_as(sql)
        .bind(mv_id)
        .fetch_optional(connection)
        .await
}

/// Of a query that was made a temporary view.
pub async fn temporary_subject(connection: &mut PgConnection) -> sqlx::Result<Subject> {
    let sql = "SELECT oid AS source, oid AS stored, relowner AS owner
               FROM pg_class WHERE oid = 'pg_temp.mvrefreshd_query'::regclass";
    sql::query_as(sql).fetch_one(connection).await
}

/// Of a view, by its name in this session's `search_path`, for a materialized view that the session's user would create
/// of it.
pub async fn view_subject(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<Subject> {
    let sql = schema.sql(
        "SELECT v.oid::pg_catalog.oid AS source, v.oid::pg_catalog.oid AS stored,
                (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) AS owner
         FROM @.existing_view(pg_catalog.current_setting('search_path'), $1) AS v (oid)",
    );
    sql::query_as(sql).bind(name).fetch_one(connection).await
}

/// What keeps a materialized view from being refreshed, as far as the catalog tells, and the remedy.
pub async fn problem(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Option<(String, Option<String>)>> {
    let sql = schema.sql("SELECT problem, remedy FROM @.view_problem($1)");
    sql::query_as(sql)
        .bind(mv_id)
        .fetch_optional(connection)
        .await
}

/// A query's text, every name qualified.
pub async fn text(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    source: Oid,
) -> sqlx::Result<String> {
    let sql = schema.sql("SELECT @.definition_text($1)");
    sql::query_scalar(sql)
        .bind(source)
        .fetch_one(connection)
        .await
}

/// A relation that a query reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct ReadRow {
    /// The name with its schema, quoted where needed.
    pub name: String,
    /// `table`, `view`, `materialized view`, …
    pub kind: String,
    /// The view through which it is read; none if the query reads it itself.
    pub via: Option<String>,
    /// In whose name it is read.
    pub reader: String,
    /// The privilege that the reader lacks, as the statement that grants it.
    pub missing_grant: Option<String>,
}

/// What a query reads, through views of any depth, with the privileges that are missing.
pub async fn reads(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    subject: &Subject,
) -> sqlx::Result<Vec<ReadRow>> {
    // A view's relations are read in the name of its owner, or of its reader if it is a security invoker view. The
    // server checks the columns that are used; a relation used without any column needs SELECT on some column.
    let sql = schema.sql(
        "WITH RECURSIVE reads AS (
             SELECT $1 AS relation, NULL::oid AS via, $2 AS reader, 0 AS depth,
                    has_any_column_privilege($2, $1, 'SELECT') AS allowed
             UNION
             SELECT below.relation, r.relation, below.reader, r.depth + 1, below.allowed
             FROM reads r CROSS JOIN LATERAL (
                 SELECT d.refobjid AS relation, reader.role AS reader,
                        bool_and(CASE WHEN d.refobjsubid > 0
                                      THEN has_column_privilege(reader.role, d.refobjid, d.refobjsubid::int2, 'SELECT')
                                      ELSE has_any_column_privilege(reader.role, d.refobjid, 'SELECT') END) AS allowed
                 FROM pg_class c
                 JOIN pg_rewrite w ON w.ev_class = c.oid
                 JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
                 JOIN pg_class read ON read.oid = d.refobjid AND read.relkind IN ('r', 'p', 'v', 'm', 'f')
                 CROSS JOIN LATERAL (
                     SELECT CASE WHEN EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
                                              WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
                                 THEN r.reader
                                 -- also of a temporary view: its owner is whoever creates the materialized view
                                 ELSE c.relowner END AS role
                 ) reader
                 WHERE c.oid = r.relation AND (c.relkind = 'v' OR c.oid = $1) AND r.depth < 100
                 GROUP BY d.refobjid, reader.role
             ) below
         )
         SELECT @.qualified_name(r.relation) AS name,
                CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                               WHEN 'f' THEN 'foreign table' ELSE 'native materialized view' END AS kind,
                CASE WHEN r.via <> $1 THEN @.qualified_name(r.via) END AS via,
                pg_get_userbyid(r.reader)::text AS reader,
                CASE WHEN NOT r.allowed THEN format('GRANT SELECT ON %s TO %I;', @.qualified_name(r.relation),
                                                    pg_get_userbyid(r.reader)) END AS missing_grant
         FROM reads r JOIN pg_class c ON c.oid = r.relation
         -- the query's own view is worth a word only where it can't be read
         WHERE r.depth > 0 OR NOT r.allowed
         GROUP BY r.relation, r.via, r.reader, r.allowed, c.relkind
         ORDER BY min(r.depth), name",
    );
    let mut rows: Vec<ReadRow> = sql::query_as(sql)
        .bind(subject.source)
        .bind(subject.owner)
        .fetch_all(&mut *connection)
        .await?;
    let ours = of_the_module(connection, schema).await?;
    for row in rows.iter_mut().filter(|row| ours.contains(&row.name)) {
        "materialized view".clone_into(&mut row.kind);
    }
    Ok(rows)
}

async fn of_the_module(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<String>> {
    let sql = schema.sql(
        "SELECT @.qualified_name(mv_relation) FROM @.materialized_view_settings
         WHERE @.qualified_name(mv_relation) IS NOT NULL",
    );
    sql::query_scalar(sql).fetch_all(connection).await
}

/// Something in a query whose result changes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct UnsteadyRow {
    /// The function, or the keyword of SQL.
    pub name: String,
    /// Whether it may differ from row to row (a volatile function), rather than from transaction to transaction.
    pub is_volatile: bool,
}

/// What in a query, or in the views it reads, makes its result change while the base tables don't.
pub async fn unsteady(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    source: Oid,
) -> sqlx::Result<Vec<UnsteadyRow>> {
    // pg_depend has no entries for built-in functions, so they are looked up in the rules themselves. The first nine
    // values of SQLValueFunctionOp are the dates and times.
    let sql = schema.sql(
        "WITH rules AS MATERIALIZED (
             SELECT w.ev_action::text AS action
             FROM @.read_relations($1) r JOIN pg_rewrite w ON w.ev_class = r.relation
             WHERE r.relkind = 'v' OR r.relation = $1
         )
         SELECT p.oid::regprocedure::text AS name, p.provolatile = 'v' AS is_volatile
         FROM rules CROSS JOIN regexp_matches(rules.action, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\\d+)', 'g') AS used
         JOIN pg_proc p ON p.oid = used[1]::oid
         WHERE p.provolatile = 'v'
            OR p.oid IN ('now()'::regprocedure, 'transaction_timestamp()'::regprocedure, 'statement_timestamp()'::regprocedure)
         UNION
         SELECT (ARRAY['CURRENT_DATE', 'CURRENT_TIME', 'CURRENT_TIME', 'CURRENT_TIMESTAMP', 'CURRENT_TIMESTAMP',
                       'LOCALTIME', 'LOCALTIME', 'LOCALTIMESTAMP', 'LOCALTIMESTAMP'])[used[1]::integer + 1], false
         FROM rules CROSS JOIN regexp_matches(rules.action, '\\{SQLVALUEFUNCTION :op (\\d+)', 'g') AS used
         WHERE used[1]::integer < 9
         ORDER BY 1",
    );
    sql::query_as(sql).bind(source).fetch_all(connection).await
}

/// A column of a materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct ColumnRow {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// Whether its type has an equality; if not, values are compared as text.
    pub has_equality: bool,
}

/// The columns in their order.
pub async fn columns(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    relation: Oid,
) -> sqlx::Result<Vec<ColumnRow>> {
    let sql = schema.sql(
        "SELECT column_name::text AS name, format_type(column_type, type_modifier) AS type,
                @.has_equality(column_type) AS has_equality
         FROM @.relation_columns($1) ORDER BY ordinal",
    );
    sql::query_as(sql)
        .bind(relation)
        .fetch_all(connection)
        .await
}

/// The unique index by which stored and fresh rows are paired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct KeyRow {
    /// Its name, with its schema.
    pub index: String,
    /// Its columns.
    pub columns: Vec<String>,
}

/// The pairing key of a materialized view; without one, rows are paired by a hash of all their columns.
pub async fn key(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    relation: Oid,
) -> sqlx::Result<Option<KeyRow>> {
    let sql = schema.sql(
        "SELECT key_index::regclass::text AS index, key_columns::text[] AS columns FROM @.matching_key($1)",
    );
    sql::query_as(sql)
        .bind(relation)
        .fetch_optional(connection)
        .await
}

/// The session settings that every refresh runs with, sorted.
pub async fn session_settings(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Vec<(String, String)>> {
    let sql = schema.sql(
        "SELECT k.key, k.value FROM @.materialized_view_settings s, jsonb_each_text(s.session_settings) k
         WHERE s.mv_id = $1 ORDER BY k.key",
    );
    sql::query_as(sql).bind(mv_id).fetch_all(connection).await
}

/// The functions that refresh a materialized view: name and definition.
pub async fn refresh_functions(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<Vec<(String, String)>> {
    let sql = "SELECT p.proname::text, pg_get_functiondef(p.oid)
               FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
               WHERE n.nspname = $1 AND p.proname IN ('complete_in_place$' || $2, 'complete_rebuild$' || $2, 'fast$' || $2)
               ORDER BY p.proname";
    sql::query_as(sql)
        .bind(schema.name())
        .bind(mv_id.to_string())
        .fetch_all(connection)
        .await
}
