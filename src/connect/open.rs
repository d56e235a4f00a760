//! Opening connections.

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Executor, Row};

use super::failure::ConnectError;
use super::settings::ConnectionSettings;
use super::silence;
use crate::sql::composed;

/// The oldest major version of `PostgreSQL` that will do.
pub const OLDEST_VERSION: u32 = 15;

/// Opens a connection, within the configured time. `role` tells the session apart in `pg_stat_activity`. Where several
/// servers are configured, to the one that can be written to.
pub async fn open(settings: &ConnectionSettings, role: &str) -> Result<PgConnection, ConnectError> {
    if settings.servers() == 1 {
        return open_one(settings, role).await;
    }
    let mut failures = Vec::new();
    for (number, server) in settings.each() {
        match open_writable(&server, role).await {
            Ok(connection) => {
                settings.found_writable(number);
                return Ok(connection);
            }
            Err(failure) => failures.push((server.server(), failure)),
        }
    }
    Err(ConnectError::nowhere(settings, &failures))
}

/// Whether nothing can be written: on a standby, or while that is the default.
pub async fn is_read_only(connection: &mut PgConnection) -> sqlx::Result<bool> {
    // without values, so in one message
    let sql = "SELECT pg_catalog.pg_is_in_recovery() \
         OR pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool";
    let row = sqlx::raw_sql(sql).fetch_one(connection).await?;
    row.try_get(0)
}

async fn open_writable(
    server: &ConnectionSettings,
    role: &str,
) -> Result<PgConnection, ConnectError> {
    let mut connection = open_one(server, role).await?;
    let asked = tokio::time::timeout(server.connect_timeout(), is_read_only(&mut connection));
    match asked.await {
        Ok(Ok(false)) => Ok(connection),
        Ok(Ok(true)) => {
            // The answer is the same whether the server takes note of the goodbye or not.
            let _ = connection.close().await;
            Err(ConnectError::read_only(server))
        }
        Ok(Err(error)) => Err(ConnectError::classify(server, &error)),
        Err(_) => Err(ConnectError::timeout(server)),
    }
}

async fn open_one(settings: &ConnectionSettings, role: &str) -> Result<PgConnection, ConnectError> {
    let options = settings.options(role)?;
    let opening = async {
        let mut connection = options.connect().await?;
        if let Some(number) = too_old(&connection) {
            // The answer is the same whether the server takes note of the goodbye or not.
            let _ = connection.close().await;
            return Ok(Err(number));
        }
        // not among the options, which a transaction pooler may refuse
        let keepalive = silence::keepalive(settings.broken_after());
        connection
            .execute(sqlx::raw_sql(composed(keepalive)))
            .await?;
        Ok(Ok(connection))
    };
    tokio::time::timeout(settings.connect_timeout(), opening)
        .await
        .map_err(|_| ConnectError::timeout(settings))?
        .map_err(|error: sqlx::Error| ConnectError::classify(settings, &error))?
        .map_err(|number| ConnectError::version(settings, number, OLDEST_VERSION))
}

fn too_old(connection: &PgConnection) -> Option<u32> {
    connection
        .server_version_num()
        .filter(|number| number / 10_000 < OLDEST_VERSION)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
