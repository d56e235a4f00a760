//! When a view of the dictionary is due, reckoned as the scheduler does.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;

use crate::dictionary::views::ViewRow;
use crate::scheduler::crontab::Crontab;
use crate::scheduler::schedule::{CLOCK_TOLERANCE, Due, Failure, Schedule, ViewState, next_due};

/// The time zone of crontabs that name none.
const DEFAULT_TIME_ZONE: &str = "UTC";

/// When a view is due next, as the daemon sees it.
#[must_use]
pub fn due(view: &ViewRow, longest_backoff: Duration) -> Due {
    let state = state(view, failure(view), view.status == "suspended");
    next_due(&schedule(view), &state, longest_backoff, view.database_now)
}

/// Whether a view is past its schedule, or requested, whatever its last attempt came to.
#[must_use]
pub fn is_due(view: &ViewRow) -> bool {
    let state = state(view, None, false);
    let due = next_due(&schedule(view), &state, Duration::ZERO, view.database_now);
    matches!(due, Due::At(at) if at <= view.database_now)
}

/// Whether a view should have been refreshed by now.
#[must_use]
pub fn is_late(view: &ViewRow) -> bool {
    let state = state(view, None, false);
    let due = next_due(&schedule(view), &state, Duration::ZERO, view.database_now);
    matches!(due, Due::At(at) if view.database_now.signed_duration_since(at) > CLOCK_TOLERANCE)
}

pub(super) fn schedule(view: &ViewRow) -> Schedule {
    let rate = view
        .refresh_rate_in_sec
        .and_then(|seconds| u64::try_from(seconds).ok());
    let zone = view
        .refresh_time_zone
        .as_deref()
        .unwrap_or(DEFAULT_TIME_ZONE);
    Schedule {
        rate: rate.map(Duration::from_secs),
        // the daemon does without one that it can't read, too
        cron: view
            .refresh_cron
            .as_deref()
            .and_then(|text| Crontab::parse(text, zone).ok())
            .map(Arc::new),
    }
}

fn failure(view: &ViewRow) -> Option<Failure> {
    let failures = u32::try_from(view.failures).ok().filter(|f| *f > 0)?;
    let retry_at = view.retry_at.unwrap_or(DateTime::UNIX_EPOCH);
    Some(Failure { failures, retry_at })
}

fn state(view: &ViewRow, failure: Option<Failure>, suspended: bool) -> ViewState {
    ViewState {
        last_refresh: view.last_refresh,
        created_at: view.created_at,
        requested_at: view.requested_at,
        failure,
        enabled: view.enabled && view.status != "dropped",
        suspended,
    }
}
