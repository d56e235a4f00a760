//! Where to connect and as whom, with every default filled in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::failure::ConnectError;
use crate::config::{DatabaseConfig, Environment, Secret, SslMode, session_options};

/// Where distributions put the server's Unix socket.
const SOCKET_DIRECTORIES: [&str; 3] = ["/var/run/postgresql", "/private/tmp", "/tmp"];

/// Name of the systemd credential that holds the password; `.NAME` follows for one of several databases.
pub const CREDENTIAL: &str = "database-password";

/// Everything needed to open connections. Displayed without secrets: `user u, database d, server /sock:5432`.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    host: String,
    port: u16,
    user: String,
    dbname: String,
    password: Password,
    sslmode: SslMode,
    sslrootcert: Option<PathBuf>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
    application_name: String,
    connect_timeout: Duration,
    broken_after: Duration,
    session: Vec<(String, String)>,
    statement_cache: usize,
}

/// Where the password comes from.
#[derive(Debug, Clone)]
enum Password {
    Given(Secret),
    /// Read at every connection, so that a changed password needs no restart.
    File(PathBuf),
    /// libpq's password file (`PGPASSFILE`, `~/.pgpass`), if it has one.
    PassFile,
}

impl ConnectionSettings {
    /// Fills in what the configuration leaves open, as libpq does. The password is, in this order: the configured
    /// one, the one in `password_file`, systemd's credential `database-password`, the one in libpq's password file.
    #[must_use]
    pub fn resolve(config: &DatabaseConfig, environment: &Environment) -> Self {
        let host = config
            .host
            .clone()
            .unwrap_or_else(|| default_host(config.port));
        let user = config.user.clone().unwrap_or_else(|| {
            PgConnectOptions::new_without_pgpass()
                .get_username()
                .to_owned()
        });
        let own = config
            .name
            .as_ref()
            .map(|name| format!("{CREDENTIAL}.{name}"));
        let credential = environment
            .get("CREDENTIALS_DIRECTORY")
            .and_then(|directory| {
                let names = own.into_iter().chain([CREDENTIAL.to_owned()]);
                let mut paths = names.map(|name| Path::new(directory).join(name));
                paths.find(|path| path.exists())
            });
        let password_file = config.password_file.clone().or(credential);
        let password = match (&config.password, password_file) {
            (Some(password), _) => Password::Given(password.clone()),
            (None, Some(file)) => Password::File(file),
            (None, None) => Password::PassFile,
        };
        Self {
            dbname: config.dbname.clone().unwrap_or_else(|| user.clone()),
            host,
            port: config.port,
            user,
            password,
            sslmode: config.sslmode,
            sslrootcert: config.sslrootcert.clone(),
            sslcert: config.sslcert.clone(),
            sslkey: config.sslkey.clone(),
            application_name: config.application_name.clone(),
            connect_timeout: config.connect_timeout,
            broken_after: config.broken_after,
            // Validation has refused options that can't be read.
            session: config
                .options
                .as_deref()
                .and_then(|options| session_options(options).ok())
                .unwrap_or_default(),
            statement_cache: 100,
        }
    }

    /// With a server setting for the sessions opened from here on, such as `search_path`. Sent in the startup packet:
    /// it holds after `RESET ALL` too, but some transaction poolers refuse it.
    #[must_use]
    pub fn with_session_setting(mut self, name: &str, value: &str) -> Self {
        self.session.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a number of prepared statements kept per connection (100 by default). 0 where user DDL may change what
    /// a statement returns ("cached plan must not change result type").
    #[must_use]
    pub fn with_statement_cache(mut self, capacity: usize) -> Self {
        self.statement_cache = capacity;
        self
    }

    /// The same server and login, another database.
    #[must_use]
    pub fn with_database(mut self, dbname: &str) -> Self {
        dbname.clone_into(&mut self.dbname);
        self
    }

    /// The role to log in as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.dbname
    }

    /// `host:port`, with the socket's directory as host where a socket is used.
    #[must_use]
    pub fn server(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The directory of the Unix socket, if one is used.
    #[must_use]
    pub fn socket_directory(&self) -> Option<&Path> {
        Some(Path::new(&self.host)).filter(|_| self.host.starts_with('/'))
    }

    /// How long one attempt to connect may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// After how long without a sign of life a connection counts as broken, here and on the server.
    #[must_use]
    pub fn broken_after(&self) -> Duration {
        self.broken_after
    }

    /// sqlx's options, for callers that open connections another way than by [`open`](super::open). `role` (such as
    /// `scheduler`) follows the application name, so that `pg_stat_activity` tells our sessions apart.
    pub fn options(&self, role: &str) -> Result<PgConnectOptions, ConnectError> {
        let password = match &self.password {
            Password::Given(password) => Some(password.clone()),
            Password::File(file) => Some(self.read_password(file)?),
            Password::PassFile => None,
        };
        // Only sqlx's URL parser looks into libpq's password file, and only for parameters that are in the URL.
        let mut url = format!(
            "postgres://localhost?host={}&port={}&user={}&dbname={}",
            encode(&self.host),
            self.port,
            encode(&self.user),
            encode(&self.dbname),
        );
        if let Some(password) = &password {
            url.push_str("&password=");
            url.push_str(&encode(password.expose()));
        }
        let mut options = PgConnectOptions::from_str(&url)
            .map_err(|_| {
                ConnectError::settings(self, "the connection settings can't be used".to_owned())
            })?
            .ssl_mode(self.sslmode.into())
            .application_name(format!("{} {role}", self.application_name).trim())
            .statement_cache_capacity(self.statement_cache)
            .disable_statement_logging();
        if let Some(file) = self
            .sslrootcert
            .as_ref()
            .filter(|f| *f != Path::new("system"))
        {
            options = options.ssl_root_cert(file);
        }
        if let Some(file) = &self.sslcert {
            options = options.ssl_client_cert(file);
        }
        if let Some(file) = &self.sslkey {
            options = options.ssl_client_key(file);
        }
        if self.session.is_empty() {
            return Ok(options);
        }
        Ok(options.options(self.session.iter().map(|(name, value)| (name, value))))
    }

    fn read_password(&self, file: &Path) -> Result<Secret, ConnectError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let message = format!(
                "the password file {} cannot be read: {error}",
                file.display()
            );
            ConnectError::settings(self, message)
        })?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Secret::new(line)),
            _ => {
                let message = format!("the password file {} is empty", file.display());
                Err(ConnectError::settings(self, message))
            }
        }
    }
}

