//! The settings of a user's session.

use sqlx::postgres::PgConnection;

use crate::sql::{self, ModuleSchema};

/// Gives a session the settings that it would have had without this program's driver, which starts every session with
/// `TimeZone` UTC and a `DateStyle` of its own. A materialized view keeps the settings of the session
/// that creates it, and has to come out as if it had been created from psql.
///
/// `options` are the configured ones; then come those of the role and the database. The server's own time zone can't
/// be seen any more: the one of its log is the same from `initdb` on, unless somebody has set them apart.
pub async fn restore_own_settings(
    connection: &mut PgConnection,
    options: &[(String, String)],
) -> sqlx::Result<()> {
    let (names, values): (Vec<&str>, Vec<&str>) = options
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .unzip();
    let sql = "
        SELECT pg_catalog.set_config(chosen.name, chosen.value, false)
        FROM (
            SELECT DISTINCT ON (pg_catalog.lower(known.name)) known.name, known.value
            FROM (
                SELECT given.name, given.value, 1 AS rank
                FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),
                                pg_catalog.unnest($2::pg_catalog.text[])) AS given (name, value)
                UNION ALL
                SELECT pg_catalog.split_part(setting, '=', 1),
                       pg_catalog.substr(setting, pg_catalog.strpos(setting, '=') + 1),
                       CASE WHEN s.setrole <> 0 AND s.setdatabase <> 0 THEN 2 WHEN s.setrole <> 0 THEN 3
                            WHEN s.setdatabase <> 0 THEN 4 ELSE 5 END
                FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS setting
                WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
                  AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
                UNION ALL
                SELECT 'TimeZone', pg_catalog.current_setting('log_timezone'), 6
            ) AS known
            WHERE pg_catalog.lower(known.name) IN ('timezone', 'datestyle')
            ORDER BY pg_catalog.lower(known.name), known.rank
        ) AS chosen";
    sql::query(sql)
        .bind(names)
        .bind(values)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a function, table or view of this name belongs to the module.
pub async fn is_of_module(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> sqlx::Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid AND p.proname = $2)
                   OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = $2)
               FROM pg_catalog.pg_namespace n WHERE n.nspname = $1";
    let is_of_module: Option<bool> = sql::query_scalar(sql)
        .bind(schema.name())
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(is_of_module.unwrap_or_default())
}
