//! Where to connect and as whom, with every default filled in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::failure::ConnectError;
use crate::config::{DatabaseConfig, Environment, Secret, SslMode, parse_hosts, session_options};

/// Where distributions put the server's Unix socket.
const SOCKET_DIRECTORIES: [&str; 3] = ["/var/run/postgresql", "/private/tmp", "/tmp"];

/// Name of the systemd credential that holds the password; `.NAME` follows for one of several databases.
pub const CREDENTIAL: &str = "database-password";

/// Everything needed to open connections. Displayed without secrets: `user u, database d, server /sock:5432`.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// At least one.
    places: Vec<Place>,
    /// Which of them was last found to be writable; shared by all copies.
    current: Arc<AtomicUsize>,
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
}

/// A server, by the directory of its socket or by its host.
#[derive(Debug, Clone)]
struct Place {
    host: String,
    port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
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
        let places = parse_hosts(&host, config.port);
        // Validation has refused hosts that can't be read.
        let places = places.unwrap_or_else(|_| vec![(host, config.port)]);
        let places = places.into_iter().map(|(host, port)| Place { host, port });
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
            places: places.collect(),
            current: Arc::default(),
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
        }
    }

    /// With a server setting for the sessions opened from here on, such as `search_path`. Sent in the startup packet:
    /// it holds after `RESET ALL` too, but some transaction poolers refuse it.
    #[must_use]
    pub fn with_session_setting(mut self, name: &str, value: &str) -> Self {
        self.session.push((name.to_owned(), value.to_owned()));
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

    /// `host:port`, with the socket's directory as host where a socket is used; of several hosts all.
    #[must_use]
    pub fn server(&self) -> String {
        let places: Vec<String> = self.places.iter().map(Place::to_string).collect();
        places.join(", ")
    }

    /// How many servers there are to choose from.
    pub(super) fn servers(&self) -> usize {
        self.places.len()
    }

    /// The same with each server alone, beginning with the one that was writable last; with the number it has.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, Self)> {
        let first = self.current.load(Ordering::Relaxed);
        let numbers = (0..self.places.len()).map(move |n| (first + n) % self.places.len());
        numbers.map(|number| {
            let places = vec![self.places[number].clone()];
            let current = Arc::default();
            let alone = Self {
                places,
                current,
                ..self.clone()
            };
            (number, alone)
        })
    }

    /// Takes note that the server of this number is the writable one.
    pub(super) fn found_writable(&self, number: usize) {
        self.current.store(number, Ordering::Relaxed);
    }

    fn place(&self) -> &Place {
        &self.places[self.current.load(Ordering::Relaxed)]
    }

    /// The directory of the Unix socket, if one is used.
    #[must_use]
    pub fn socket_directory(&self) -> Option<&Path> {
        let host = &self.place().host;
        Some(Path::new(host)).filter(|_| host.starts_with('/'))
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

    /// sqlx's options, for callers that open connections another way than by [`open`](super::open), to the server that was
    /// writable when somebody last looked. `role` (such as
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
            encode(&self.place().host),
            self.place().port,
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
            // nothing is prepared under a name, and what a pooler refuses at the start of a session is not set
            .statement_cache_capacity(0)
            .extra_float_digits(None)
            .disable_statement_logging();
        let root_cert = self.sslrootcert.as_ref();
        options = match root_cert.filter(|file| *file != Path::new("system")) {
            Some(file) => options.ssl_root_cert(file),
            // else the driver takes PGSSLROOTCERT for the name of a file, whatever it says
            None => options.ssl_root_cert_from_pem(Vec::new()),
        };
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
mod tests;
