//! The configuration: its keys, their defaults, and how they are read.
//!
//! Layers, each overriding the one before: built-in defaults, the TOML file, the environment
//! (`PG*`, then `DATABASE_URL`, then `MVREFRESHD_…`), flags. [`load`] reads them all and reports every
//! problem it finds, not only the first.

mod connection_string;
mod databases;
mod duration;
mod environment;
mod file;
mod hosts;
mod http;
mod keys;
mod layers;
mod load;
mod problem;
mod secret;
mod session_options;
mod show;
mod suggest;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use duration::{parse as parse_duration, show as show_duration};
pub use environment::Environment;
pub use hosts::parse as parse_hosts;
pub use http::HttpConfig;
pub use load::{Flag, ForDatabase, Loaded, Report, Sources, check, load};
pub use problem::{ConfigProblems, Origin, Problem};
pub use secret::Secret;
pub use session_options::parse as session_options;
pub use suggest::closest;
pub(crate) use validate::level as check_log_level;

/// Everything that can be configured for one database; a field per section of the file. `log` and `http` are the same
/// for all databases of a daemon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the database is and how to log in.
    pub database: DatabaseConfig,
    /// How many refreshes run at a time.
    pub workers: WorkersConfig,
    /// When refreshes run, and how long they may take.
    pub scheduler: SchedulerConfig,
    /// How long the refresh history is kept.
    pub history: HistoryConfig,
    /// How materialized view logs, and what is compiled for fast refreshes, are looked after.
    pub logs: LogsConfig,
    /// How materialized views that are refreshed fast are checked.
    pub audit: AuditConfig,
    /// What happens to the module schema at start.
    pub install: InstallConfig,
    /// What is logged, and where to.
    pub log: LogConfig,
    /// The status page, metrics and health.
    pub http: HttpConfig,
}

/// Section `[database]`.
///
/// Connection strings (`url`, `DATABASE_URL`, `--database-url`) are taken apart while loading: afterwards `url` is
/// `None` and the other fields say it all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// What the database is called in metrics, logs and commands. `None`: as in the server; never where several are
    /// configured.
    #[serde(deserialize_with = "keys::optional")]
    pub name: Option<String>,
    /// A `postgres://` URL or a keyword string (`host=… dbname=…`).
    #[serde(deserialize_with = "keys::optional")]
    pub url: Option<Secret>,
    /// Host name, address, or directory of the Unix socket; of several, with commas in between, the one that can be written to
    /// is used. `None`: the local socket, else `localhost`.
    #[serde(deserialize_with = "hosts::optional")]
    pub host: Option<String>,
    /// Port of hosts that name none, also part of the socket's file name.
    pub port: u16,
    /// The role to log in as. `None`: the operating system's user name.
    #[serde(deserialize_with = "keys::optional")]
    pub user: Option<String>,
    /// The database. `None`: named like the role.
    #[serde(deserialize_with = "keys::optional")]
    pub dbname: Option<String>,
    /// The password, in the clear; `password_file` is the better place.
    #[serde(deserialize_with = "keys::optional")]
    pub password: Option<Secret>,
    /// A file whose first line is the password; read again at every connection.
    #[serde(deserialize_with = "keys::optional")]
    pub password_file: Option<PathBuf>,
    /// Whether to use TLS, and what to verify.
    pub sslmode: SslMode,
    /// Certificates (PEM) of the authorities to trust. `None` or `system`: those of the system.
    #[serde(deserialize_with = "keys::optional")]
    pub sslrootcert: Option<PathBuf>,
    /// Our own certificate (PEM).
    #[serde(deserialize_with = "keys::optional")]
    pub sslcert: Option<PathBuf>,
    /// The key (PEM) of our own certificate.
    #[serde(deserialize_with = "keys::optional")]
    pub sslkey: Option<PathBuf>,
    /// Server settings for every session, as `-c name=value …`.
    #[serde(deserialize_with = "keys::optional")]
    pub options: Option<String>,
    /// The start of every session's `application_name`; the session's role follows it.
    pub application_name: String,
    /// How long one attempt to connect may take, login included.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// After how long without a sign of life from the other side a connection counts as broken, here and on the server.
    #[serde(with = "duration")]
    pub broken_after: Duration,
    /// The module schema.
    pub schema: String,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            name: None,
            url: None,
            host: None,
            port: 5432,
            user: None,
            dbname: None,
            password: None,
            password_file: None,
            sslmode: SslMode::Prefer,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            options: None,
            application_name: "mvrefreshd".to_owned(),
            connect_timeout: Duration::from_secs(10),
            broken_after: Duration::from_secs(30),
            schema: "mvrefresh".to_owned(),
        }
    }
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// No TLS unless the server insists.
    Allow,
    /// TLS where the server offers it.
    Prefer,
    /// TLS, certificate unchecked.
    Require,
    /// TLS, certificate signed by a trusted authority.
    VerifyCa,
    /// TLS, certificate signed by a trusted authority and made out to the host.
    VerifyFull,
}

