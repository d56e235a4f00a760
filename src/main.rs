//! The `mvrefreshd` command.

use std::process::ExitCode;

use mvrefreshd::cli::Cli;
use mvrefreshd::commands;
use mvrefreshd::error::{CommandError, Exit};

fn main() -> ExitCode {
    let cli = match Cli::parse_from_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when the output is closed.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            }
            .into();
        }
    };
    match carry_out(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("{error}");
            error.exit.into()
        }
    }
}

fn carry_out(cli: Cli) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot start: {error}")))?;
    runtime.block_on(commands::run(cli))
}
