//! The command line.

#![expect(clippy::doc_markdown, reason = "these comments are the help texts")]

mod commands;
mod harness;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser};

pub use commands::{
    Adopt, Alter, Command, Create, CreateQuery, Demo, Drop, Explain, Generate, Healthcheck,
    History, Refresh, Resume, Run, Schedule, Top, Uninstall, Upgrade, Which,
};
pub use harness::{Harness, HarnessCreate, HarnessPlace, Pipeline, PipelinePart};
pub use values::{CompleteForm, Method, RefreshRate};

use crate::config::{Environment, Flag, Secret, Sources};

const EXAMPLES: &str = "\
Examples:
  mvrefreshd demo
  mvrefreshd --database-url postgres://app@localhost/shop install
  mvrefreshd create shop.totals --query 'SELECT customer_id, sum(price) FROM shop.orders GROUP BY 1' --every 30s
  mvrefreshd run
  mvrefreshd status

The database is taken from the configuration file, PG* variables, DATABASE_URL or --database-url.
Exit codes: 0 done; 1 done, the answer is no; 64 usage; 65 input; 69 no database; 70 internal;
75 try again; 77 permission; 78 configuration.";

/// Keeps materialized views fresh on stock PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "mvrefreshd", version, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Configuration file [default: $MVREFRESHD_CONFIG, else /etc/mvrefreshd/mvrefreshd.toml if there is one]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE"
    )]
    pub config: Option<PathBuf>,
    /// The database, as postgres://user@host/db or "host=… dbname=…"; overrides $DATABASE_URL
    #[arg(long, global = true, help_heading = "Global options", value_name = "URL", value_parser = secret)]
    pub database_url: Option<Secret>,
    /// The database by its name, where several are configured
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "NAME"
    )]
    pub database: Option<String>,
    /// The module schema
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "NAME"
    )]
    pub schema: Option<String>,
    /// Print data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// What to log: off, error, warn, info, debug, trace, or directives such as info,sqlx=warn
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "LEVEL"
    )]
    pub log_level: Option<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a value parser")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

impl Cli {
    /// Reads a command line, the program's name first. Errors include requests for help, which print to standard
    /// output and are no failures (`clap::Error::use_stderr`).
    pub fn parse_from_args(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }

    /// What the configuration is loaded from, given this command line.
    #[must_use]
    pub fn sources(&self, environment: Environment) -> Sources {
        let global = &self.global;
        let url = global
            .database_url
            .as_ref()
            .map(|url| url.expose().to_owned());
        let no_install = matches!(&self.command, Command::Run(run) if run.no_install);
        let flags = [
            ("--database-url", "database.url", url),
            ("--schema", "database.schema", global.schema.clone()),
            ("--log-level", "log.level", global.log_level.clone()),
            (
                "--no-install",
                "install.on_start",
                no_install.then(|| "false".to_owned()),
            ),
        ];
        Sources {
            file: global.config.clone(),
            database: global.database.clone(),
            environment,
            flags: flags
                .into_iter()
                .filter_map(|(option, key, value)| {
                    Some(Flag {
                        option,
                        key,
                        value: value?,
                    })
                })
                .collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
