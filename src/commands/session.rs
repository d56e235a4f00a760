//! The connection of a command that does its work and ends.

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::config::{Config, Sources, load, session_options};
use crate::connect::{ConnectionSettings, open, sqlstate};
use crate::dictionary::installation::{self, InstallError};
use crate::dictionary::sessions;
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

/// A connection with the user's own settings, `search_path` included: names mean what they mean to the user.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    pub(super) schema: ModuleSchema,
    pub(super) config: Config,
    settings: ConnectionSettings,
}

impl Session {
    /// Connects, and makes sure that the module schema is there and of this program's version.
    pub(super) async fn open(sources: &Sources) -> Result<Self, CommandError> {
        let mut session = Self::connect(sources).await?;
        installation::require(&mut session.connection, &session.schema)
            .await
            .map_err(|error| session.installation_error(error))?;
        Ok(session)
    }

    /// Connects, whatever there is in the database.
    pub(super) async fn connect(sources: &Sources) -> Result<Self, CommandError> {
        let config = load(sources)?.only()?;
        let settings = ConnectionSettings::resolve(&config.database, &sources.environment);
        Ok(Self {
            connection: connected(&settings, &config, "command").await?,
            schema: ModuleSchema::new(&config.database.schema),
            config,
            settings,
        })
    }

    /// One more connection, as this one.
    pub(super) async fn another(&self, role: &str) -> Result<PgConnection, CommandError> {
        connected(&self.settings, &self.config, role).await
    }

    /// The database's name.
    pub(super) fn database(&self) -> &str {
        self.settings.database()
    }

    /// The role logged in as.
    pub(super) fn user(&self) -> &str {
        self.settings.user()
    }

    /// What an error of the installation says to the user of a command.
    pub(super) fn installation_error(&self, error: InstallError) -> CommandError {
        match error {
            InstallError::Older { installed: 0, .. } => {
                let message = format!(
                    "the module schema {} is not installed in database {}",
                    self.schema,
                    self.settings.database()
                );
                CommandError::new(Exit::Configuration, message)
                    .with_hint("Hint: mvrefreshd install")
                    .with_hint("If it has another name: --schema NAME, or database.schema.")
            }
            InstallError::Database(error) if sqlstate(&error).as_deref() == Some("42501") => {
                super::privileges::module_schema_refused(&error, self)
            }
            error => error.into(),
        }
    }
}

async fn connected(
    settings: &ConnectionSettings,
    config: &Config,
    role: &str,
) -> Result<PgConnection, CommandError> {
    let mut connection = open(settings, role).await?;
    // So that the server notices within a second when this command is interrupted. Not every system can do that.
    let _ = connection
        .execute("SET client_connection_check_interval TO '1s'")
        .await;
    // Validation has refused options that can't be read.
    let options = config.database.options.as_deref();
    let options = options.and_then(|options| session_options(options).ok());
    sessions::restore_own_settings(&mut connection, &options.unwrap_or_default()).await?;
    Ok(connection)
}
