//! The commands, a file each.

mod check_config;
mod custom_sql;
mod demo;
mod install;
mod run;

use crate::cli::{Cli, Command};
use crate::config::Environment;
use crate::error::{CommandError, Exit};

/// Carries out a command.
pub async fn run(cli: Cli) -> Result<Exit, CommandError> {
    let sources = cli.sources(Environment::of_process());
    match cli.command {
        Command::CheckConfig => check_config::run(&sources, cli.global.json),
        Command::Install => install::run(&sources, cli.global.json).await,
        Command::Demo(options) => demo::run(&options).await,
        Command::Run(_) => run::run(sources).await,
        _ => Err(CommandError::new(Exit::Internal, "not implemented yet")),
    }
}