impl fmt::Display for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "user {}, database {}, server {}",
            self.user,
            self.dbname,
            self.server()
        )
    }
}

impl From<SslMode> for PgSslMode {
    fn from(mode: SslMode) -> Self {
        match mode {
            SslMode::Disable => Self::Disable,
            SslMode::Allow => Self::Allow,
            SslMode::Prefer => Self::Prefer,
            SslMode::Require => Self::Require,
            SslMode::VerifyCa => Self::VerifyCa,
            SslMode::VerifyFull => Self::VerifyFull,
        }
    }
}

/// libpq has one socket directory compiled in; we look where there is a socket for the port.
fn default_host(port: u16) -> String {
    let socket = format!(".s.PGSQL.{port}");
    SOCKET_DIRECTORIES
        .into_iter()
        .find(|directory| Path::new(directory).join(&socket).exists())
        .unwrap_or("localhost")
        .to_owned()
}

/// Percent-encodes everything that is not a letter or a digit.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn config() -> DatabaseConfig {
        DatabaseConfig {
            host: Some("/run/my sock".to_owned()),
            port: 6000,
            user: Some("ann&lee".to_owned()),
            dbname: Some("a/b c".to_owned()),
            ..DatabaseConfig::default()
        }
    }

    fn resolve(config: &DatabaseConfig) -> ConnectionSettings {
        ConnectionSettings::resolve(config, &Environment::default())
    }

    #[test]
    fn every_part_reaches_sqlx_whatever_characters_it_has() {
        let settings = resolve(&config());
        let options = settings.options("worker").unwrap();
        assert_eq!(options.get_socket(), Some(&PathBuf::from("/run/my sock")));
        assert_eq!(options.get_port(), 6000);
        assert_eq!(options.get_username(), "ann&lee");
        assert_eq!(options.get_database(), Some("a/b c"));
        assert_eq!(options.get_application_name(), Some("mvrefreshd worker"));
    }

    #[test]
    fn a_host_over_tcp_keeps_its_name_for_the_certificate() {
        let mut config = config();
        config.host = Some("db.example".to_owned());
        config.sslmode = SslMode::VerifyFull;
        let options = resolve(&config).options("x").unwrap();
        assert_eq!(options.get_host(), "db.example");
        assert!(options.get_socket().is_none());
        assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
    }

    #[test]
    fn the_description_names_user_database_and_server_and_no_secret() {
        let mut config = config();
        config.password = Some(Secret::new("hunter2"));
        let settings = resolve(&config);
        assert_eq!(
            settings.to_string(),
            "user ann&lee, database a/b c, server /run/my sock:6000"
        );
        assert!(!format!("{settings:?}").contains("hunter2"));
        config.host = Some("::1".to_owned());
        assert_eq!(resolve(&config).server(), "[::1]:6000");
    }

    #[test]
    fn session_settings_are_sent_with_blanks_and_backslashes_escaped() {
        let settings = resolve(&config()).with_session_setting("search_path", r#""my \schema""#);
        let options = settings.options("x").unwrap();
        assert!(
            options
                .get_options()
                .unwrap()
                .ends_with(r#"-c search_path="my\ \\schema""#)
        );
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file_read_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let mut config = config();
        config.password_file = Some(file.clone());
        let settings = resolve(&config);
        let error = settings.options("x").unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
        std::fs::write(&file, "").unwrap();
        assert!(
            settings
                .options("x")
                .unwrap_err()
                .to_string()
                .contains("empty")
        );
        std::fs::write(&file, "first\n").unwrap();
        assert_eq!(settings.read_password(&file).unwrap().expose(), "first");
        std::fs::write(&file, "second\r\n").unwrap();
        assert_eq!(settings.read_password(&file).unwrap().expose(), "second");
    }

    #[test]
    fn a_systemd_credential_serves_as_password_file_unless_another_is_configured() {
        let directory = tempfile::tempdir().unwrap();
        let credential = directory.path().join("database-password");
        let environment: Environment =
            [("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())]
                .into_iter()
                .collect();
        let password =
            |config: &DatabaseConfig| ConnectionSettings::resolve(config, &environment).password;
        assert!(matches!(password(&config()), Password::PassFile));
        std::fs::write(&credential, "secret").unwrap();
        assert!(matches!(password(&config()), Password::File(f) if f == credential));
        let own = directory.path().join("database-password.shop");
        std::fs::write(&own, "another").unwrap();
        assert!(matches!(password(&config()), Password::File(f) if f == credential));
        let mut config = config();
        config.name = Some("shop".to_owned());
        assert!(matches!(password(&config), Password::File(f) if f == own));
        config.password_file = Some(PathBuf::from("/other"));
        assert!(matches!(password(&config), Password::File(f) if f == Path::new("/other")));
        config.password = Some(Secret::new("x"));
        assert!(matches!(password(&config), Password::Given(_)));
    }
}
