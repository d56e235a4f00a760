//! The commands, a file each.

mod check_config;

use crate::cli::{Cli, Command};
use crate::config::Environment;
use crate::error::{CommandError, Exit};

/// Carries out a command.
#[expect(
    clippy::unused_async,
    reason = "the commands that talk to the database are asynchronous"
)]
pub async fn run(cli: Cli) -> Result<Exit, CommandError> {
    let sources = cli.sources(Environment::of_process());
    match cli.command {
        Command::CheckConfig => check_config::run(&sources, cli.global.json),
        _ => Err(CommandError::new(Exit::Internal, "not implemented yet")),
    }
}
