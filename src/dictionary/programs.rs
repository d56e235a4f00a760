//! Fast-refresh programs: which are to be compiled, from what, and where they are kept.

use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;
use sqlx::types::Json;
use sqlx::{Connection, Executor, FromRow};

use super::catalog::{self, ServerFacts};
use super::definitions;
use crate::connect::silence;
use crate::definition::Relation;
use crate::sql::{self, ModuleSchema};

/// A materialized view whose fast refresh is to be compiled.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ToCompile {
    /// The dictionary's key.
    pub mv_id: i32,
    /// The name with its schema, quoted where needed.
    pub mv_name: String,
}

/// The materialized views that were never compiled by this revision of the compiler, or have changed since.
pub async fn to_compile(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    compiler: i32,
) -> sqlx::Result<Vec<ToCompile>> {
    sql::query_as(schema.sql("SELECT mv_id, mv_name FROM @.programs_to_compile($1)"))
        .bind(compiler)
        .fetch_all(connection)
        .await
}

/// What a program is compiled from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The schema of the materialized view.
    pub mv_schema: String,
    /// Its name.
    pub mv_name: String,
    /// Its refresh method: `auto`, `fast` or `complete`.
    pub refresh_method: String,
    /// The query, with every name qualified.
    pub definition: String,
    /// The relations that it reads, views among them.
    pub relations: Vec<Relation>,
    /// Changes whenever any of this changes.
    pub inputs: String,
}

#[derive(FromRow)]
struct Subject {
    mv_schema: String,
    mv_name: String,
    refresh_method: String,
    view: Oid,
    owner: Oid,
    inputs: Option<String>,
}

/// Reads what the program of a materialized view is compiled from; none where its relations or itself are gone.
///
/// Runs in a transaction of its own, or a savepoint, with the settings that every refresh of the view runs with: they
/// decide how constants are printed and read.
pub async fn source(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    facts: &ServerFacts,
    mv_id: i32,
) -> sqlx::Result<Option<Source>> {
    let mut transaction = connection.begin().await?;
    transaction
        .execute("SET LOCAL search_path TO pg_catalog")
        .await?;
    transaction.execute(silence::IDLE_LIMIT).await?;
    let read = read_source(&mut transaction, schema, facts, mv_id).await;
    transaction.rollback().await?;
    read
}

/// Reads the same of a view that may become the defining view of a materialized view, for which an invented name
/// stands. In the caller's transaction, whose `search_path` becomes `pg_catalog`.
pub async fn source_of_view(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    facts: &ServerFacts,
    subject: &definitions::Subject,
) -> sqlx::Result<Source> {
    connection
        .execute("SET LOCAL search_path TO pg_catalog")
        .await?;
    let (definition, relations) =
        definition(connection, schema, facts, subject.source, subject.owner).await?;
    Ok(Source {
        mv_schema: "public".to_owned(),
        mv_name: "new_materialized_view".to_owned(),
        refresh_method: "auto".to_owned(),
        definition,
        relations,
        inputs: String::new(),
    })
}

