//! The configuration read again while the daemon runs.

use tracing::{error, info, warn};

use crate::config::{Config, ForDatabase, Sources, load};
use crate::telemetry::Telemetry;

/// The new configuration of each of these databases, already in force as far as logging goes; `None` if it is invalid,
/// and the old one stays.
pub(super) fn reload(
    sources: &Sources,
    old: &[Config],
    telemetry: &Telemetry,
) -> Option<Vec<Config>> {
    if let Err(error) = telemetry.reopen() {
        error!(%error, "the log file can not be opened again");
    }
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems.0 {
                error!("{problem}");
            }
            error!("the configuration is invalid: the old one stays in force");
            return None;
        }
    };
    if let Err(error) = telemetry.set_level(&loaded.first().log.level) {
        error!(%error, "the log level stays as it was");
    }
    let new = paired(old, &loaded.databases);
    let (later, now) = differences(old, &new, &loaded.databases);
    info!(
        changed = now.join(", "),
        "the new configuration is in force"
    );
    if !later.is_empty() {
        warn!(
            keys = later.join(", "),
            "changed, but in force only after a restart"
        );
    }
    Some(new)
}

/// What the new configuration says of each old database; one that is no longer in it goes on as it was.
fn paired(old: &[Config], new: &[ForDatabase]) -> Vec<Config> {
    if let ([_], [new]) = (old, new) {
        return vec![new.config.clone()];
    }
    let of = |old: &Config| {
        let mut new = new.iter().map(|database| &database.config);
        new.find(|new| new.name() == old.name())
            .unwrap_or(old)
            .clone()
    };
    old.iter().map(of).collect()
}

/// The keys that have changed: those that wait for a restart, and the others.
fn differences(
    old: &[Config],
    new: &[Config],
    configured: &[ForDatabase],
) -> (Vec<String>, Vec<String>) {
    let (mut later, mut now) = (Vec::new(), Vec::new());
    for (old, new) in old.iter().zip(new) {
        for key in new.differences(old) {
            let needs_restart = key.starts_with("database.")
                || key.starts_with("install.")
                || key.starts_with("http.")
                || (key.starts_with("log.") && key != "log.level");
            let list = if needs_restart { &mut later } else { &mut now };
            if !list.contains(&key) {
                list.push(key);
            }
        }
    }
    let came_or_went = if configured.len() == 1 && old.len() == 1 {
        false
    } else {
        let known =
            |database: &ForDatabase| old.iter().any(|old| old.name() == database.config.name());
        configured.len() != old.len() || !configured.iter().all(known)
    };
    if came_or_went {
        later.push("[[database]]".to_owned());
    }
    (later, now)
}
