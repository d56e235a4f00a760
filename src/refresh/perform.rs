//! Performs a refresh on a connection; if it fails, the failure is noted on the same connection where that is alive.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;

use super::failure::{FailureClass, classify};
use crate::connect::{describe, sqlstate};
use crate::dictionary::refreshes::{self, FailureNote, FailureRow, Order, RefreshRow};
use crate::scheduler::backoff;
use crate::sql::ModuleSchema;

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

/// Performs an order. `members` are the views concerned, with their failures so far.
pub async fn perform(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    order: &Order,
    members: &[(i32, u32)],
    retry: RetryPolicy,
) -> Report {
    let begun = Instant::now();
    let error = match refreshes::perform(connection, schema, order).await {
        Ok(rows) => return Report::Done(rows),
        Err(error) => error,
    };
    let mut failed = Failed {
        class: classify(&error),
        message: describe(&error).replace('\n', " "),
        sqlstate: sqlstate(&error),
        after: begun.elapsed(),
        noted: Vec::new(),
    };
    if matches!(
        failed.class,
        FailureClass::Transient | FailureClass::Permanent
    ) {
        // If the connection breaks right now, nothing is noted and the refresh is tried again as if it had not been.
        if let Ok(noted) = note_failures(connection, schema, order, members, &failed, retry).await {
            failed.noted = noted;
        }
    }
    Report::Failed(failed)
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