/// Section `[workers]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkersConfig {
    /// Refreshes running at a time, each on its own connection.
    pub max: u32,
    /// Of these, how many may be long ones. `None` stands for `max - 1` (at least 1) and is filled in by loading.
    pub long_max: Option<u32>,
    /// From this expected cost on a refresh counts as long.
    #[serde(with = "duration")]
    pub long_after: Duration,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            max: 4,
            long_max: None,
            long_after: Duration::from_secs(1),
        }
    }
}

impl WorkersConfig {
    /// How many of the workers may run long refreshes: `long_max`, or else all but one (at least one).
    #[must_use]
    pub fn long_max(&self) -> u32 {
        self.long_max
            .unwrap_or_else(|| self.max.saturating_sub(1).max(1))
    }
}

/// Section `[scheduler]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// How often the dictionary is read without having been notified of a change.
    #[serde(with = "duration")]
    pub poll_interval: Duration,
    /// Over how long work that is overdue at start is spread.
    #[serde(with = "duration")]
    pub startup_spread: Duration,
    /// The wait before the first retry of a failed refresh; doubled at each further failure.
    #[serde(with = "duration")]
    pub retry_base: Duration,
    /// The longest wait between retries.
    #[serde(with = "duration")]
    pub retry_max: Duration,
    /// How long running refreshes may go on after a request to stop.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// The longest a refresh may take; zero: no limit.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// The longest a refresh may wait for a lock; zero: no limit.
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(30),
            startup_spread: Duration::from_secs(10),
            retry_base: Duration::from_secs(1),
            retry_max: Duration::from_secs(5 * 60),
            drain_timeout: Duration::from_secs(30),
            statement_timeout: Duration::ZERO,
            lock_timeout: Duration::from_secs(5),
        }
    }
}

/// Section `[history]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// For how long rows of `refresh_history` are kept.
    #[serde(with = "duration")]
    pub keep: Duration,
    /// How often older rows are removed.
    #[serde(with = "duration")]
    pub prune_every: Duration,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(7 * 24 * 3600),
            prune_every: Duration::from_secs(3600),
        }
    }
}

/// Section `[logs]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogsConfig {
    /// How often logs and programs are looked after without having been asked to.
    #[serde(with = "duration")]
    pub check_every: Duration,
    /// How long the making of a log may wait for the writers of its base table, who wait behind it meanwhile.
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
    /// For how long rows are kept for a materialized view that is not refreshed.
    #[serde(with = "duration")]
    pub keep: Duration,
    /// How often `last_refresh` is brought up to date for a materialized view for which nothing is pending.
    #[serde(with = "duration")]
    pub confirm_every: Duration,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            check_every: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(1),
            keep: Duration::from_secs(24 * 3600),
            confirm_every: Duration::from_secs(60),
        }
    }
}

/// Section `[audit]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// How often each materialized view that is refreshed fast is compared with its query; zero: never.
    #[serde(with = "duration")]
    pub every: Duration,
    /// Where a complete refresh takes longer than this, only a sample of the rows is compared.
    #[serde(with = "duration")]
    pub sample_above: Duration,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(24 * 3600),
            sample_above: Duration::from_secs(10),
        }
    }
}

/// Section `[install]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallConfig {
    /// Whether `run` installs or upgrades the module schema.
    pub on_start: bool,
    /// A directory of `.sql` files run after an install or upgrade.
    #[serde(deserialize_with = "keys::optional")]
    pub custom_sql_dir: Option<PathBuf>,
}

impl Default for InstallConfig {
    fn default() -> Self {
        Self {
            on_start: true,
            custom_sql_dir: None,
        }
    }
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, or directives such as `info,sqlx=warn`.
    pub level: String,
    /// Where lines go.
    pub target: LogTarget,
    /// The directory of the log files.
    pub directory: PathBuf,
    /// How the log files' names start.
    pub file_prefix: String,
    /// When a new log file is begun (in UTC).
    pub rotation: LogRotation,
    /// How many log files are kept; 0: all.
    pub keep_files: usize,
    /// Whether to lose lines (and count them) rather than wait when the log can't be written as fast as it grows.
    pub lossy: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
            target: LogTarget::Stdout,
            directory: PathBuf::from("/var/log/mvrefreshd"),
            file_prefix: "mvrefreshd".to_owned(),
            rotation: LogRotation::Daily,
            keep_files: 14,
            lossy: false,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// The daemon's standard output.
    Stdout,
    /// Files in `log.directory`.
    File,
}

/// When a new log file is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogRotation {
    /// At midnight UTC.
    Daily,
    /// At every full hour.
    Hourly,
    /// Never: leave it to logrotate, and send SIGHUP.
    Never,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
