//! When a materialized view is refreshed: from options, in words, and when next.

use chrono::{DateTime, Utc};

pub(super) use crate::board::due::{due, is_due, is_late};
use crate::cli;
use crate::dictionary::changes::Timing;
use crate::dictionary::views::ViewRow;
use crate::error::{CommandError, Exit};
use crate::scheduler::crontab::Crontab;
use crate::scheduler::schedule::{Due, Idle};

/// The time zone of crontabs that name none.
const DEFAULT_TIME_ZONE: &str = "UTC";

/// Reads the options; a crontab or a time zone that can't be read is refused before anything is done.
pub(super) fn timing(options: &cli::Schedule) -> Result<Timing, CommandError> {
    let crontab = match &options.cron {
        Some(text) => {
            let zone = options.time_zone.as_deref().unwrap_or(DEFAULT_TIME_ZONE);
            let crontab = Crontab::parse(text, zone)
                .map_err(|error| CommandError::new(Exit::Data, error.to_string()))?;
            Some(crontab)
        }
        None => None,
    };
    Ok(Timing {
        rate_in_sec: options.every.map(cli::RefreshRate::seconds),
        // in the zone's own spelling, which the server insists on
        time_zone: crontab
            .as_ref()
            .filter(|_| options.time_zone.is_some())
            .map(|crontab| crontab.zone().name().to_owned()),
        cron: crontab.map(|crontab| crontab.text().to_owned()),
    })
}

/// `every 30s`, `cron 0 3 * * * (UTC)`, `on request`.
pub(super) fn in_words(view: &ViewRow) -> String {
    let rate = view
        .refresh_rate_in_sec
        .map(|seconds| format!("every {}", super::phrases::seconds(f64::from(seconds))));
    let cron = view.refresh_cron.as_ref().map(|text| {
        let zone = view.refresh_time_zone.as_deref();
        format!("cron {text} ({})", zone.unwrap_or(DEFAULT_TIME_ZONE))
    });
    match (rate, cron) {
        (Some(rate), Some(cron)) => format!("{rate}, {cron}"),
        (Some(schedule), None) | (None, Some(schedule)) => schedule,
        (None, None) => "on request".to_owned(),
    }
}

/// `now`, `in 5m`, or why never.
pub(super) fn due_in_words(due: Due, now: DateTime<Utc>) -> String {
    match due {
        Due::At(at) if at <= now => "now".to_owned(),
        Due::At(at) => {
            let seconds = at.signed_duration_since(now).as_seconds_f64();
            format!("in {}", super::phrases::seconds(seconds.ceil()))
        }
        Due::Never(Idle::Disabled | Idle::Suspended) => "never".to_owned(),
        Due::Never(Idle::Unscheduled) => "on request".to_owned(),
    }
}
