//! Logging by `tracing`: as text or JSON, to standard output, standard error or files.
//!
//! Lines are written by a thread of their own. By default a writer that can't keep up makes the program wait, so that
//! no line is lost; with `log.lossy` lines are lost instead, and counted.

mod file;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use tracing::Dispatch;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use self::file::LogFile;
use crate::config::{LogConfig, LogFormat, LogTarget, check_log_level};

/// Who is logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The daemon: to where the configuration says.
    Daemon,
    /// A command that prints its result to standard output: to standard error, as text.
    OneShot,
}

/// Why logging can't be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error("log.level = {level:?}: {why}")]
    Level {
        /// What was given.
        level: String,
        /// What is allowed.
        why: String,
    },
    /// The log file can't be opened.
    #[error("cannot write a log file in {directory}: {why}")]
    File {
        /// `log.directory`.
        directory: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// Logging is set up already.
    #[error("logging is set up already")]
    Twice,
}

/// Logging as long as this lives; dropping it writes what is still queued.
#[must_use]
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
    file: Option<LogFile>,
    dropped: Option<ErrorCounter>,
    /// Held for its drop, which writes what is queued.
    guard: Option<WorkerGuard>,
}

/// Sets up logging for the whole process.
pub fn start(config: &LogConfig, purpose: Purpose) -> Result<Telemetry, TelemetryError> {
    let (dispatch, telemetry) = build(config, purpose)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::Twice)?;
    Ok(telemetry)
}

/// Builds what [`start`] installs.
fn build(config: &LogConfig, purpose: Purpose) -> Result<(Dispatch, Telemetry), TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let mut telemetry = Telemetry {
        filter: handle,
        file: None,
        dropped: None,
        guard: None,
    };
    let dispatch = if purpose == Purpose::OneShot {
        let ansi = io::stderr().is_terminal();
        Dispatch::new(registry.with(layer(LogFormat::Text, ansi, io::stderr)))
    } else {
        let (writer, ansi) = telemetry.open(config)?;
        Dispatch::new(registry.with(layer(config.format, ansi, writer)))
    };
    Ok((dispatch, telemetry))
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let wrong = |why| TelemetryError::Level {
        level: level.to_owned(),
        why,
    };
    check_log_level(level).map_err(wrong)?;
    EnvFilter::try_new(level).map_err(|error| wrong(error.to_string()))
}

fn layer<S, W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(ansi)
        .with_writer(writer);
    match format {
        LogFormat::Text => layer.with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

impl Telemetry {
    /// Opens the configured target: the writer, and whether it is a terminal.
    fn open(&mut self, config: &LogConfig) -> Result<(NonBlocking, bool), TelemetryError> {
        let builder = NonBlockingBuilder::default()
            .lossy(config.lossy)
            .thread_name("log-writer");
        let (writer, guard, ansi) = match config.target {
            LogTarget::Stdout => {
                let (writer, guard) = builder.finish(io::stdout());
                (writer, guard, io::stdout().is_terminal())
            }
            LogTarget::File => {
                let file = LogFile::open(config)?;
                self.file = Some(file.clone());
                let (writer, guard) = builder.finish(file);
                (writer, guard, false)
            }
        };
        self.dropped = Some(writer.error_counter());
        self.guard = Some(guard);
        Ok((writer, ansi))
    }

    /// Changes the level (or directives) from now on.
    pub fn set_level(&self, level: &str) -> Result<(), TelemetryError> {
        let filter = filter(level)?;
        // Fails only when the subscriber is gone, and then there is nothing left to change.
        let _ = self.filter.reload(filter);
        Ok(())
    }

    /// Opens the log file again by its name, after logrotate or someone else has moved it away. Without a log file
    /// there is nothing to do. On an error the old file stays in use.
    pub fn reopen(&self) -> Result<(), TelemetryError> {
        self.file.as_ref().map_or(Ok(()), LogFile::reopen)
    }

    /// How many lines have been lost so far: to a full queue (`log.lossy`), or to a file that could not be written.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        let dropped = self.dropped.as_ref().map_or(0, ErrorCounter::dropped_lines);
        let failed = self.file.as_ref().map_or(0, LogFile::failed_writes);
        failed.saturating_add(u64::try_from(dropped).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
