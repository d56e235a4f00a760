//! The layers above the defaults: what each source says, checked key by key.

use figment::value::Value;

use super::connection_string;
use super::environment::Environment;
use super::file::ConfigFile;
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

/// One key's value, where it was said.
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
    pub(super) fn of_file(file: &ConfigFile) -> Self {
        let mut layer = Self::default();
        let sections = keys::sections();
        for (section, value) in &file.sections {
            let origin = file.origin(section, None);
            match value {
                _ if !sections.contains(section) => {
                    layer.wrong(origin, keys::unknown_section(section));
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
        layer.expanded()
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
                layer.take_text(&format!("database.{name}"), text, origin(variable));
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

    pub(super) fn of_own_variables(environment: &Environment) -> Self {
        let mut layer = Self::default();
        for (variable, text) in environment.iter() {
            let Some(rest) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if variable == CONFIG_VARIABLE || is_service_link(rest) {
                continue;
            }
            let origin = Origin::Environment(variable.to_owned());
            let known: Vec<String> = keys::all(&super::Config::default()).into_keys().collect();
            if let Some(key) = known.iter().find(|key| variable_of(key) == variable) {
                layer.take_text(key, text, origin);
                continue;
            }
            let names: Vec<String> = known.iter().map(|key| variable_of(key)).collect();
            let suggestion = closest(variable, names.iter().map(String::as_str));
            layer.wrong(origin, format!("names no key{}", did_you_mean(suggestion)));
        }
        layer.expanded()
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

/// Kubernetes puts such variables into every pod beside a service named `mvrefreshd`; nobody meant them for us.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}
