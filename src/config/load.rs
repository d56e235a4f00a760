//! Putting the layers on top of each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Value;

use super::Config;
use super::databases::{self, Named};
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
    /// The database that is meant, by its name, where several are configured.
    pub database: Option<String>,
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
    /// What is configured for each database, at least for one, in the order of the file.
    pub databases: Vec<ForDatabase>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What was understood but changes nothing, for the log.
    pub warnings: Vec<Problem>,
}

/// What is configured for one database. Sections `log` and `http` are the same for all.
#[derive(Debug, Clone)]
pub struct ForDatabase {
    /// The values.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl ForDatabase {
    /// Where a key (`section.name`) was set.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Where it is configured, for what concerns it as a whole.
    fn an_origin(&self) -> Origin {
        let keys = ["name", "dbname", "host", "user", "port"];
        let keys = keys.iter().map(|key| format!("database.{key}"));
        let mut origins = keys.filter_map(|key| self.origins.get(&key));
        origins.next().cloned().unwrap_or(Origin::Default)
    }
}

impl Loaded {
    /// The configuration of the first database; its `log` and `http` are those of all.
    #[must_use]
    pub fn first(&self) -> &Config {
        // there is always one
        &self.databases[0].config
    }

    /// The configuration of the only database; an error that names them all if there are several.
    pub fn only(mut self) -> Result<Config, ConfigProblems> {
        if let [_] = self.databases.as_slice() {
            return Ok(self.databases.remove(0).config);
        }
        let names: Vec<&str> = names(&self.databases).collect();
        Err(ConfigProblems(vec![databases::ambiguous(&names)]))
    }
}

fn names(databases: &[ForDatabase]) -> impl Iterator<Item = &str> {
    databases
        .iter()
        .filter_map(|database| database.config.name())
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
    let (of_file, tables) = file.as_ref().map(Layer::of_file).unwrap_or_default();
    let called = |table: &Layer| {
        let name = table
            .text("database.name")
            .or(table.text("database.dbname"));
        name.unwrap_or_default().to_owned()
    };
    let called: Vec<String> = tables.iter().map(called).collect();
    let (own, own_of_tables) = Layer::of_own_variables(&sources.environment, &called);
    let pg = Layer::of_pg_variables(&sources.environment);
    let url = Layer::of_database_url(&sources.environment);
    let flags = Layer::of_flags(&sources.flags);
    let common = [&of_file, &pg, &url, &own, &flags];
    let mut warnings = Vec::new();
    for layer in common.into_iter().chain(&tables).chain(&own_of_tables) {
        problems.extend(layer.problems.iter().cloned());
        warnings.extend(layer.warnings.iter().cloned());
    }
    let above = [&url, &own, &flags];
    let string = above.iter().find_map(|layer| layer.connection_string());
    if let (Some(origin), false) = (string, tables.is_empty()) {
        let message = "one database is named here, so the [[database]] tables are not used";
        warnings.push(Problem::new(origin.clone(), message));
    }
    let password = |entry: &&Entry| entry.key == "database.password";
    if let Some(entry) = flags.entries.iter().find(password) {
        let message = "everybody on this machine sees this password in the list of processes: give it by database.password_file, PGPASSWORD or DATABASE_URL";
        warnings.push(Problem::new(entry.origin.clone(), message));
    }
    let databases = if tables.is_empty() || string.is_some() {
        vec![stacked(&common)]
    } else {
        let stack = |((table, named), called): ((_, _), &String)| {
            let mut database = stacked(&[&of_file, table, &pg, &url, &own, named, &flags]);
            // the variables go by this name, so none changes it
            database.config.database.name = Some(called.clone()).filter(|name| !name.is_empty());
            database
        };
        let layers = tables.iter().zip(&own_of_tables).zip(&called);
        layers.map(stack).collect()
    };
    let loaded = Loaded {
        databases,
        file: file.map(|file| file.path),
        warnings,
    };
    concluded(sources, loaded, problems)
}

/// What the values come to: validated, with names, and only the database that is meant.
fn concluded(sources: &Sources, mut loaded: Loaded, mut problems: Vec<Problem>) -> Report {
    let several = loaded.databases.len() > 1;
    for database in &loaded.databases {
        let findings = validate(&database.config).into_iter();
        let found = findings
            .map(|(key, message)| Problem::new(database.origin(key), format!("{key}{message}")));
        for problem in found {
            // what is common to all is wrong once
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    if several {
        let named = loaded.databases.iter().map(|database| Named {
            config: &database.config,
            origin: database.an_origin(),
        });
        problems.extend(databases::problems(&named.collect::<Vec<_>>()));
    }
    if let Some(wanted) = &sources.database {
        let is_wanted = |database: &ForDatabase| database.config.name() == Some(wanted);
        if let Some(at) = loaded.databases.iter().position(is_wanted) {
            loaded.databases = vec![loaded.databases.swap_remove(at)];
        } else {
            let known: Vec<&str> = names(&loaded.databases).collect();
            problems.push(databases::unknown(wanted, &known));
        }
    }
    Report { problems, loaded }
}

fn file_to_read(sources: &Sources) -> Option<PathBuf> {
    let named = sources.file.clone();
    let variable = || sources.environment.get(CONFIG_VARIABLE).map(PathBuf::from);
    let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
    named.or_else(variable).or_else(default)
}

type Merged = BTreeMap<String, (Value, Origin)>;

/// The layers on top of each other.
fn stacked(layers: &[&Layer]) -> ForDatabase {
    let mut merged = BTreeMap::new();
    for layer in layers {
        lay_over(&mut merged, &layer.entries);
    }
    finish(merged)
}

fn lay_over(merged: &mut Merged, entries: &[Entry]) {
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
        let (value, origin) = (entry.value.clone(), entry.origin.clone());
        merged.insert(entry.key.clone(), (value, origin));
    }
}

fn finish(merged: Merged) -> ForDatabase {
    let values = keys::nested(merged.iter().map(|(key, (value, _))| (key.as_str(), value)));
    // Every entry was accepted for its key, and keys don't depend on each other while being read.
    let mut config: Config = values.deserialize().unwrap_or_default();
    config.workers.long_max = Some(config.workers.long_max());
    let origins = merged
        .into_iter()
        .map(|(key, (_, origin))| (key, origin))
        .collect();
    ForDatabase { config, origins }
}
