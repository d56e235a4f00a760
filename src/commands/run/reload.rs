//! The configuration read again while the daemon runs.

use tracing::{error, info, warn};

use crate::config::{Config, Sources, load};
use crate::telemetry::Telemetry;

/// The new configuration, already in force as far as logging goes; `None` if it is invalid, and the old one stays.
pub(super) fn reload(sources: &Sources, old: &Config, telemetry: &Telemetry) -> Option<Config> {
    if let Err(error) = telemetry.reopen() {
        error!(%error, "the log file can not be opened again");
    }
    let new = match load(sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => {
            for problem in problems.0 {
                error!("{problem}");
            }
            error!("the configuration is invalid: the old one stays in force");
            return None;
        }
    };
    if let Err(error) = telemetry.set_level(&new.log.level) {
        error!(%error, "the log level stays as it was");
    }
    let differences = new.differences(old);
    let needs_restart = |key: &String| {
        key.starts_with("database.")
            || key.starts_with("install.")
            || key.starts_with("http.")
            || (key.starts_with("log.") && key != "log.level")
    };
    let (later, now): (Vec<String>, Vec<String>) = differences.into_iter().partition(needs_restart);
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
