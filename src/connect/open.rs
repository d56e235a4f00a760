//! Opening connections.

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};

use super::failure::ConnectError;
use super::settings::ConnectionSettings;

/// The oldest major version of `PostgreSQL` that will do.
pub const OLDEST_VERSION: u32 = 15;

/// Opens a connection, within the configured time. `role` tells the session apart in `pg_stat_activity`.
pub async fn open(settings: &ConnectionSettings, role: &str) -> Result<PgConnection, ConnectError> {
    let options = settings.options(role)?;
    let connection = tokio::time::timeout(settings.connect_timeout(), options.connect())
        .await
        .map_err(|_| ConnectError::timeout(settings))?
        .map_err(|error| ConnectError::classify(settings, &error))?;
    match connection.server_version_num() {
        Some(number) if number / 10_000 < OLDEST_VERSION => {
            // The answer is the same whether the server takes note of the goodbye or not.
            let _ = connection.close().await;
            Err(ConnectError::version(settings, number, OLDEST_VERSION))
        }
        _ => Ok(connection),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
