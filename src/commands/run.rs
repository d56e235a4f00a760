//! `run`: the daemon. It waits for its database, installs or upgrades the module schema, and schedules until told to
//! stop.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{error, info, warn};

use super::install;
use crate::config::{Config, Environment, Loaded, Sources, load};
use crate::connect::{self, ConnectError, ConnectionSettings};
use crate::dictionary::installation::{self, InstallError, Installed};
use crate::error::{CommandError, Exit};
use crate::scheduler::engine::{self, Instruction, Tunables};
use crate::signals::{Event, Signals};
use crate::sql::ModuleSchema;
use crate::telemetry::{self, Purpose, Telemetry};
use crate::upkeep;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn run(sources: Sources) -> Result<Exit, CommandError> {
    let loaded = load(&sources)?;
    let telemetry = telemetry::start(&loaded.config.log, Purpose::Daemon)
        .map_err(|error| CommandError::new(Exit::Configuration, error.to_string()))?;
    let mut signals = Signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let settings = ConnectionSettings::resolve(&loaded.config.database, &Environment::of_process());
    info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), database = %settings, "starting");
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let mut loaded = loaded;
    if !wait_for_database(&settings, &sources, &mut loaded, &telemetry, &mut signals).await? {
        return Ok(Exit::Ok);
    }
    serve(&settings, sources, loaded, &telemetry, &mut signals).await;
    info!("stopped");
    Ok(Exit::Ok)
}

/// Waits until the module schema is installed; false if told to stop before.
async fn wait_for_database(
    settings: &ConnectionSettings,
    sources: &Sources,
    loaded: &mut Loaded,
    telemetry: &Telemetry,
    signals: &mut Signals,
) -> Result<bool, CommandError> {
    let config = loaded.config.clone();
    let prepared = prepare_when_possible(settings, &config);
    tokio::pin!(prepared);
    loop {
        let event = tokio::select! {
            prepared = &mut prepared => {
                prepared.inspect_err(|error| error!("{}", error.message.replace('\n', " ")))?;
                return Ok(true);
            }
            event = signals.next() => event,
        };
        match event {
            Event::Terminate { sender, .. } => {
                info!(%sender, "stopped while waiting for the database");
                return Ok(false);
            }
            Event::Reload { sender } => {
                info!(%sender, "reloading the configuration");
                if let Some(new) = reload(sources, &loaded.config, telemetry) {
                    loaded.config = new;
                }
            }
        }
    }
}

/// Waits for the database where waiting helps; a wrong password or a newer schema ends the daemon.
async fn prepare_when_possible(
    settings: &ConnectionSettings,
    config: &Config,
) -> Result<(), CommandError> {
    let mut pause = FIRST_PAUSE;
    let mut announced = false;
    loop {
        let reason = match prepare_once(settings, config).await {
            Ok(()) => return Ok(()),
            Err(Obstacle::Final(error)) => return Err(error),
            Err(Obstacle::Passing(reason)) => reason,
        };
        if !announced {
            warn!(database = %settings, reason, "the database is not ready: trying again until it is");
            announced = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum Obstacle {
    Passing(String),
    Final(CommandError),
}

impl From<ConnectError> for Obstacle {
    fn from(error: ConnectError) -> Self {
        if error.failure.is_temporary() {
            Self::Passing(error.to_string())
        } else {
            Self::Final(error.into())
        }
    }
}

impl From<InstallError> for Obstacle {
    fn from(error: InstallError) -> Self {
        match error {
            // older: without installing it ourselves we wait for whoever does
            InstallError::ReadOnly | InstallError::Database(_) | InstallError::Older { .. } => {
                Self::Passing(error.to_string().replace('\n', " "))
            }
            error => Self::Final(error.into()),
        }
    }
}

async fn prepare_once(settings: &ConnectionSettings, config: &Config) -> Result<(), Obstacle> {
    let schema = ModuleSchema::new(&config.database.schema);
    let mut connection = connect::open(settings, "installer").await?;
    if !config.install.on_start {
        let required = installation::require(&mut connection, &schema).await;
        let _ = connection.close().await;
        return Ok(required?);
    }
    let installed = installation::install(&mut connection, &schema).await;
    // closing it releases the lock that keeps other installers out, whatever came of it
    let _ = connection.close().await;
    finish_installation(settings, config, &schema, installed?).await
}

async fn finish_installation(
    settings: &ConnectionSettings,
    config: &Config,
    schema: &ModuleSchema,
    installed: Installed,
) -> Result<(), Obstacle> {
    for statement in &installed.for_administrator {
        warn!(
            statement,
            "this role may not create roles; as an administrator"
        );
    }
    if installed.from == installed.to {
        return Ok(());
    }
    info!(
        schema = schema.name(),
        from = installed.from,
        to = installed.to,
        "the module schema has been installed"
    );
    let mut connection = connect::open(settings, "installer").await?;
    let custom = install::run_custom_files(&mut connection, config).await;
    for failed in custom.map_err(Obstacle::Final)?.1 {
        error!(file = %failed.file.display(), error = failed.message, "a custom SQL file failed");
    }
    let check = installation::self_check(&mut connection, schema).await;
    for object in check
        .unwrap_or_default()
        .iter()
        .filter(|object| object.status != "fine")
    {
        warn!(
            kind = object.object_kind,
            name = object.object_name,
            status = object.status,
            remedy = object.remedy,
            "self-check"
        );
    }
    let _ = connection.close().await;
    Ok(())
}

/// Runs the scheduler, and passes signals on to it.
async fn serve(
    settings: &ConnectionSettings,
    sources: Sources,
    loaded: Loaded,
    telemetry: &Telemetry,
    signals: &mut Signals,
) {
    let schema = ModuleSchema::new(&loaded.config.database.schema);
    let mut config = loaded.config;
    let (instructions, receiver) = mpsc::unbounded_channel();
    let wake = Arc::new(Notify::new());
    // boxed, as both are large
    let mut scheduler = Box::pin(engine::run(
        settings,
        &schema,
        Tunables::from(&config),
        Arc::clone(&wake),
        receiver,
    ));
    let (upkeep_tunables, tunables) = watch::channel(upkeep::Tunables::from(&config));
    let mut upkeep = Box::pin(upkeep::run(
        settings.clone(),
        schema.clone(),
        wake,
        tunables,
    ));
    loop {
        let event = tokio::select! {
            () = &mut scheduler => return,
            // ends with this function only
            () = &mut upkeep => return,
            event = signals.next() => event,
        };
        let instruction = match event {
            Event::Terminate {
                sender,
                again: false,
            } => {
                info!(%sender, "stopping");
                Instruction::Stop
            }
            Event::Terminate {
                sender,
                again: true,
            } => {
                warn!(%sender, "stopping at once");
                Instruction::StopAtOnce
            }
            Event::Reload { sender } => {
                info!(%sender, "reloading the configuration");
                match reload(&sources, &config, telemetry) {
                    Some(new) => config = new,
                    None => continue,
                }
                upkeep_tunables.send_replace(upkeep::Tunables::from(&config));
                Instruction::Retune(Box::new(Tunables::from(&config)))
            }
        };
        // The scheduler takes instructions for as long as it runs.
        let _ = instructions.send(instruction);
    }
}

/// The new configuration, already in force as far as logging goes; `None` if it is invalid, and the old one stays.
fn reload(sources: &Sources, old: &Config, telemetry: &Telemetry) -> Option<Config> {
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
