//! The commands and their options.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::harness::{Harness, Pipeline};
use super::values::{CompleteForm, Method, RefreshRate};

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the daemon until it is told to stop
    Run(Run),
    /// Install the module schema, or upgrade it
    Install,
    /// Remove the module from the database; materialized views stay as plain tables
    Uninstall(Uninstall),
    /// Create a materialized view
    Create(Create),
    /// Drop a materialized view
    Drop(Drop),
    /// Change a materialized view's schedule or settings
    Alter(Alter),
    /// Refresh one materialized view, or all that are due
    Refresh(Refresh),
    /// Resume a materialized view that was suspended after an error
    Resume(Resume),
    /// Show all materialized views with their staleness
    Status,
    /// Show all materialized views live, in the terminal
    Top(Top),
    /// Show the latest refreshes
    History(History),
    /// Say how a materialized view or a query is refreshed, and why
    Explain(Explain),
    /// Compare with the defining view, row by row; exits 1 on a difference
    Verify(Which),
    /// Put existing native MATERIALIZED VIEWs on a schedule
    Adopt(Adopt),
    /// Take all materialized views away for a schema change, and bring them back
    #[command(subcommand)]
    Upgrade(Upgrade),
    /// Check every object of the module schema
    SelfCheck,
    /// Check the configuration and print what it comes to
    CheckConfig,
    /// Ask the daemon on this machine how it is; exits 1 if it is not well
    Healthcheck(Healthcheck),
    /// Show the daemon at work on a scratch database of its own
    Demo(Demo),
    /// Write man pages or shell completions into a directory, for packages
    #[command(subcommand, hide = true)]
    Generate(Generate),
    /// Create or drop base tables and a materialized view to try things on
    #[command(subcommand)]
    Harness(Harness),
    /// Check an installation by using all of it: many materialized views created, refreshed, compared and dropped
    Pipeline(Pipeline),
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Neither install nor upgrade the module schema (install.on_start = false)
    #[arg(long)]
    pub no_install: bool,
}

/// `uninstall`.
#[derive(Debug, Clone, Args)]
pub struct Uninstall {
    /// Drop the materialized views with all their rows, too
    #[arg(long)]
    pub drop_views: bool,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `create`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  mvrefreshd create shop.totals --query 'SELECT customer_id, sum(price) FROM shop.orders GROUP BY 1' --every 30s
  mvrefreshd create report --view report_source --cron '15 6 * * mon-fri' --time-zone Europe/Paris
  mvrefreshd create order_lines --view all_order_lines --parallel 4 --split-by order_id")]
pub struct Create {
    /// The new table, with or without schema, quoted as in SQL
    pub name: String,
    /// What it holds.
    #[command(flatten)]
    pub query: CreateQuery,
    /// When it is refreshed.
    #[command(flatten)]
    pub schedule: Schedule,
    /// How to refresh; fast is refused, with the reason, where it can't be done [default: auto]
    #[arg(long)]
    pub method: Option<Method>,
    /// How a complete refresh writes its result [default: in-place]
    #[arg(long, value_name = "FORM")]
    pub complete_form: Option<CompleteForm>,
    /// Refresh group: its members are refreshed together, at one snapshot
    #[arg(long)]
    pub group: Option<String>,
    /// Leave it empty until its first refresh
    #[arg(long)]
    pub no_data: bool,
    /// Fill it by so many sessions at once, at one snapshot
    #[arg(long, value_name = "N", requires = "split_by", conflicts_with = "no_data", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
    /// With --parallel: the column by whose values its rows are divided among the sessions
    #[arg(long, value_name = "COLUMN", requires = "parallel")]
    pub split_by: Option<String>,
}

/// Where `create` gets its query: exactly one is set.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["query", "query_file", "view"]))]
pub struct CreateQuery {
    /// Its query
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    /// A file with its query; - for standard input
    #[arg(long, value_name = "FILE")]
    pub query_file: Option<PathBuf>,
    /// An existing view as its defining view
    #[arg(long, value_name = "VIEW")]
    pub view: Option<String>,
}

/// When a materialized view is refreshed; all `None`: only on request.
#[derive(Debug, Clone, Args)]
pub struct Schedule {
    /// Refresh rate: 30s, 5m, 1h30m; a plain number is seconds
    #[arg(
        long,
        value_name = "RATE",
        conflicts_with = "cron",
        allow_hyphen_values = true
    )]
    pub every: Option<RefreshRate>,
    /// Crontab's five fields: '*/5 8-18 * * mon-fri'
    #[arg(long, value_name = "CRON")]
    pub cron: Option<String>,
    /// Time zone of --cron, such as Europe/Paris [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    pub time_zone: Option<String>,
}

