//! Opening connections.

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Executor};

use super::failure::ConnectError;
use super::settings::ConnectionSettings;
use super::silence;
use crate::sql::composed;

/// The oldest major version of `PostgreSQL` that will do.
pub const OLDEST_VERSION: u32 = 15;

/// Opens a connection, within the configured time. `role` tells the session apart in `pg_stat_activity`.
pub async fn open(settings: &ConnectionSettings, role: &str) -> Result<PgConnection, ConnectError> {
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
