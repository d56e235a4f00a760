//! What there is of the module's in a schema of the user's, and what there should not be at all.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// Who the module belongs to, and what others need to use it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Ownership {
    /// The role that has installed it.
    pub owner: String,
    /// Whether that is a superuser.
    pub is_superuser: bool,
    /// The role whose members may call its functions.
    pub executors: String,
}

/// Reads it.
pub async fn ownership(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Ownership> {
    let sql = schema.sql(
        "SELECT r.rolname::text AS owner, r.rolsuper AS is_superuser, @.module_role('execute')::text AS executors
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner WHERE n.nspname = $1",
    );
    sql::query_as(sql)
        .bind(schema.name())
        .fetch_one(connection)
        .await
}

/// The materialized views in a schema, those that read others first.
pub async fn views_in(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<Vec<i32>> {
    let sql = schema.sql(
        "SELECT mv_id FROM @.materialized_views WHERE mv_schema = $1 ORDER BY @.dependency_level(mv_id) DESC, mv_id",
    );
    sql::query_scalar(sql)
        .bind(name)
        .fetch_all(connection)
        .await
}

/// Whether there are materialized views in other schemas than these.
pub async fn has_others(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    names: &[&str],
) -> sqlx::Result<bool> {
    let sql = schema.sql(
        "SELECT EXISTS (SELECT FROM @.materialized_views WHERE mv_schema::text <> ALL ($1))
             OR EXISTS (SELECT FROM @.materialized_view_logs l JOIN pg_catalog.pg_class c ON c.oid = l.base_table
                        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname::text <> ALL ($1))",
    );
    sql::query_scalar(sql)
        .bind(names)
        .fetch_one(connection)
        .await
}

/// Drops the logs of the tables in a schema; how many.
pub async fn drop_logs_in(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<i64> {
    let sql = schema.sql(
        "SELECT count(*) FROM (
             SELECT @.drop_log(l.log_id)
             FROM @.materialized_view_logs l
             JOIN pg_catalog.pg_class c ON c.oid = l.base_table
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
             ORDER BY l.log_id OFFSET 0) AS dropped",
    );
    sql::query_scalar(sql)
        .bind(name)
        .fetch_one(connection)
        .await
}

/// Deletes what the history and the audits say of materialized views.
pub async fn forget(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    views: &[i32],
) -> sqlx::Result<()> {
    for sql in [
        "DELETE FROM @.refresh_history WHERE mv_id = ANY ($1)",
        "DELETE FROM @.audits WHERE mv_id = ANY ($1)",
    ] {
        let delete = sql::query(schema.sql(sql)).bind(views);
        delete.execute(&mut *connection).await?;
    }
    Ok(())
}

/// What the dictionary has on these schemas, in words.
pub async fn traces(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    names: &[&str],
) -> sqlx::Result<Vec<String>> {
    let sql = schema.sql(
        "SELECT pg_catalog.format('dictionary row of materialized view %s.%s', mv_schema, mv_name)
         FROM @.materialized_view_settings WHERE mv_schema::text = ANY ($1) OR v_schema::text = ANY ($1)
         UNION ALL
         SELECT pg_catalog.format('log of %s', base_name) FROM @.materialized_view_logs WHERE pg_catalog.split_part(base_name, '.', 1) IN (SELECT pg_catalog.quote_ident(q) FROM pg_catalog.unnest($1) q)
         UNION ALL
         SELECT pg_catalog.format('history of %s', mv_name) FROM @.refresh_history WHERE pg_catalog.split_part(mv_name, '.', 1) IN (SELECT pg_catalog.quote_ident(q) FROM pg_catalog.unnest($1) q)
         ORDER BY 1",
    );
    sql::query_scalar(sql)
        .bind(names)
        .fetch_all(connection)
        .await
}

/// Objects of materialized views and logs that are gone, in words.
pub async fn strays(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> sqlx::Result<Vec<String>> {
    let sql = schema.sql(
        "WITH objects AS (
             SELECT 'function' AS kind, p.proname::text AS name FROM pg_catalog.pg_proc p
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname = $1
             UNION ALL
             SELECT 'relation', c.relname::text FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 WHERE c.relkind IN ('r', 'v')
             UNION ALL
             SELECT 'trigger of ' || t.tgrelid::regclass, p.proname::text FROM pg_catalog.pg_trigger t
             JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname = $1 WHERE NOT t.tgisinternal
         ), numbered AS (
             SELECT kind, name, pg_catalog.split_part(name, '$', 1) AS subject, pg_catalog.split_part(name, '$', 2)::integer AS number
             FROM objects WHERE name ~ '^[a-z_]+\\$[0-9]+$'
         )
         SELECT pg_catalog.concat_ws(' ', kind, name) FROM numbered
         WHERE CASE WHEN subject IN ('capture', 'log', 'guard')
                    THEN number NOT IN (SELECT log_id FROM @.materialized_view_logs)
                    ELSE number NOT IN (SELECT mv_id FROM @.materialized_view_settings) END
         UNION ALL
         SELECT pg_catalog.format('log of %s, which is gone', l.base_name) FROM @.materialized_view_logs l
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = l.base_table)
         UNION ALL
         SELECT pg_catalog.format('source %s of materialized view %s, which is gone', s.source::oid, s.mv_id) FROM @.materialized_view_sources s
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.source)
         ORDER BY 1",
    );
    sql::query_scalar(sql)
        .bind(schema.name())
        .fetch_all(connection)
        .await
}
