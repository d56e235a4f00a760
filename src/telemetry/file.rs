//! A log file that rotates by time and can be opened again.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_appender::rolling::{Builder, RollingFileAppender, Rotation};

use super::TelemetryError;
use crate::config::{LogConfig, LogRotation};

/// The log file; clones write to the same one. Named `prefix.log`, or `prefix.date.log` when it rotates (in UTC).
#[derive(Clone)]
pub(super) struct LogFile {
    appender: Arc<Mutex<RollingFileAppender>>,
    builder: Arc<Builder>,
    directory: PathBuf,
    failed: Arc<AtomicU64>,
}

impl LogFile {
    pub(super) fn open(config: &LogConfig) -> Result<Self, TelemetryError> {
        let mut builder = RollingFileAppender::builder()
            .filename_prefix(&config.file_prefix)
            .filename_suffix("log")
            .rotation(match config.rotation {
                LogRotation::Daily => Rotation::DAILY,
                LogRotation::Hourly => Rotation::HOURLY,
                LogRotation::Never => Rotation::NEVER,
            });
        if config.keep_files > 0 && config.rotation != LogRotation::Never {
            builder = builder.max_log_files(config.keep_files);
        }
        let appender = build(&builder, &config.directory)?;
        Ok(Self {
            appender: Arc::new(Mutex::new(appender)),
            builder: Arc::new(builder),
            directory: config.directory.clone(),
            failed: Arc::default(),
        })
    }

    pub(super) fn reopen(&self) -> Result<(), TelemetryError> {
        let fresh = build(&self.builder, &self.directory)?;
        *self.lock() = fresh;
        Ok(())
    }

    pub(super) fn failed_writes(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// A panic while writing leaves nothing half done that the next write would stumble over.
    fn lock(&self) -> MutexGuard<'_, RollingFileAppender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(builder: &Builder, directory: &PathBuf) -> Result<RollingFileAppender, TelemetryError> {
    builder.build(directory).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        TelemetryError::File {
            directory: directory.clone(),
            why: cause.unwrap_or_else(|| error.to_string()),
        }
    })
}

impl Write for LogFile {
    /// Writes the whole line. The thread that calls this drops a line whose write fails without a word, so it is
    /// counted here.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let outcome = self.lock().write_all(line);
        if outcome.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        outcome.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}
