//! What one worker does: gets a connection, and performs one refresh on it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::super::view::UnitId;
use super::workers::Assignment;
use crate::connect::{self, ConnectError, ConnectionSettings};
use crate::refresh::{self, FailureClass, Report, RetryPolicy};
use crate::sql::ModuleSchema;

/// A kept connection that breaks sooner than this was broken before it was used.
const BROKEN_BEFORE: Duration = Duration::from_millis(100);

/// How long a connection that has been idle for long may take to show that it is alive.
const PING_PATIENCE: Duration = Duration::from_secs(1);

/// For so many different units a session may keep plans, of up to a megabyte each, in the server's memory. Then it is closed, which
/// is the only way to have all of that given back.
const MOST_KNOWN: usize = 200;

/// An open connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    /// When it was last heard of.
    heard_at: Instant,
    /// What was refreshed on it.
    known: HashSet<UnitId>,
}

impl Session {
    /// Whether it has plans for a unit.
    pub(super) fn knows(&self, unit: UnitId) -> bool {
        self.known.contains(&unit)
    }

    /// Whether it has done its part.
    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= MOST_KNOWN
    }

    /// Whether it can be used. One that has been idle for long may have been forgotten by a firewall that says nothing;
    /// what is sent over it then is lost, and nobody would know for `broken_after`.
    async fn is_alive(&mut self, broken_after: Duration) -> bool {
        if self.heard_at.elapsed() < broken_after {
            return true;
        }
        let answer = tokio::time::timeout(PING_PATIENCE, self.connection.ping()).await;
        matches!(answer, Ok(Ok(())))
    }
}

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
        kept: Option<Session>,
    ) -> (Result<Report, NoReport>, Option<Session>) {
        let mut broken = None;
        if let Some(mut session) = kept
            && session.is_alive(self.settings.broken_after()).await
        {
            let begun = Instant::now();
            let (report, session) = self.on(session).await;
            if session.is_some() || begun.elapsed() > BROKEN_BEFORE {
                return (Ok(report), session);
            }
            broken = Some(report);
        }
        match open(&self.settings).await {
            Ok(_) if self.is_stopping.load(Ordering::Relaxed) => (Err(NoReport::NotBegun), None),
            Ok(session) => {
                let (report, session) = self.on(session).await;
                (Ok(report), session)
            }
            // with no other connection to be had it was the server after all, and perhaps this refresh's doing
            Err(error) => (broken.ok_or(NoReport::NotConnected(error)), None),
        }
    }

    async fn on(&self, mut session: Session) -> (Report, Option<Session>) {
        let report = refresh::perform(
            &mut session.connection,
            &self.schema,
            &self.assignment.order,
            &self.assignment.members,
            self.retry,
            &self.is_stopping,
        )
        .await;
        session.heard_at = Instant::now();
        session.known.insert(self.assignment.unit);
        let is_broken =
            matches!(&report, Report::Failed(failed) if failed.class == FailureClass::Server);
        (report, (!is_broken).then_some(session))
    }
}

async fn open(settings: &ConnectionSettings) -> Result<Session, ConnectError> {
    let connection = connect::open(settings, "worker").await?;
    Ok(Session {
        connection,
        heard_at: Instant::now(),
        known: HashSet::new(),
    })
}
