//! The commands that check an installation by using it.

use clap::{Args, Subcommand, ValueEnum};

/// `harness`.
#[derive(Debug, Clone, Subcommand)]
pub enum Harness {
    /// Create six base tables with rows, and a materialized view of their outer joins, owned by two ordinary roles
    Create(HarnessCreate),
    /// Drop all that create has made
    Drop(HarnessPlace),
}

/// Where the harness is.
#[derive(Debug, Clone, Args)]
pub struct HarnessPlace {
    /// The schema of the base tables, and the role that owns them
    #[arg(long, value_name = "NAME", default_value = "mvrefresh_harness_source")]
    pub source_schema: String,
    /// The schema of the materialized view, and the role that owns it
    #[arg(long, value_name = "NAME", default_value = "mvrefresh_harness_views")]
    pub view_schema: String,
}

/// `harness create`.
#[derive(Debug, Clone, Args)]
pub struct HarnessCreate {
    /// Where.
    #[command(flatten)]
    pub place: HarnessPlace,
    /// How many orders; there are two to three lines to each
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    pub rows: u32,
}

/// A part of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PipelinePart {
    /// All of it, one after the other
    All,
    /// The module if it is not installed, schemas, base tables and logs
    Install,
    /// The materialized views, one of them filled in parallel
    Views,
    /// Changes of the base tables, refreshes, and comparisons with the queries
    Test,
    /// Drop everything and see that nothing is left
    Drop,
}

/// `pipeline`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Touches nothing but two schemas of its own, the roles that own them, and what the module keeps of these.
Ends with \"ran with no issues\", or with a list of problems and exit code 1.")]
pub struct Pipeline {
    /// Which part of it
    pub part: PipelinePart,
    /// The schema of the base tables, and the role that owns them
    #[arg(long, value_name = "NAME", default_value = "mvrefresh_pipeline_source")]
    pub source_schema: String,
    /// The schema of the materialized views, and the role that owns them
    #[arg(long, value_name = "NAME", default_value = "mvrefresh_pipeline_views")]
    pub view_schema: String,
    /// How many orders the base tables begin with; there are two to three lines to each
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    pub rows: u32,
}
