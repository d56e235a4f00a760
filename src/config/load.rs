//! Putting the layers on top of each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Value;

use super::Config;
use super::environment::Environment;
use super::file::ConfigFile;
use super::keys;
use super::layers::{CONFIG_VARIABLE, Entry, Layer};
use super::problem::{ConfigProblems, Origin, Problem};
use super::validate::validate;

const DEFAULT_FILE: &str = "/etc/mvrefreshd/mvrefreshd.toml";

/// What a connection string replaces as a whole: a password must not reach another server than it was meant for.
const TARGET: [&str; 6] = [
    "database.host",
    "database.port",
    "database.user",
    "database.dbname",
    "database.password",
    "database.password_file",
];

/// Everything the configuration is made of, besides the built-in defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named on the command line. Without it: `MVREFRESHD_CONFIG`, else the file in `/etc` if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// Values from the command line.
    pub flags: Vec<Flag>,
}

/// A command-line option that sets a key.
#[derive(Clone)]
pub struct Flag {
    /// The option with its dashes, for messages.
    pub option: &'static str,
    /// The key it sets, `section.name`.
    pub key: &'static str,
    /// The value; may hold a password.
    pub value: String,
}

impl std::fmt::Debug for Flag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = ***", self.option)
    }
}

/// A configuration together with where it comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What was understood but changes nothing, for the log.
    pub warnings: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where a key (`section.name`) was set.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// All that can be said about a configuration: what is wrong, and what it comes to (with the default in
/// place of every value that could not be read).
#[derive(Debug, Clone)]
pub struct Report {
    /// What is wrong; empty: the configuration is valid.
    pub problems: Vec<Problem>,
    /// The effective configuration.
    pub loaded: Loaded,
}

/// Loads the configuration, or says everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigProblems> {
    let report = check(sources);
    if report.problems.is_empty() {
        Ok(report.loaded)
    } else {
        Err(ConfigProblems(report.problems))
    }
}

/// Loads the configuration as far as possible and reports on it.
#[must_use]
pub fn check(sources: &Sources) -> Report {
    let mut problems = Vec::new();
    let file = match file_to_read(sources).map(|path| ConfigFile::read(&path)) {
        Some(Ok(file)) => Some(file),
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
        None => None,
    };
    let mut merged = BTreeMap::new();
    let mut warnings = Vec::new();
    for layer in [
        file.as_ref().map(Layer::of_file).unwrap_or_default(),
        Layer::of_pg_variables(&sources.environment),
        Layer::of_database_url(&sources.environment),
        Layer::of_own_variables(&sources.environment),
        Layer::of_flags(&sources.flags),
    ] {
        problems.extend(layer.problems);
        warnings.extend(layer.warnings);
        lay_over(&mut merged, layer.entries);
    }
    let (config, origins) = finish(merged);
    let loaded = Loaded {
        config,
        file: file.map(|file| file.path),
        warnings,
        origins,
    };
    problems.extend(
        validate(&loaded.config)
            .into_iter()
            .map(|(key, message)| Problem::new(loaded.origin(key), format!("{key}{message}"))),
    );
    Report { problems, loaded }
}

fn file_to_read(sources: &Sources) -> Option<PathBuf> {
    let named = sources.file.clone();
    let variable = || sources.environment.get(CONFIG_VARIABLE).map(PathBuf::from);
    let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
    named.or_else(variable).or_else(default)
}

type Merged = BTreeMap<String, (Value, Origin)>;

fn lay_over(merged: &mut Merged, entries: Vec<Entry>) {
    let is = |entry: &Entry, key| entry.key == key;
    if entries
        .iter()
        .any(|e| e.from_string && is(e, "database.host"))
    {
        merged.retain(|key, (_, origin)| {
            !(TARGET.contains(&key.as_str()) && matches!(origin, Origin::File { .. }))
        });
    }
    let both = ["database.password", "database.password_file"]
        .iter()
        .all(|key| entries.iter().any(|e| is(e, key)));
    if !both {
        for (given, other) in [
            ("database.password", "database.password_file"),
            ("database.password_file", "database.password"),
        ] {
            if entries.iter().any(|e| is(e, given)) {
                merged.remove(other);
            }
        }
    }
    for entry in entries {
        merged.insert(entry.key, (entry.value, entry.origin));
    }
}

fn finish(merged: Merged) -> (Config, BTreeMap<String, Origin>) {
    let values = keys::nested(merged.iter().map(|(key, (value, _))| (key.as_str(), value)));
    // Every entry was accepted for its key, and keys don't depend on each other while being read.
    let mut config: Config = values.deserialize().unwrap_or_default();
    config.workers.long_max = Some(config.workers.long_max());
    let origins = merged
        .into_iter()
        .map(|(key, (_, origin))| (key, origin))
        .collect();
    (config, origins)
}
