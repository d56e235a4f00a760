//! Performs a refresh on a connection; if it fails, the failure is noted on the same connection where that is alive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use tracing::warn;

use super::failure::{FailureClass, classify};
use crate::connect::{describe, sqlstate};
use crate::dictionary::installation;
use crate::dictionary::refreshes::{self, FailureNote, FailureRow, Order, RefreshRow};
use crate::scheduler::backoff;
use crate::sql::ModuleSchema;

/// How often a refresh is tried that loses a race against another one of the same views.
const RACES: u32 = 3;

/// How long it may take to note a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// When a failed refresh is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After the first failure.
    pub base: Duration,
    /// At most.
    pub cap: Duration,
}

/// A failed refresh.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// What to do about it.
    pub class: FailureClass,
    /// For users.
    pub message: String,
    /// The server's SQLSTATE.
    pub sqlstate: Option<String>,
    /// How long it had been running.
    pub after: Duration,
    /// What was noted for each view; empty where the failure is not the views' own, or could not be noted yet.
    pub noted: Vec<(i32, FailureRow)>,
}

/// How a refresh ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The server's answer for each view.
    Done(Vec<RefreshRow>),
    /// Failed.
    Failed(Failed),
}

/// Performs an order. `members` are the views concerned, with their failures so far. Where `is_stopping` is set, an
/// error is taken for our own doing, and not noted.
pub async fn perform(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order,
    members: &[(i32, u32)],
    retry: RetryPolicy,
    is_stopping: &AtomicBool,
) -> Report {
    let mut failed = match attempt(connection, schema, order).await {
        Ok(rows) => return Report::Done(rows),
        Err(failed) => failed,
    };
    let own = matches!(
        failed.class,
        FailureClass::Transient | FailureClass::Permanent
    );
    if !own || is_stopping.load(Ordering::Relaxed) {
        return Report::Failed(failed);
    }
    let noting = async {
        // The failed transaction took its own RESET ALL back with it.
        refreshes::reset(connection, order.limits).await?;
        if installation::installed_version(connection, schema).await?
            != installation::known_version()
        {
            return Ok(None);
        }
        let noted = note_failures(connection, schema, order, members, &failed, retry);
        noted.await.map(Some)
    };
    // If the connection breaks right now, nothing is noted and the refresh is tried again as if it had not been.
    match tokio::time::timeout(PATIENCE, noting).await {
        Ok(Ok(Some(noted))) => failed.noted = noted,
        Ok(Ok(None)) => failed.class = FailureClass::OtherVersion,
        Ok(Err(error)) => unnoted(&failed, &describe(&error)),
        Err(_) => unnoted(&failed, "no answer"),
    }
    Report::Failed(failed)
}

fn unnoted(failed: &Failed, reason: &str) {
    let (error, reason) = (&failed.message, reason.replace('\n', " "));
    warn!(error, reason, "a failed refresh could not be noted");
}

/// A group that another session refreshed meanwhile fails to serialize. The next attempt sees that, and does nothing.
async fn attempt(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order,
) -> Result<Vec<RefreshRow>, Failed> {
    let mut races = 0;
    loop {
        let begun = Instant::now();
        let error = match refreshes::perform(connection, schema, order).await {
            Ok(rows) => return Ok(rows),
            Err(error) => error,
        };
        let sqlstate = sqlstate(&error);
        races += 1;
        if sqlstate.as_deref() == Some("40001") && races < RACES {
            continue;
        }
        return Err(Failed {
            class: classify(&error),
            message: describe(&error).replace('\n', " "),
            sqlstate,
            after: begun.elapsed(),
            noted: Vec::new(),
        });
    }
}

/// Notes a failure for each of the views.
pub async fn note_failures(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order,
    members: &[(i32, u32)],
    failed: &Failed,
    retry: RetryPolicy,
) -> sqlx::Result<Vec<(i32, FailureRow)>> {
    let mut noted = Vec::with_capacity(members.len());
    for (id, failures) in members {
        let delay = backoff::delay(failures + 1, retry.base, retry.cap, fastrand::f64());
        let note = FailureNote {
            mv_id: *id,
            trigger: order.trigger,
            seconds_ago: failed.after.as_secs_f64(),
            error: &failed.message,
            error_code: failed.sqlstate.as_deref(),
            retry_after_seconds: delay.as_secs_f64(),
            suspend: failed.class == FailureClass::Permanent,
            due_at: order.due_at,
        };
        if let Some(row) = refreshes::note_failure(connection, schema, &note).await? {
            noted.push((*id, row));
        }
    }
    Ok(noted)
}
