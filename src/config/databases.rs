//! Several databases: what they are called, and whether they are told apart.

use super::Config;
use super::layers::name_in_variables;
use super::problem::{Origin, Problem};
use super::suggest::{closest, did_you_mean};

/// A configured database, as far as it matters here.
pub(super) struct Named<'a> {
    pub(super) config: &'a Config,
    /// Where its name is given, or else something else of it.
    pub(super) origin: Origin,
}

/// What is wrong with the names of several databases.
pub(super) fn problems(databases: &[Named<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, this) in databases.iter().enumerate() {
        let mut wrong = |message| problems.push(Problem::new(this.origin.clone(), message));
        let Some(name) = this.config.name() else {
            wrong("a [[database]] needs a name: give database.name, or database.dbname".to_owned());
            continue;
        };
        let before = || databases[..index].iter().map(|before| before.config);
        let called = |other: &Config| other.name().map(name_in_variables);
        if before().any(|other| called(other) == Some(name_in_variables(name))) {
            wrong(format!(
                "another [[database]] is called {name:?} already, or nearly so: give each a database.name of its own"
            ));
        } else if let Some(other) = before().find(|other| is_same(other, this.config)) {
            let other = other.name().unwrap_or_default();
            wrong(format!(
                "{name:?} is the same database as {other:?}, with the same module schema"
            ));
        }
    }
    problems
}

fn is_same(one: &Config, other: &Config) -> bool {
    let key = |config: &Config| {
        let database = &config.database;
        let user = database.user.clone();
        (
            database.host.clone(),
            database.port,
            database.dbname.clone().or(user),
            database.schema.clone(),
        )
    };
    key(one) == key(other)
}

/// Why there is no database of this name.
pub(super) fn unknown(wanted: &str, known: &[&str]) -> Problem {
    let names: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
    let suggestion = did_you_mean(closest(wanted, known.iter().copied()));
    let message = if names.is_empty() {
        format!("no database is called {wanted:?}, and none has a name: leave it out")
    } else {
        let names = names.join(", ");
        format!("no database is called {wanted:?}; configured: {names}{suggestion}")
    };
    Problem::new(Origin::Flag("--database".to_owned()), message)
}

/// Why a command does not know which of these is meant.
pub(super) fn ambiguous(known: &[&str]) -> Problem {
    let names: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
    let message = format!(
        "{} databases are configured: say which one: --database NAME, of {}",
        names.len(),
        names.join(", ")
    );
    Problem::new(Origin::Flag("--database".to_owned()), message)
}

impl Config {
    /// What the database is called: the name it was given, else its name in the server where that is configured.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let database = &self.database;
        database.name.as_deref().or(database.dbname.as_deref())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
