//! The layers above the defaults: what each source says, checked key by key.

use figment::value::Value;

use super::connection_string;
use super::environment::Environment;
use super::file::ConfigFile;
use super::hosts;
use super::keys;
use super::load::Flag;
use super::problem::{Origin, Problem};
use super::suggest::{closest, did_you_mean};

pub(super) const PREFIX: &str = "MVREFRESHD_";
pub(super) const CONFIG_VARIABLE: &str = "MVREFRESHD_CONFIG";

/// libpq's variables and the keys of `[database]` they set.
const PG_VARIABLES: [(&str, &str); 11] = [
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGDATABASE", "dbname"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
];

/// The sections that a `[[database]]` table may have of its own, as `[database.workers]`.
pub(super) const OWN_SECTIONS: [&str; 6] = [
    "audit",
    "history",
    "install",
    "logs",
    "scheduler",
    "workers",
];

/// One key's value, where it was said.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// Whether it was part of a connection string.
    pub(super) from_string: bool,
}

/// What one source says; every entry has a known key and a value that key takes.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) entries: Vec<Entry>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Layer {
    /// What the file says of every database, and what of each that has a `[[database]]` table.
    pub(super) fn of_file(file: &ConfigFile) -> (Self, Vec<Self>) {
        let mut layer = Self::default();
        let mut databases = Vec::new();
        let sections = keys::sections();
        for (section, value) in &file.sections {
            let origin = file.origin(section, None);
            match value {
                _ if !sections.contains(section) => {
                    layer.wrong(origin, keys::unknown_section(section));
                }
                Value::Array(_, tables) if section == "database" => {
                    let tables = tables.iter().enumerate();
                    databases = tables
                        .map(|(index, table)| Self::of_table(file, index, table))
                        .collect();
                }
                Value::Dict(_, dict) => {
                    for (name, value) in dict {
                        let origin = file.origin(section, Some(name));
                        layer.take(&format!("{section}.{name}"), value.clone(), origin);
                    }
                }
                _ => layer.wrong(
                    origin,
                    format!("{section:?} is a section: write [{section}] on a line of its own"),
                ),
            }
        }
        (layer.expanded(), databases)
    }

    /// A `[[database]]` table: the keys of `[database]`, and sections of its own.
    fn of_table(file: &ConfigFile, index: usize, table: &Value) -> Self {
        let mut layer = Self::default();
        for (name, value) in table.as_dict().into_iter().flatten() {
            let origin = |key| file.origin_in_table(index, key);
            match value {
                Value::Dict(_, dict) if OWN_SECTIONS.contains(&name.as_str()) => {
                    for (key, value) in dict {
                        let origin = origin((Some(name), Some(key)));
                        layer.take(&format!("{name}.{key}"), value.clone(), origin);
                    }
                }
                Value::Dict(..) => {
                    let message = if keys::sections().contains(name) {
                        format!("{name:?} is for all databases: write [{name}]")
                    } else {
                        keys::unknown_section(name)
                    };
                    layer.wrong(origin((Some(name), None)), message);
                }
                _ => {
                    let origin = origin((None, Some(name)));
                    layer.take(&format!("database.{name}"), value.clone(), origin);
                }
            }
        }
        layer.expanded()
    }

    /// A text that the layer gives for a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        entry.value.as_str().filter(|text| !text.is_empty())
    }

    /// Where a connection string is given, if one is.
    pub(super) fn connection_string(&self) -> Option<&Origin> {
        let entry = self.entries.iter().find(|entry| entry.from_string)?;
        Some(&entry.origin)
    }

    pub(super) fn of_pg_variables(environment: &Environment) -> Self {
        let mut layer = Self::default();
        let origin = |name: &str| Origin::Environment(name.to_owned());
        if environment.get("PGSERVICE").is_some() {
            layer.wrong(
                origin("PGSERVICE"),
                "service files are not supported: unset it and name host, port, user and database",
            );
        }
        // As in libpq the address serves for connecting where both are given; we connect by one name only.
        if let (Some(address), None) = (environment.get("PGHOSTADDR"), environment.get("PGHOST")) {
            layer.take_text("database.host", address, origin("PGHOSTADDR"));
        }
        for (variable, name) in PG_VARIABLES {
            if let Some(text) = environment.get(variable) {
                match (variable, environment.get("PGPORT")) {
                    ("PGHOST", Some(ports)) if ports.contains(',') => {
                        match hosts::joined(text, ports) {
                            Ok((text, _)) => {
                                layer.take_text("database.host", &text, origin(variable));
                            }
                            Err(message) => layer.wrong(origin("PGPORT"), message),
                        }
                    }
                    ("PGPORT", Some(ports)) if ports.contains(',') => {}
                    _ => layer.take_text(&format!("database.{name}"), text, origin(variable)),
                }
            }
        }
        layer
    }

    pub(super) fn of_database_url(environment: &Environment) -> Self {
        let mut layer = Self::default();
        if let Some(url) = environment.get("DATABASE_URL") {
            let origin = Origin::Environment("DATABASE_URL".to_owned());
            layer.take_text("database.url", url, origin);
        }
        layer.expanded()
    }

    /// What `MVREFRESHD_SECTION__KEY` says of every database, and what `MVREFRESHD_DATABASE__NAME__KEY` and
    /// `MVREFRESHD_DATABASE__NAME__SECTION__KEY` say of each of these.
    pub(super) fn of_own_variables(
        environment: &Environment,
        databases: &[String],
    ) -> (Self, Vec<Self>) {
        let known: Vec<String> = keys::all(&super::Config::default()).into_keys().collect();
        let mut variables: Vec<(String, Option<usize>, &str)> = known
            .iter()
            .map(|key| (variable_of(key), None, key.as_str()))
            .collect();
        for (index, database) in databases.iter().enumerate() {
            let own = known.iter().filter_map(|key| {
                let variable = variable_of_database(database, key)?;
                Some((variable, Some(index), key.as_str()))
            });
            variables.extend(own);
        }
        let mut layer = Self::default();
        let mut layers: Vec<Self> = databases.iter().map(|_| Self::default()).collect();
        for (variable, text) in environment.iter() {
            let Some(rest) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if variable == CONFIG_VARIABLE || is_service_link(rest) {
                continue;
            }
            let origin = Origin::Environment(variable.to_owned());
            match variables.iter().find(|(name, ..)| name == variable) {
                Some((_, Some(database), key)) => layers[*database].take_text(key, text, origin),
                Some((_, None, key)) => layer.take_text(key, text, origin),
                None => {
                    let names = variables.iter().map(|(name, ..)| name.as_str());
                    let suggestion = did_you_mean(closest(variable, names));
                    layer.wrong(origin, format!("names no key{suggestion}"));
                }
            }
        }
        let layers = layers.into_iter().map(Self::expanded).collect();
        (layer.expanded(), layers)
    }

    pub(super) fn of_flags(flags: &[Flag]) -> Self {
        let mut layer = Self::default();
        for flag in flags {
            layer.take_text(flag.key, &flag.value, Origin::Flag(flag.option.to_owned()));
        }
        layer.expanded()
    }

    fn wrong(&mut self, origin: Origin, message: impl Into<String>) {
        self.problems.push(Problem::new(origin, message));
    }

    fn take(&mut self, key: &str, value: Value, origin: Origin) {
        if !keys::all(&super::Config::default()).contains_key(key) {
            return self.wrong(origin, keys::unknown(key));
        }
        match keys::accepts(key, &value) {
            Ok(()) => self.entries.push(Entry {
                key: key.to_owned(),
                value,
                origin,
                from_string: false,
            }),
            Err(message) => self.wrong(origin, message),
        }
    }

    /// Takes a text from where there are no types. It stays a text wherever the key takes one, so that a password
    /// `007` or a database `true` is not mistaken for something else.
    fn take_text(&mut self, key: &str, text: &str, origin: Origin) {
        let as_text = Value::from(text);
        let literal = if let Ok(number) = text.parse::<i64>() {
            Some(Value::from(number))
        } else {
            text.parse::<bool>().ok().map(Value::from)
        };
        match literal {
            Some(literal) if keys::accepts(key, &as_text).is_err() => {
                self.take(key, literal, origin);
            }
            _ => self.take(key, as_text, origin),
        }
    }

    /// With the connection string, if there is one, replaced by what it says.
    fn expanded(mut self) -> Self {
        let Some(at) = self.entries.iter().position(|e| e.key == "database.url") else {
            return self;
        };
        let Entry { value, origin, .. } = self.entries.remove(at);
        let text = value.into_string().unwrap_or_default();
        if text.is_empty() {
            return self;
        }
        let parsed = match connection_string::parse(&text) {
            Ok(parsed) => parsed,
            Err(message) => {
                self.wrong(origin, format!("database.url: {message}"));
                return self;
            }
        };
        for name in parsed.ignored {
            let message = format!("database.url: parameter {name:?} is ignored");
            self.warnings.push(Problem::new(origin.clone(), message));
        }
        for (name, text) in parsed.parameters {
            self.take_parameter(&format!("database.{name}"), &text, &origin);
        }
        self
    }

    /// Takes a connection string's parameter; beside it, the key itself may only say the same.
    fn take_parameter(&mut self, key: &str, text: &str, origin: &Origin) {
        let beside = self.entries.iter().position(|entry| entry.key == key);
        let count = self.entries.len();
        self.take_text(key, text, origin.clone());
        let Some(entry) = self.entries.get_mut(count) else {
            return;
        };
        entry.from_string = true;
        let said = keys::show(&entry.value);
        if let Some(beside) = beside {
            let entry = self.entries.remove(beside);
            if keys::show(&entry.value) != said {
                let message = format!("{key} contradicts database.url: give one of them");
                self.wrong(entry.origin, message);
            }
        }
    }
}

/// `workers.max` → `MVREFRESHD_WORKERS__MAX`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// `password` of the database `my shop` → `MVREFRESHD_DATABASE__MY_SHOP__PASSWORD`, `workers.max` →
/// `MVREFRESHD_DATABASE__MY_SHOP__WORKERS__MAX`; none for keys that are not a database's own.
fn variable_of_database(database: &str, key: &str) -> Option<String> {
    let name = name_in_variables(database);
    let (section, own) = key.split_once('.')?;
    match section {
        "database" if own != "name" => Some(variable_of(&format!("database.{name}.{own}"))),
        _ if OWN_SECTIONS.contains(&section) => {
            Some(variable_of(&format!("database.{name}.{key}")))
        }
        _ => None,
    }
}

/// How a database is called in the names of variables.
pub(super) fn name_in_variables(database: &str) -> String {
    let character = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    database.to_uppercase().chars().map(character).collect()
}

/// Kubernetes puts such variables into every pod beside a service named `mvrefreshd`; nobody meant them for us.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}
