//! The commands, a file each.

mod adopt;
mod alter;
mod check_config;
mod create;
mod custom_sql;
mod demo;
mod drop;
mod explain;
mod fast;
mod generate;
mod harness;
mod healthcheck;
mod history;
mod install;
mod output;
mod phrases;
mod pipeline;
mod privileges;
mod refresh;
mod resume;
mod run;
mod schedules;
mod self_check;
mod session;
mod status;
mod top;
mod uninstall;
mod upgrade;
mod verify;

use crate::cli::{Cli, Command};
use crate::config::{Environment, Sources};
use crate::error::{CommandError, Exit};
use output::Output;
use session::Session;

/// Carries out a command.
pub async fn run(cli: Cli) -> Result<Exit, CommandError> {
    let sources = cli.sources(Environment::of_process());
    match cli.command {
        Command::CheckConfig => check_config::run(&sources, cli.global.json),
        Command::Install => install::run(&sources, cli.global.json).await,
        Command::Demo(options) => demo::run(&options).await,
        Command::Generate(what) => generate::run(&what),
        Command::Healthcheck(arguments) => {
            healthcheck::run(&sources, &arguments, Output::new(cli.global.json)).await
        }
        Command::Run(_) => run::run(sources).await,
        Command::Pipeline(arguments) => {
            pipeline::run(&sources, &arguments, Output::new(cli.global.json)).await
        }
        command => run_once(&sources, command, Output::new(cli.global.json)).await,
    }
}

/// The commands that do their work on one connection and end.
async fn run_once(
    sources: &Sources,
    command: Command,
    output: Output,
) -> Result<Exit, CommandError> {
    if let Command::Uninstall(arguments) = command {
        return uninstall::run(sources, &arguments, output).await;
    }
    let session = &mut Session::open(sources).await?;
    let result = match command {
        Command::Create(arguments) => create::run(session, &arguments, output).await,
        Command::Drop(arguments) => drop::run(session, &arguments, output).await,
        Command::Alter(arguments) => alter::run(session, &arguments, output).await,
        Command::Refresh(arguments) => refresh::run(session, &arguments, output).await,
        Command::Resume(arguments) => resume::run(session, &arguments, output).await,
        Command::Status => status::run(session, output).await,
        Command::Top(arguments) => top::run(session, &arguments).await,
        Command::History(arguments) => history::run(session, &arguments, output).await,
        Command::Explain(arguments) => explain::run(session, &arguments, output).await,
        Command::Verify(arguments) => verify::run(session, &arguments, output).await,
        Command::Adopt(arguments) => adopt::run(session, &arguments, output).await,
        Command::Upgrade(step) => upgrade::run(session, step, output).await,
        Command::SelfCheck => self_check::run(session, output).await,
        Command::Harness(step) => harness::run(session, &step, output).await,
        Command::CheckConfig
        | Command::Demo(_)
        | Command::Generate(_)
        | Command::Healthcheck(_)
        | Command::Install
        | Command::Pipeline(_)
        | Command::Run(_)
        | Command::Uninstall(_) => Err(CommandError::new(
            Exit::Internal,
            "this command opens its own connections",
        )),
    };
    match result {
        Ok(exit) => Ok(exit),
        Err(error) => Err(privileges::with_missing_grant(error, session).await),
    }
}
