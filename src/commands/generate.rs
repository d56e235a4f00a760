//! `generate`: what packages ship beside the program, made from the command line's own definition.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

use crate::cli::{Cli, Generate};
use crate::error::{CommandError, Exit};

const PROGRAM: &str = "mvrefreshd";

pub(super) fn run(what: &Generate) -> Result<Exit, CommandError> {
    let (Generate::Man { directory } | Generate::Completions { directory }) = what;
    let failed = |error: std::io::Error| {
        let message = format!("{}: {error}", directory.display());
        CommandError::new(Exit::Data, message)
    };
    fs::create_dir_all(directory).map_err(failed)?;
    match what {
        Generate::Man { .. } => clap_mangen::generate_to(command(), directory),
        Generate::Completions { .. } => completions(directory),
    }
    .map_err(failed)?;
    Ok(Exit::Ok)
}

/// Without what is for packagers only.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("generate", |generate| generate.hide(true))
}

fn completions(directory: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command(), PROGRAM, directory)?;
    }
    Ok(())
}
