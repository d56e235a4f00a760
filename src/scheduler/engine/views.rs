//! From dictionary rows to what the scheduler keeps, and the parts of a row it needs only when a refresh starts.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::crontab::CrontabError;
use super::super::intern::Interner;
use super::super::schedule::{Failure, Schedule, ViewState};
use super::super::view::{Timeouts, View};
use crate::dictionary::refreshes::RefreshRow;
use crate::dictionary::schedules::ScheduleRow;

/// The time zone of crontabs that name none.
pub(super) const DEFAULT_TIME_ZONE: &str = "UTC";

/// A row's view, known to equal its query at `checked_at` if there was nothing pending then. A crontab that can't be
/// read (or never comes) is returned as well: the view is then kept without it.
pub(super) fn view(
    row: &ScheduleRow,
    checked_at: Option<DateTime<Utc>>,
    interner: &mut Interner,
) -> (View, Option<CrontabError>) {
    let rate = row
        .refresh_rate_in_sec
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs);
    let cron = row.refresh_cron.as_deref().map(|text| {
        (
            text,
            row.refresh_time_zone
                .as_deref()
                .unwrap_or(DEFAULT_TIME_ZONE),
        )
    });
    let (schedule, error) = match interner.schedule(rate, cron) {
        Ok(schedule) => (schedule, None),
        Err(error) => (Arc::new(Schedule { rate, cron: None }), Some(error)),
    };
    let view = View {
        id: row.mv_id,
        group: row
            .refresh_group
            .as_deref()
            .map(|name| interner.group(name)),
        schedule,
        state: ViewState {
            last_refresh: row
                .last_refresh
                .map(|last| checked_at.map_or(last, |at| at.max(last))),
            created_at: row.created_at,
            requested_at: row.requested_at,
            failure: failure(row.failures, row.retry_at),
            enabled: row.enabled,
            suspended: row.suspended,
        },
        avg_cost_ms: row.avg_cost_ms.map(as_cost),
        depends_on: row.depends_on.clone().into_boxed_slice(),
        timeouts: Timeouts {
            statement_ms: milliseconds(row.statement_timeout_in_sec),
            lock_ms: milliseconds(row.lock_timeout_in_sec),
        },
    };
    (view, error)
}

/// Failures as the registry keeps them.
pub(super) fn failure(failures: i32, retry_at: Option<DateTime<Utc>>) -> Option<Failure> {
    let failures = u32::try_from(failures)
        .ok()
        .filter(|failures| *failures > 0)?;
    // failed without a daemon: nothing was said about when to try again
    let retry_at = retry_at.unwrap_or(DateTime::UNIX_EPOCH);
    Some(Failure { failures, retry_at })
}

/// Milliseconds as kept in the registry, where single precision will do.
#[expect(clippy::cast_possible_truncation, reason = "a cost is an estimate")]
pub(super) fn as_cost(milliseconds: f64) -> f32 {
    milliseconds as f32
}

fn milliseconds(seconds: Option<i32>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(seconds?).ok()?.saturating_mul(1000))
}

/// What is said of views in logs and orders: names of all, methods of those for which one was requested; and when some
/// were last found to be right without a refresh.
#[derive(Debug, Default)]
pub(super) struct Details {
    names: HashMap<i32, Box<str>>,
    requested_methods: HashMap<i32, Box<str>>,
    checked: HashMap<i32, DateTime<Utc>>,
}

impl Details {
    pub(super) fn note(&mut self, row: &ScheduleRow) {
        self.names.insert(row.mv_id, row.mv_name.as_str().into());
        match &row.requested_method {
            Some(method) => {
                self.requested_methods
                    .insert(row.mv_id, method.as_str().into());
            }
            None => {
                self.requested_methods.remove(&row.mv_id);
            }
        }
    }

    pub(super) fn forget(&mut self, id: i32) {
        self.names.remove(&id);
        self.requested_methods.remove(&id);
        self.checked.remove(&id);
    }

    /// Notes that nothing was pending for a view.
    pub(super) fn check(&mut self, id: i32, at: DateTime<Utc>) {
        self.checked.insert(id, at);
    }

    /// When nothing was pending for a view the last time.
    pub(super) fn checked_at(&self, id: i32) -> Option<DateTime<Utc>> {
        self.checked.get(&id).copied()
    }

    /// Forgets what was found at instants that mean nothing any more.
    pub(super) fn forget_checks(&mut self) {
        self.checked.clear();
    }

    pub(super) fn name(&self, id: i32) -> &str {
        self.names.get(&id).map_or("?", AsRef::as_ref)
    }

    pub(super) fn requested_method(&self, id: i32) -> Option<&str> {
        self.requested_methods.get(&id).map(AsRef::as_ref)
    }
}

/// Whether all that changed of the view's state is in the row, so that nothing has to be read again.
pub(super) fn is_final(row: &RefreshRow) -> bool {
    matches!(row.status.as_str(), "refreshed" | "unchanged")
}