/// `drop`.
#[derive(Debug, Clone, Args)]
pub struct Drop {
    /// The materialized view
    pub name: String,
}

/// `alter`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args([
    "every", "cron", "no_schedule", "method", "complete_form", "group", "no_group", "enable", "disable",
]))]
#[command(after_help = "\
Examples:
  mvrefreshd alter shop.totals --every 5m
  mvrefreshd alter shop.totals --disable")]
#[expect(clippy::struct_excessive_bools, reason = "one per option")]
pub struct Alter {
    /// The materialized view
    pub name: String,
    /// When it is refreshed from now on.
    #[command(flatten)]
    pub schedule: Schedule,
    /// Refresh it on request only
    #[arg(long, conflicts_with_all = ["every", "cron"])]
    pub no_schedule: bool,
    /// How to refresh
    #[arg(long)]
    pub method: Option<Method>,
    /// How a complete refresh writes its result
    #[arg(long, value_name = "FORM")]
    pub complete_form: Option<CompleteForm>,
    /// Put it into a refresh group
    #[arg(long, conflicts_with = "no_group")]
    pub group: Option<String>,
    /// Take it out of its refresh group
    #[arg(long)]
    pub no_group: bool,
    /// Refresh it by its schedule again
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,
    /// Don't refresh it by its schedule
    #[arg(long)]
    pub disable: bool,
}

/// One materialized view, or all: exactly one of the two is set.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["name", "all"]))]
pub struct Which {
    /// The materialized view
    pub name: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// `refresh`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  mvrefreshd refresh shop.totals
  mvrefreshd refresh --all --force")]
pub struct Refresh {
    /// What to refresh.
    #[command(flatten)]
    pub which: Which,
    /// How to refresh, this time
    #[arg(long)]
    pub method: Option<Method>,
    /// With --all: those too that are not due
    #[arg(long)]
    pub force: bool,
}

/// `resume`.
#[derive(Debug, Clone, Args)]
pub struct Resume {
    /// The materialized view
    pub name: String,
}

/// `history`.
#[derive(Debug, Clone, Args)]
pub struct History {
    /// Only of this materialized view
    pub name: Option<String>,
    /// How many, latest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// `explain`: exactly one is set.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["name", "query"]))]
pub struct Explain {
    /// The materialized view
    pub name: Option<String>,
    /// A query that has no materialized view yet
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    /// Print the SQL that refreshes it, too
    #[arg(long)]
    pub sql: bool,
}

/// `adopt`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("when").required(true).args(["every", "cron"]))]
#[command(after_help = "\
Examples:
  mvrefreshd adopt public.old_report --every 10m
  mvrefreshd adopt --all --cron '0 3 * * *' --time-zone UTC")]
pub struct Adopt {
    /// Which native materialized view.
    #[command(flatten)]
    pub which: Which,
    /// When it is refreshed.
    #[command(flatten)]
    pub schedule: Schedule,
}

/// `upgrade`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Upgrade {
    /// Drop all materialized views but keep their dictionary rows, refresh rates included
    Drop,
    /// Create them again and refresh them; report each that no longer fits
    Recreate,
}

/// `generate`.
#[derive(Debug, Clone, Subcommand)]
pub enum Generate {
    /// A man page for each command
    Man {
        /// Where to
        directory: PathBuf,
    },
    /// For bash, zsh and fish
    Completions {
        /// Where to
        directory: PathBuf,
    },
}

/// `top`.
#[derive(Debug, Clone, Args)]
pub struct Top {
    /// Seconds between two looks at the database
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub interval: u32,
}

/// `healthcheck`.
#[derive(Debug, Clone, Args)]
pub struct Healthcheck {
    /// Whether it can do its work, too: its database answers, with the right module schema
    #[arg(long)]
    pub ready: bool,
}

/// `demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// End after so many seconds with a summary [default: run until Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
    /// Size of the shop in percent; 100 is about 200,000 rows
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub scale: u32,
}