async fn read_source(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    facts: &ServerFacts,
    mv_id: i32,
) -> sqlx::Result<Option<Source>> {
    // the inputs first: what changes between this and the rest will be noticed by the fingerprint
    let subject: Option<Subject> = sql::query_as(schema.sql(
        "SELECT n.nspname::text AS mv_schema, c.relname::text AS mv_name, s.refresh_method, v.oid AS view, c.relowner AS owner,
                @.inputs_fingerprint(s.mv_id) AS inputs
         FROM @.materialized_view_settings s
         JOIN pg_class c ON c.oid = s.mv_relation
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_class v ON v.oid = s.v_relation AND v.relkind = 'v'
         WHERE s.mv_id = $1 AND s.kind = 'table'",
    ))
    .bind(mv_id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(subject) = subject else {
        return Ok(None);
    };
    use_settings_of(connection, schema, mv_id).await?;
    let (definition, relations) =
        definition(connection, schema, facts, subject.view, subject.owner).await?;
    Ok(Some(Source {
        mv_schema: subject.mv_schema,
        mv_name: subject.mv_name,
        refresh_method: subject.refresh_method,
        definition,
        relations,
        inputs: subject.inputs.unwrap_or_default(),
    }))
}

async fn definition(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    facts: &ServerFacts,
    view: Oid,
    owner: Oid,
) -> sqlx::Result<(String, Vec<Relation>)> {
    let text = sql::query_scalar("SELECT pg_get_viewdef($1)")
        .bind(view)
        .fetch_one(&mut *connection)
        .await?;
    let relations = catalog::relations(connection, schema, facts, view.0, owner.0).await?;
    Ok((text, relations))
}

async fn use_settings_of(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<()> {
    let sql = schema.sql(
        "SELECT count(set_config(k.key, k.value, true))
         FROM @.materialized_view_settings s, jsonb_each_text(s.session_settings) k
         WHERE s.mv_id = $1 AND @.kept_session_settings() ? k.key",
    );
    sql::query(sql).bind(mv_id).execute(connection).await?;
    Ok(())
}

/// Makes sure that columns of a table are logged; the log's number.
pub async fn ensure_log(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    table: u32,
    columns: &[String],
    lock_timeout_ms: i32,
) -> sqlx::Result<i32> {
    sql::query_scalar(schema.sql("SELECT @.ensure_log($1::oid::regclass, $2::name[], $3)"))
        .bind(Oid(table))
        .bind(columns)
        .bind(lock_timeout_ms)
        .fetch_one(connection)
        .await
}

/// A log and the columns of it that a program reads.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UsedLog {
    /// Its number.
    pub log_id: i32,
    /// The columns' numbers.
    pub attnums: Vec<i16>,
}

/// A compiled program.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The statements of its function.
    pub body: String,
    /// The settings that its function runs with.
    pub settings: &'static [(&'static str, &'static str)],
    /// Whether it needs those with which the materialized view was created as well.
    pub reads_settings: bool,
    /// The logs it reads.
    pub logs: Vec<UsedLog>,
    /// The index by which it finds stored rows, if it needs one, as `CREATE INDEX`.
    pub row_index: Option<String>,
    /// Its state: the `tables` (`table`, `definition`, `columns`, `rows`, `difference`), and the `outputs` told from them.
    pub state: Option<Value>,
    /// How its rows are compared with those of the query, if not to the last digit: the `columns` that are not, the `keys` (the
    /// names of both not quoted), `bounds` and `rows`.
    pub tolerance: Option<Value>,
    /// How it works, for `explain`.
    pub plan: Value,
}

/// Makes a program the fast refresh of a materialized view: `installed`, `busy`, `changed` (since it was read), or
/// why it can't be.
pub async fn install(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    compiler: i32,
    inputs: &str,
    program: &Program,
) -> sqlx::Result<String> {
    let settings: Vec<String> = program
        .settings
        .iter()
        .map(|(name, value)| format!("SET {name} TO {value}"))
        .collect();
    sql::query_scalar(
        schema.sql("SELECT @.install_program($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"),
    )
    .bind(mv_id)
    .bind(compiler)
    .bind(inputs)
    .bind(&program.body)
    .bind(settings)
    .bind(program.reads_settings)
    .bind(Json(&program.logs))
    .bind(&program.row_index)
    .bind(program.state.as_ref().map(Json))
    .bind(program.tolerance.as_ref().map(Json))
    .bind(Json(&program.plan))
    .fetch_one(connection)
    .await
}

/// Notes why a materialized view can't be refreshed fast.
pub async fn refuse(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    compiler: i32,
    clause: &str,
    reason: &str,
) -> sqlx::Result<()> {
    sql::query(schema.sql("SELECT @.record_refusal($1, $2, $3, $4)"))
        .bind(mv_id)
        .bind(compiler)
        .bind(clause)
        .bind(reason)
        .execute(connection)
        .await?;
    Ok(())
}
