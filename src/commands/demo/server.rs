//! The demo's own `PostgreSQL`: a database, an owner of materialized views, and the daemon's role, neither a superuser.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::task::spawn_blocking;

use crate::config::{DatabaseConfig, Environment, SslMode};
use crate::connect::{self, ConnectError, ConnectionSettings};
use crate::dictionary::installation;
use crate::error::{CommandError, Exit};
use crate::scratch::{Cluster, Options, SUPERUSER, ScratchError};
use crate::sql::ModuleSchema;

/// The database.
pub(super) const DATABASE: &str = "shop";
/// The role that owns the shop and its materialized views.
pub(super) const OWNER: &str = "shop";
/// The role that the daemon logs in as.
const DAEMON: &str = "mvrefreshd";

/// What an administrator does once, with every right the daemon gets. The roles of the module are created here since
/// the daemon's role may not create roles.
const PRIVILEGES: &str = "
    CREATE ROLE shop LOGIN;
    CREATE ROLE mvrefreshd LOGIN;
    GRANT shop TO mvrefreshd;
    CREATE ROLE mvrefresh_usage NOLOGIN;
    CREATE ROLE mvrefresh_view NOLOGIN;
    CREATE ROLE mvrefresh_execute NOLOGIN;
    GRANT mvrefresh_execute TO shop;";

/// A running scratch server.
pub(super) struct Server {
    cluster: Cluster,
}

impl Server {
    /// Starts it, with nothing but `initdb`'s databases.
    pub(super) async fn start() -> Result<Self, CommandError> {
        let cluster = blocking(|| Cluster::start(&Options::default())).await?;
        Ok(Self { cluster })
    }

    /// The server and its files.
    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The command to look inside.
    pub(super) fn psql_command(&self) -> String {
        self.cluster.psql_command(DATABASE)
    }

    /// Where the daemon connects.
    pub(super) fn daemon_url(&self) -> String {
        self.cluster.url_as(DAEMON, DATABASE)
    }

    /// A connection as the owner of the shop. `role` tells the session apart in `pg_stat_activity`.
    pub(super) async fn connect(&self, role: &str) -> Result<PgConnection, ConnectError> {
        self.connect_as(OWNER, DATABASE, role).await
    }

    async fn connect_as(
        &self,
        user: &str,
        database: &str,
        role: &str,
    ) -> Result<PgConnection, ConnectError> {
        let config = DatabaseConfig {
            host: Some(self.cluster.socket_dir().to_string_lossy().into_owned()),
            port: self.cluster.port(),
            user: Some(user.to_owned()),
            dbname: Some(database.to_owned()),
            sslmode: SslMode::Disable,
            application_name: "demo".to_owned(),
            ..DatabaseConfig::default()
        };
        let settings = ConnectionSettings::resolve(&config, &Environment::default());
        connect::open(&settings, role).await
    }

    /// Makes the roles and the database, and installs the module schema as the daemon would.
    pub(super) async fn prepare(&self, schema: &ModuleSchema) -> Result<(), CommandError> {
        let mut administrator = self
            .connect_as(SUPERUSER, "postgres", "administrator")
            .await?;
        administrator.execute(PRIVILEGES).await?;
        administrator
            .execute("CREATE DATABASE shop OWNER shop")
            .await?;
        administrator
            .execute("GRANT CREATE ON DATABASE shop TO mvrefreshd")
            .await?;
        administrator.close().await?;
        let mut installer = self.connect_as(DAEMON, DATABASE, "installer").await?;
        installation::install(&mut installer, schema).await?;
        installer.close().await?;
        Ok(())
    }

    /// Ends the server and removes everything.
    pub(super) async fn stop(self) -> Result<(), CommandError> {
        blocking(|| self.cluster.stop()).await
    }
}

impl From<ScratchError> for CommandError {
    fn from(error: ScratchError) -> Self {
        let exit = match error {
            ScratchError::Io { .. } => Exit::Internal,
            _ => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}

/// A task that blocks, elsewhere.
async fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, ScratchError> + Send + 'static,
) -> Result<T, CommandError> {
    match spawn_blocking(task).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(CommandError::new(Exit::Internal, panic.to_string())),
    }
}
