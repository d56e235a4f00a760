//! What the types can't say: ranges, names, files, and keys that must agree.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::duration::show;
use super::{Config, DatabaseConfig, LogConfig, LogTarget};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// `NAMEDATALEN - 1` of `PostgreSQL`.
const LONGEST_NAME: usize = 63;

/// A key and what is wrong with its value, to be read right after the key.
type Finding = (&'static str, String);

/// Everything that is wrong with a configuration whose values all have the right type.
pub(super) fn validate(config: &Config) -> Vec<Finding> {
    let mut findings = durations(config);
    findings.extend(workers(config));
    findings.extend(database(&config.database));
    findings.extend(log(&config.log));
    if let Err(message) = config.http.address() {
        findings.push((
            "http.listen",
            format!(" = {:?}: {message}", config.http.listen),
        ));
    }
    if let Some(directory) = &config.install.custom_sql_dir {
        findings.extend(directory_exists("install.custom_sql_dir", directory));
    }
    findings
}

/// Key, value, smallest and largest value, and whether zero will do as well ("no limit").
type Bound = (&'static str, Duration, RangeInclusive<Duration>, bool);

fn durations(config: &Config) -> Vec<Finding> {
    let bounds = bounds(config).into_iter().chain(upkeep_bounds(config));
    let mut findings: Vec<Finding> = bounds
        .filter(|(_, value, range, zero)| !(range.contains(value) || *zero && value.is_zero()))
        .map(|(key, value, range, zero)| {
            let no_limit = if zero { ", or 0" } else { "" };
            let (least, most) = (show(*range.start()), show(*range.end()));
            (
                key,
                format!(
                    " = \"{}\": must be from {least} to {most}{no_limit}",
                    show(value)
                ),
            )
        })
        .collect();
    let scheduler = &config.scheduler;
    if scheduler.retry_max < scheduler.retry_base {
        let (max, base) = (show(scheduler.retry_max), show(scheduler.retry_base));
        let message =
            format!(" = \"{max}\": must not be less than scheduler.retry_base, which is {base}");
        findings.push(("scheduler.retry_max", message));
    }
    // a quiet view would lose its claim to its logs before it is noted as right
    let logs = &config.logs;
    if logs.keep <= logs.confirm_every {
        let (keep, confirm) = (show(logs.keep), show(logs.confirm_every));
        let message =
            format!(" = \"{keep}\": must be more than logs.confirm_every, which is {confirm}");
        findings.push(("logs.keep", message));
    }
    findings
}

fn bounds(config: &Config) -> [Bound; 13] {
    let (scheduler, history) = (&config.scheduler, &config.history);
    [
        (
            "http.cache",
            config.http.cache,
            MILLISECOND * 100..=MILLISECOND * 60_000,
            false,
        ),
        (
            "database.connect_timeout",
            config.database.connect_timeout,
            MILLISECOND * 100..=HOUR,
            false,
        ),
        (
            "database.broken_after",
            config.database.broken_after,
            SECOND * 2..=HOUR,
            false,
        ),
        (
            "workers.long_after",
            config.workers.long_after,
            MILLISECOND..=DAY,
            false,
        ),
        (
            "scheduler.poll_interval",
            scheduler.poll_interval,
            MILLISECOND * 100..=HOUR,
            false,
        ),
        (
            "scheduler.startup_spread",
            scheduler.startup_spread,
            Duration::ZERO..=HOUR,
            true,
        ),
        (
            "scheduler.retry_base",
            scheduler.retry_base,
            MILLISECOND..=HOUR,
            false,
        ),
        (
            "scheduler.retry_max",
            scheduler.retry_max,
            MILLISECOND..=DAY * 7,
            false,
        ),
        (
            "scheduler.drain_timeout",
            scheduler.drain_timeout,
            Duration::ZERO..=DAY,
            true,
        ),
        (
            "scheduler.statement_timeout",
            scheduler.statement_timeout,
            MILLISECOND..=DAY * 24,
            true,
        ),
        (
            "scheduler.lock_timeout",
            scheduler.lock_timeout,
            MILLISECOND..=DAY * 24,
            true,
        ),
        ("history.keep", history.keep, SECOND..=YEAR * 100, false),
        (
            "history.prune_every",
            history.prune_every,
            SECOND..=DAY * 7,
            false,
        ),
    ]
}

fn upkeep_bounds(config: &Config) -> [Bound; 6] {
    let (logs, audit) = (&config.logs, &config.audit);
    [
        (
            "logs.check_every",
            logs.check_every,
            MILLISECOND * 100..=HOUR,
            false,
        ),
        // not 0, which would be no limit: writers wait behind it
        (
            "logs.lock_timeout",
            logs.lock_timeout,
            MILLISECOND..=MILLISECOND * 60_000,
            false,
        ),
        ("logs.keep", logs.keep, SECOND..=YEAR, false),
        (
            "logs.confirm_every",
            logs.confirm_every,
            MILLISECOND * 100..=DAY,
            false,
        ),
        ("audit.every", audit.every, MILLISECOND..=YEAR, true),
        (
            "audit.sample_above",
            audit.sample_above,
            Duration::ZERO..=DAY,
            true,
        ),
    ]
}

fn workers(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let max = config.workers.max;
    let long_max = config.workers.long_max();
    if !(1..=200).contains(&max) {
        findings.push(("workers.max", format!(" = {max}: must be from 1 to 200")));
    } else if !(1..=max).contains(&long_max) {
        let message = format!(" = {long_max}: must be from 1 to workers.max, which is {max}");
        findings.push(("workers.long_max", message));
    }
    findings
}

fn database(database: &DatabaseConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let schema = &database.schema;
    let mut wrong = |key, message: &str| findings.push((key, message.to_owned()));
    if schema.is_empty() {
        wrong("database.schema", " = \"\": a schema needs a name");
    } else if schema.len() > LONGEST_NAME {
        let message = format!(
            " = {schema:?}: is {} bytes long, PostgreSQL allows 63",
            schema.len()
        );
        wrong("database.schema", &message);
    } else if schema.contains('\0') {
        wrong("database.schema", ": must not contain a zero byte");
    } else if schema.starts_with("pg_") {
        let message = format!(" = {schema:?}: names that start with pg_ are PostgreSQL's own");
        wrong("database.schema", &message);
    } else if matches!(schema.as_str(), "information_schema" | "public") {
        let message = format!(" = {schema:?}: the module needs a schema of its own");
        wrong("database.schema", &message);
    }
    if let Some(host) = &database.host
        && let Err(message) = super::parse_hosts(host, 1)
    {
        wrong("database.host", &format!(" = {host:?}: {message}"));
    }
    if database.port == 0 {
        wrong("database.port", " = 0: must be from 1 to 65535");
    }
    if database.application_name.contains('\0') {
        wrong(
            "database.application_name",
            ": must not contain a zero byte",
        );
    }
    if database.password.is_some() && database.password_file.is_some() {
        wrong(
            "database.password_file",
            ": there is database.password as well: give one of them",
        );
    }
    if database.sslcert.is_some() != database.sslkey.is_some() {
        wrong(
            "database.sslcert",
            ": database.sslcert and database.sslkey are needed together",
        );
    }
    if let Some(options) = &database.options
        && let Err(message) = super::session_options(options)
    {
        wrong("database.options", &format!(": {message}"));
    }
    let root_cert = database
        .sslrootcert
        .as_deref()
        .filter(|path| *path != Path::new("system"));
    for (key, file) in [
        ("database.password_file", database.password_file.as_deref()),
        ("database.sslrootcert", root_cert),
        ("database.sslcert", database.sslcert.as_deref()),
        ("database.sslkey", database.sslkey.as_deref()),
    ] {
        if let Some(file) = file
            && let Err(error) = std::fs::File::open(file)
        {
            findings.push((
                key,
                format!(
                    " = {:?}: cannot be read: {error}",
                    file.display().to_string()
                ),
            ));
        }
    }
    findings
}

fn log(log: &LogConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(message) = level(&log.level) {
        findings.push(("log.level", format!(" = {:?}: {message}", log.level)));
    }
    if log.target == LogTarget::File {
        findings.extend(directory_exists("log.directory", &log.directory));
        if log.file_prefix.is_empty() || log.file_prefix.contains(['/', '\0']) {
            let message = format!(
                " = {:?}: must be the start of a file name, without /",
                log.file_prefix
            );
            findings.push(("log.file_prefix", message));
        }
    }
    findings
}

/// Checks a level or filter directives. `tracing_subscriber` takes any bare word as the name of a target, so that a
/// misspelt level would silence everything; a bare word must be a level here.
pub(crate) fn level(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let expected =
        "must be off, error, warn, info, debug or trace, or directives such as info,sqlx=warn";
    let bare_words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.contains(['=', '[']));
    for word in bare_words {
        if !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            return Err(expected.to_owned());
        }
    }
    EnvFilter::try_new(text)
        .map(|_| ())
        .map_err(|error| format!("{expected} ({error})"))
}

fn directory_exists(key: &'static str, path: &Path) -> Option<Finding> {
    let shown = path.display().to_string();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some((key, format!(" = {shown:?}: is not a directory"))),
        Err(error) => Some((
            key,
            format!(" = {shown:?}: {error}: create the directory or name another"),
        )),
    }
}
