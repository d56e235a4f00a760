//! The daemon's beginning: the database is there, and the module schema installed.

use std::time::Duration;

use chrono::Utc;
use sqlx::Connection;
use tracing::{error, info, warn};

use crate::commands::install;
use crate::config::Config;
use crate::connect::{self, ConnectError, ConnectionSettings, silence};
use crate::dictionary::installation::{self, InstallError, Installed};
use crate::error::CommandError;
use crate::sql::ModuleSchema;
use crate::vitals::{DatabaseState, Phase, Vitals};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// What its sessions are for, as `pg_stat_activity` shows it.
const ROLE: &str = "installer";

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where somebody has to do something first: often enough, and not so often that a login is locked.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// Waits for the database where waiting helps. What it does not help against (a wrong password, a newer schema) is the end
/// for the only database of a daemon; one of several is tried again now and then, as the others go on.
pub(super) async fn when_possible(
    settings: &ConnectionSettings,
    config: &Config,
    vitals: &Vitals,
    gives_up: bool,
) -> Result<(), CommandError> {
    let mut pause = FIRST_PAUSE;
    let mut announced = false;
    let mut said = String::new();
    let began = Utc::now();
    loop {
        let prepared = silence::while_known(settings, ROLE, prepare_once(settings, config)).await;
        let reason = match prepared {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Obstacle::Final(error))) if gives_up => return Err(error),
            Ok(Err(Obstacle::Final(error))) => {
                let reason = error.message.replace('\n', " ");
                if said != reason {
                    error!(database = %settings, reason, "the database can not be kept until that is put right");
                    said.clone_from(&reason);
                }
                (pause, announced) = (LONG_PAUSE, true);
                reason
            }
            Ok(Err(Obstacle::Passing(reason))) => {
                pause = pause.min(LONGEST_PAUSE);
                reason.replace('\n', " ")
            }
            Err(lost) => {
                pause = pause.min(LONGEST_PAUSE);
                lost.to_string()
            }
        };
        vitals.database(DatabaseState::Away {
            since: began,
            reason: reason.clone(),
        });
        vitals.enter(Phase::Waiting(reason.clone()));
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
            InstallError::ReadOnly
            | InstallError::Busy { .. }
            | InstallError::Database(_)
            | InstallError::Older { .. } => Self::Passing(error.to_string().replace('\n', " ")),
            error => Self::Final(error.into()),
        }
    }
}

async fn prepare_once(settings: &ConnectionSettings, config: &Config) -> Result<(), Obstacle> {
    let schema = ModuleSchema::new(&config.database.schema);
    let mut connection = connect::open(settings, ROLE).await?;
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
    let mut connection = connect::open(settings, ROLE).await?;
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
