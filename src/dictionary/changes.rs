//! What users change: materialized views created, adopted, altered and dropped. Names mean what they mean in the
//! session's `search_path`.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::sql::{self, ModuleSchema, composed, quote_identifier};

/// When a materialized view is refreshed; all `None`: only on request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timing {
    /// Refresh rate in seconds.
    pub rate_in_sec: Option<i32>,
    /// Five-field crontab text.
    pub cron: Option<String>,
    /// The crontab's time zone; UTC where absent.
    pub time_zone: Option<String>,
}

/// A materialized view to be created: from a query or from a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewView<'a> {
    /// Its name, as written in SQL.
    pub name: &'a str,
    /// Its query.
    pub query: Option<&'a str>,
    /// The name of its defining view, as written in SQL.
    pub view: Option<&'a str>,
    /// When it is refreshed.
    pub timing: Timing,
    /// `auto`, `fast` or `complete`.
    pub method: Option<&'a str>,
    /// `in_place` or `rebuild`.
    pub complete_form: Option<&'a str>,
    /// Its refresh group.
    pub group: Option<&'a str>,
    /// Whether it is left empty for now.
    pub without_data: bool,
    /// Whose it is, if not the session's user's.
    pub owner: Option<&'a str>,
}

/// Creates a materialized view; its key.
pub async fn create(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    view: &NewView<'_>,
) -> sqlx::Result<i32> {
    let Some(owner) = view.owner else {
        return create_as_oneself(connection, schema, view).await;
    };
    let mut transaction = connection.begin().await?;
    let act = format!("SET LOCAL ROLE {}", quote_identifier(owner));
    transaction.execute(composed(act)).await?;
    let mv_id = create_as_oneself(&mut transaction, schema, view).await?;
    transaction.execute("SET LOCAL ROLE TO DEFAULT").await?;
    transaction.commit().await?;
    Ok(mv_id)
}

async fn create_as_oneself(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    view: &NewView<'_>,
) -> sqlx::Result<i32> {
    let sql = schema.sql(
        "SELECT @.create_materialized_view(
             mv_name => $1, query => $2, view_name => $3, refresh_rate_in_sec => $4, refresh_cron => $5,
             refresh_time_zone => $6, refresh_method => coalesce($7, 'auto'),
             complete_form => coalesce($8, 'in_place'), refresh_group => $9, with_data => $10)",
    );
    sql::query_scalar(sql)
        .bind(view.name)
        .bind(view.query)
        .bind(view.view)
        .bind(view.timing.rate_in_sec)
        .bind(&view.timing.cron)
        .bind(&view.timing.time_zone)
        .bind(view.method)
        .bind(view.complete_form)
        .bind(view.group)
        .bind(!view.without_data)
        .fetch_one(connection)
        .await
}

/// Asks whoever refreshes to fill a materialized view that was created without data.
pub async fn request_fill(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<()> {
    let sql = schema.sql(
        "UPDATE @.materialized_view_settings SET requested_at = pg_catalog.clock_timestamp() WHERE mv_id = $1",
    );
    sql::query(sql).bind(mv_id).execute(connection).await?;
    Ok(())
}

/// Drops a materialized view; an adopted native one only leaves the schedule.
pub async fn drop(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<()> {
    let sql = schema.sql("SELECT @.drop_materialized_view($1)");
    sql::query(sql).bind(name).execute(connection).await?;
    Ok(())
}

/// Drops the materialized view of this key.
pub async fn drop_by_id(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<()> {
    let sql = schema.sql("SELECT @.drop_by_id($1)");
    sql::query(sql).bind(mv_id).execute(connection).await?;
    Ok(())
}

/// Ends the suspension of a materialized view, or enables it again.
pub async fn resume(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<()> {
    let sql = schema.sql("SELECT @.resume_materialized_view($1)");
    sql::query(sql).bind(name).execute(connection).await?;
    Ok(())
}

/// Settings to change; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// When it is refreshed, as a whole.
    pub timing: Option<Timing>,
    /// `auto`, `fast` or `complete`.
    pub method: Option<&'a str>,
    /// `in_place` or `rebuild`.
    pub complete_form: Option<&'a str>,
    /// The refresh group, or none.
    pub group: Option<Option<&'a str>>,
    /// The user's switch.
    pub enabled: Option<bool>,
}

/// Changes settings of a materialized view, all in one.
pub async fn alter(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    changes: &Changes<'_>,
) -> sqlx::Result<()> {
    let sql = schema.sql(
        "UPDATE @.materialized_views
         SET refresh_rate_in_sec = CASE WHEN $2 THEN $3 ELSE refresh_rate_in_sec END,
             refresh_cron = CASE WHEN $2 THEN $4 ELSE refresh_cron END,
             refresh_time_zone = CASE WHEN $2 THEN $5 ELSE refresh_time_zone END,
             refresh_method = coalesce($6, refresh_method),
             complete_form = coalesce($7, complete_form),
             refresh_group = CASE WHEN $8 THEN $9 ELSE refresh_group END,
             enabled = coalesce($10, enabled)
         WHERE mv_id = $1",
    );
    let timing = changes.timing.clone().unwrap_or_default();
    sql::query(sql)
        .bind(mv_id)
        .bind(changes.timing.is_some())
        .bind(timing.rate_in_sec)
        .bind(timing.cron)
        .bind(timing.time_zone)
        .bind(changes.method)
        .bind(changes.complete_form)
        .bind(changes.group.is_some())
        .bind(changes.group.flatten())
        .bind(changes.enabled)
        .execute(connection)
        .await?;
    Ok(())
}

/// Puts a native `MATERIALIZED VIEW` on a schedule; its key.
pub async fn adopt(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
    timing: &Timing,
) -> sqlx::Result<i32> {
    let sql = schema.sql("SELECT @.adopt_materialized_view($1, $2, $3, $4)");
    sql::query_scalar(sql)
        .bind(name)
        .bind(timing.rate_in_sec)
        .bind(&timing.cron)
        .bind(&timing.time_zone)
        .fetch_one(connection)
        .await
}

/// The native `MATERIALIZED VIEW`s that are not adopted yet and that the session's user may act for: their names with
/// their schemas, quoted where needed.
pub async fn not_adopted(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<String>> {
    let sql = schema.sql(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'm' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
           AND NOT EXISTS (SELECT FROM @.materialized_view_settings s WHERE s.mv_relation = c.oid)
         ORDER BY n.nspname, c.relname",
    );
    sql::query_scalar(sql).fetch_all(connection).await
}
