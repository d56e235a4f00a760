//! When a materialized view is due: a pure function of its schedule, its state and the present instant.
//!
//! Nothing about coming runs is stored, so a run that was missed (the daemon was down, the pool was busy) is due
//! from then on, and is caught up by one refresh however many were missed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::crontab::Crontab;

/// Instants may lie this far ahead of the estimated database clock without meaning that the clock was set back.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(1);

/// The period assumed for a view that has neither rate nor crontab, when lateness is compared.
const UNSCHEDULED_PERIOD: Duration = Duration::from_secs(60);

/// How often a view is to be refreshed; with both set, the earlier counts; with neither, only requests do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// The refresh rate: due again so long after the last refresh.
    pub rate: Option<Duration>,
    /// Due at the crontab's next instant after the last refresh.
    pub cron: Option<Arc<Crontab>>,
}

impl Schedule {
    /// Whether there is neither rate nor crontab.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rate.is_none() && self.cron.is_none()
    }

    /// The usual distance of two refreshes, at least a second: what lateness is measured by.
    #[must_use]
    pub fn period(&self) -> Duration {
        let cron = self.cron.as_ref().map(|cron| cron.interval());
        self.rate
            .into_iter()
            .chain(cron)
            .min()
            .unwrap_or(UNSCHEDULED_PERIOD)
            .max(Duration::from_secs(1))
    }

    /// When a view refreshed at `last` is due again.
    fn next_after(&self, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let by_rate = self.rate.map(|rate| later(last, rate));
        let by_cron = self.cron.as_ref().and_then(|cron| cron.next_after(last));
        by_rate.into_iter().chain(by_cron).min()
    }
}

/// A row of failures and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Failures since the last success, at least 1.
    pub failures: u32,
    /// Not before this instant.
    pub retry_at: DateTime<Utc>,
}

/// What the dictionary says about a view's refreshes. All instants are the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewState {
    /// The last successful refresh; `None` before the first fill.
    pub last_refresh: Option<DateTime<Utc>>,
    /// When the view was created.
    pub created_at: DateTime<Utc>,
    /// The last explicit request for a refresh; it is pending while it is later than the last refresh.
    pub requested_at: Option<DateTime<Utc>>,
    /// Set while the last attempt failed.
    pub failure: Option<Failure>,
    /// The user's switch.
    pub enabled: bool,
    /// Suspended by the module after a permanent error.
    pub suspended: bool,
}

/// When to refresh next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Not until something changes.
    Never(Idle),
    /// At this instant, or now if it has passed.
    At(DateTime<Utc>),
}

/// Why a view is never due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Switched off by its user.
    Disabled,
    /// Suspended after a permanent error.
    Suspended,
    /// No rate, no crontab (or none that ever comes again), and no pending request.
    Unscheduled,
}

/// When the view is due.
///
/// - Disabled or suspended: never, not even on request.
/// - Requested: since the request. Scheduled but never refreshed: since its creation. Else by rate or crontab.
/// - A last refresh in the future means that the clock was set back: due now.
/// - Failing: not before its retry. A retry further away than `longest_backoff` can't be meant (again the clock was
///   set back) and is ignored.
#[must_use]
pub fn next_due(
    schedule: &Schedule,
    state: &ViewState,
    longest_backoff: Duration,
    now: DateTime<Utc>,
) -> Due {
    if !state.enabled {
        return Due::Never(Idle::Disabled);
    }
    if state.suspended {
        return Due::Never(Idle::Suspended);
    }
    let Some(due) = earliest(request_due(state, now), scheduled_due(schedule, state, now)) else {
        return Due::Never(Idle::Unscheduled);
    };
    Due::At(match held_until(state, longest_backoff, now) {
        Some(retry_at) => due.max(retry_at),
        None => due,
    })
}

/// The instant of the pending request, if there is one.
///
/// A request dated after the present stays pending until its date: whether a refresh since has served it can't be
/// told, and taking it for due would refresh without end.
#[must_use]
pub fn request_due(state: &ViewState, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let requested = state.requested_at?;
    let pending = match state.last_refresh {
        None => true,
        Some(last) if is_ahead(last, now) => !is_ahead(requested, now),
        Some(last) => requested > last,
    };
    pending.then_some(requested)
}

/// Until when failures keep the view from being refreshed.
#[must_use]
pub fn held_until(
    state: &ViewState,
    longest_backoff: Duration,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let farthest = later(now, longest_backoff)
        .checked_add_signed(CLOCK_TOLERANCE)
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    state
        .failure
        .map(|failure| failure.retry_at)
        .filter(|retry_at| *retry_at <= farthest)
}

fn scheduled_due(
    schedule: &Schedule,
    state: &ViewState,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if schedule.is_empty() {
        return None;
    }
    match state.last_refresh {
        None => Some(state.created_at.min(now)),
        Some(last) if is_ahead(last, now) => Some(now),
        Some(last) => schedule.next_after(last),
    }
}

fn is_ahead(instant: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    instant.signed_duration_since(now) > CLOCK_TOLERANCE
}

fn earliest(a: Option<DateTime<Utc>>, b: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    a.into_iter().chain(b).min()
}

fn later(instant: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|by| instant.checked_add_signed(by))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
