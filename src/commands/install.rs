//! `install`: the module schema, its roles, the user's own files, and the self-check.

use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::custom_sql;
use crate::config::{Config, Environment, Sources, load};
use crate::connect::{self, ConnectionSettings};
use crate::dictionary::installation::{self, CheckRow, InstallError, Installed};
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

impl From<InstallError> for CommandError {
    fn from(error: InstallError) -> Self {
        let exit = match &error {
            InstallError::Newer { .. }
            | InstallError::Different { .. }
            | InstallError::Older { .. }
            | InstallError::Foreign { .. } => Exit::Configuration,
            InstallError::MayNotCreate { .. } | InstallError::OtherOwner { .. } => Exit::Permission,
            InstallError::ReadOnly | InstallError::Busy { .. } => Exit::Temporary,
            InstallError::Migration { .. } => Exit::Internal,
            InstallError::Database(_) => match error {
                InstallError::Database(error) => return error.into(),
                _ => Exit::Internal,
            },
        };
        Self::new(exit, error.to_string())
    }
}

/// What was done, for people and for scripts.
struct Summary {
    installed: Installed,
    custom_succeeded: usize,
    custom_failed: Vec<custom_sql::FailedFile>,
    objects: Vec<CheckRow>,
}

pub(super) async fn run(sources: &Sources, as_json: bool) -> Result<Exit, CommandError> {
    let config = load(sources)?.only()?;
    let settings = ConnectionSettings::resolve(&config.database, &Environment::of_process());
    let schema = ModuleSchema::new(&config.database.schema);
    let mut connection = connect::open(&settings, "installer").await?;
    let installed = installation::install(&mut connection, &schema).await;
    // closing it releases the lock that keeps other installers out, whatever came of it
    let _ = connection.close().await;
    let installed = installed?;

    let mut connection = connect::open(&settings, "installer").await?;
    let (custom_succeeded, custom_failed) = run_custom_files(&mut connection, &config).await?;
    let objects = installation::self_check(&mut connection, &schema).await?;
    let _ = connection.close().await;
    let summary = Summary {
        installed,
        custom_succeeded,
        custom_failed,
        objects,
    };
    if as_json {
        println!("{}", summary.to_json());
    } else {
        summary.print(&schema, &settings);
    }
    Ok(if summary.is_fine() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

/// The user's own files, if there are any.
pub(super) async fn run_custom_files(
    connection: &mut PgConnection,
    config: &Config,
) -> Result<(usize, Vec<custom_sql::FailedFile>), CommandError> {
    match &config.install.custom_sql_dir {
        Some(directory) => custom_sql::run_all(connection, directory).await,
        None => Ok((0, Vec::new())),
    }
}

impl Summary {
    /// Roles that only an administrator can make are missing by intention; anything else must be as it was made.
    fn is_fine(&self) -> bool {
        self.custom_failed.is_empty() && self.wrong().all(|object| object.object_kind == "role")
    }

    fn wrong(&self) -> impl Iterator<Item = &CheckRow> {
        self.objects.iter().filter(|object| object.status != "fine")
    }

    fn print(&self, schema: &ModuleSchema, settings: &ConnectionSettings) {
        let Installed {
            from,
            to,
            for_administrator,
        } = &self.installed;
        match (from, to) {
            (0, to) => println!("Installed the module schema {schema}, version {to} ({settings})."),
            (from, to) if from == to => {
                println!("The module schema {schema} is up to date, version {to} ({settings}).");
            }
            (from, to) => println!(
                "Upgraded the module schema {schema} from version {from} to {to} ({settings})."
            ),
        }
        if !for_administrator.is_empty() {
            println!("This role may not create roles. As an administrator, then install again:");
            for statement in for_administrator {
                println!("  {statement}");
            }
        }
        if self.custom_succeeded + self.custom_failed.len() > 0 {
            println!(
                "Custom SQL files: {} succeeded, {} failed.",
                self.custom_succeeded,
                self.custom_failed.len()
            );
        }
        for failed in &self.custom_failed {
            println!("  {failed}");
        }
        let wrong: Vec<&CheckRow> = self.wrong().collect();
        if wrong.is_empty() {
            println!("Self-check: {} objects, all fine.", self.objects.len());
        } else {
            println!(
                "Self-check: {} objects, {} not fine:",
                self.objects.len(),
                wrong.len()
            );
        }
        for object in wrong {
            let remedy = object.remedy.as_deref().unwrap_or_default();
            println!(
                "  {} {}: {}; {remedy}",
                object.object_kind, object.object_name, object.status
            );
        }
    }

    fn to_json(&self) -> String {
        json!({
            "from_version": self.installed.from,
            "version": self.installed.to,
            "for_administrator": self.installed.for_administrator,
            "custom_sql_failed": self.custom_failed.iter()
                .map(|failed| json!({"file": failed.file, "error": failed.message})).collect::<Vec<_>>(),
            "objects": self.objects.len(),
            "not_fine": self.wrong().collect::<Vec<_>>(),
        })
        .to_string()
    }
}
