//! What one worker does: gets a connection, and performs one refresh on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;

use super::workers::Assignment;
use crate::connect::{self, ConnectError, ConnectionSettings};
use crate::refresh::{self, FailureClass, Report, RetryPolicy};
use crate::sql::ModuleSchema;

/// A kept connection that breaks sooner than this was broken before it was used.
const BROKEN_BEFORE: Duration = Duration::from_millis(100);

/// Why a refresh ended without a report.
#[derive(Debug)]
pub(super) enum NoReport {
    /// No connection was to be had.
    NotConnected(ConnectError),
    /// Its answer never came, though nothing is running on the server.
    Lost,
    /// A defect of ours.
    Panicked,
    /// It was not begun, as the daemon is stopping.
    NotBegun,
}

/// One refresh to be worked on.
pub(super) struct Work {
    pub(super) settings: ConnectionSettings,
    pub(super) schema: ModuleSchema,
    pub(super) retry: RetryPolicy,
    pub(super) assignment: Arc<Assignment>,
    pub(super) is_stopping: Arc<AtomicBool>,
}

impl Work {
    /// Refreshes, on the given connection or a new one; returns the connection if it can be used again.
    pub(super) async fn run(
        self,
        kept: Option<PgConnection>,
    ) -> (Result<Report, NoReport>, Option<PgConnection>) {
        let mut broken = None;
        if let Some(connection) = kept {
            let begun = Instant::now();
            let (report, connection) = self.on(connection).await;
            if connection.is_some() || begun.elapsed() > BROKEN_BEFORE {
                return (Ok(report), connection);
            }
            broken = Some(report);
        }
        match connect::open(&self.settings, "worker").await {
            Ok(_) if self.is_stopping.load(Ordering::Relaxed) => (Err(NoReport::NotBegun), None),
            Ok(connection) => {
                let (report, connection) = self.on(connection).await;
                (Ok(report), connection)
            }
            // with no other connection to be had it was the server after all, and perhaps this refresh's doing
            Err(error) => (broken.ok_or(NoReport::NotConnected(error)), None),
        }
    }

    async fn on(&self, mut connection: PgConnection) -> (Report, Option<PgConnection>) {
        let report = refresh::perform(
            &mut connection,
            &self.schema,
            &self.assignment.order,
            &self.assignment.members,
            self.retry,
            &self.is_stopping,
        )
        .await;
        let is_broken =
            matches!(&report, Report::Failed(failed) if failed.class == FailureClass::Server);
        (report, (!is_broken).then_some(connection))
    }
}
