use chrono_tz::Tz;

use super::*;

const CAP: Duration = Duration::from_secs(300);

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-06-10T{text}Z").parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("12:00:00")
}

fn every(seconds: u64) -> Schedule {
    Schedule {
        rate: Some(Duration::from_secs(seconds)),
        cron: None,
    }
}

fn crontab(text: &str) -> Schedule {
    Schedule {
        rate: None,
        cron: Some(Arc::new(Crontab::in_zone(text, Tz::UTC).unwrap())),
    }
}

fn refreshed(last: &str) -> ViewState {
    ViewState {
        last_refresh: Some(at(last)),
        ..fresh()
    }
}

fn fresh() -> ViewState {
    ViewState {
        last_refresh: None,
        created_at: at("11:00:00"),
        requested_at: None,
        failure: None,
        enabled: true,
        suspended: false,
    }
}

fn due(schedule: &Schedule, state: ViewState) -> Due {
    next_due(schedule, &state, CAP, now())
}

#[test]
fn a_rate_counts_from_the_last_refresh() {
    assert_eq!(
        due(&every(60), refreshed("11:59:30")),
        Due::At(at("12:00:30"))
    );
    assert_eq!(
        due(&every(60), refreshed("09:00:00")),
        Due::At(at("09:01:00")),
        "missed runs are due since the first"
    );
}

#[test]
fn a_crontab_counts_from_the_last_refresh() {
    assert_eq!(
        due(&crontab("0 * * * *"), refreshed("11:59:59")),
        Due::At(at("12:00:00"))
    );
    assert_eq!(
        due(&crontab("0 * * * *"), refreshed("12:00:00")),
        Due::At(at("13:00:00"))
    );
    assert_eq!(
        due(&crontab("0 * * * *"), refreshed("07:30:00")),
        Due::At(at("08:00:00"))
    );
}

#[test]
fn of_rate_and_crontab_the_earlier_counts() {
    let both = |seconds| Schedule {
        rate: every(seconds).rate,
        ..crontab("30 * * * *")
    };
    assert_eq!(
        due(&both(600), refreshed("12:00:00")),
        Due::At(at("12:10:00"))
    );
    assert_eq!(
        due(&both(6000), refreshed("12:00:00")),
        Due::At(at("12:30:00"))
    );
    assert_eq!(both(600).period(), Duration::from_secs(600));
    assert_eq!(both(6000).period(), Duration::from_secs(3600));
}

#[test]
fn a_view_never_refreshed_is_due_since_its_creation() {
    assert_eq!(due(&every(60), fresh()), Due::At(at("11:00:00")));
    assert_eq!(due(&crontab("0 3 * * *"), fresh()), Due::At(at("11:00:00")));
    let created_in_future = ViewState {
        created_at: at("14:00:00"),
        ..fresh()
    };
    assert_eq!(
        due(&every(60), created_in_future),
        Due::At(now()),
        "the clock was set back since"
    );
}

#[test]
fn without_schedule_only_a_request_makes_due() {
    let manual = Schedule::default();
    assert_eq!(due(&manual, fresh()), Due::Never(Idle::Unscheduled));
    assert_eq!(
        due(&manual, refreshed("11:00:00")),
        Due::Never(Idle::Unscheduled)
    );
    let requested = ViewState {
        requested_at: Some(at("11:30:00")),
        ..refreshed("11:00:00")
    };
    assert_eq!(due(&manual, requested), Due::At(at("11:30:00")));
    let first = ViewState {
        requested_at: Some(at("11:30:00")),
        ..fresh()
    };
    assert_eq!(due(&manual, first), Due::At(at("11:30:00")));
}

#[test]
fn a_request_is_served_by_a_later_refresh_only() {
    let state = |requested: &str| ViewState {
        requested_at: Some(at(requested)),
        ..refreshed("11:59:00")
    };
    assert_eq!(
        due(&every(3600), state("11:59:30")),
        Due::At(at("11:59:30"))
    );
    assert_eq!(
        due(&every(3600), state("11:59:00")),
        Due::At(at("12:59:00")),
        "served at that very instant"
    );
    assert_eq!(
        due(&every(3600), state("11:58:00")),
        Due::At(at("12:59:00"))
    );
}

#[test]
fn disabled_and_suspended_views_are_never_due_even_on_request() {
    let requested = ViewState {
        requested_at: Some(at("11:59:00")),
        ..refreshed("11:00:00")
    };
    for schedule in [every(1), crontab("* * * * *"), Schedule::default()] {
        assert_eq!(
            due(
                &schedule,
                ViewState {
                    enabled: false,
                    ..requested
                }
            ),
            Due::Never(Idle::Disabled)
        );
        assert_eq!(
            due(
                &schedule,
                ViewState {
                    suspended: true,
                    ..requested
                }
            ),
            Due::Never(Idle::Suspended)
        );
        assert_eq!(
            due(
                &schedule,
                ViewState {
                    enabled: false,
                    ..fresh()
                }
            ),
            Due::Never(Idle::Disabled)
        );
    }
}

#[test]
fn a_last_refresh_in_the_future_is_due_now() {
    assert_eq!(due(&every(60), refreshed("14:00:00")), Due::At(now()));
    assert_eq!(
        due(&crontab("0 3 * * *"), refreshed("14:00:00")),
        Due::At(now())
    );
    assert_eq!(
        due(&Schedule::default(), refreshed("14:00:00")),
        Due::Never(Idle::Unscheduled)
    );
}

#[test]
fn a_refresh_a_moment_ahead_of_the_estimated_clock_is_no_clock_step() {
    let state = refreshed("12:00:00.900");
    assert_eq!(due(&every(60), state), Due::At(at("12:01:00.900")));
}

#[test]
fn a_request_after_the_clock_was_set_back_is_honoured_although_the_last_refresh_looks_later() {
    let state = ViewState {
        requested_at: Some(at("11:59:59")),
        ..refreshed("14:00:00")
    };
    assert_eq!(due(&Schedule::default(), state), Due::At(at("11:59:59")));
    let served_before = ViewState {
        requested_at: Some(at("13:59:59")),
        ..refreshed("14:00:00")
    };
    assert_eq!(
        due(&Schedule::default(), served_before),
        Due::Never(Idle::Unscheduled)
    );
}

#[test]
fn a_request_dated_in_the_future_does_not_refresh_without_end() {
    // Requested at 14:00, clock set back to 12:00, refreshed since.
    let state = ViewState {
        requested_at: Some(at("14:00:00")),
        ..refreshed("12:00:00")
    };
    assert_eq!(due(&Schedule::default(), state), Due::At(at("14:00:00")));
    assert_eq!(due(&every(60), state), Due::At(at("12:01:00")));
}

#[test]
fn a_failing_view_waits_for_its_retry_and_for_its_schedule() {
    let failing = |retry: &str| ViewState {
        failure: Some(Failure {
            failures: 3,
            retry_at: at(retry),
        }),
        ..refreshed("11:58:00")
    };
    assert_eq!(
        due(&every(60), failing("12:04:00")),
        Due::At(at("12:04:00"))
    );
    assert_eq!(
        due(&every(600), failing("12:04:00")),
        Due::At(at("12:08:00"))
    );
    let requested = ViewState {
        requested_at: Some(at("11:59:00")),
        ..failing("12:04:00")
    };
    assert_eq!(
        due(&Schedule::default(), requested),
        Due::At(at("12:04:00"))
    );
    let never_filled = ViewState {
        last_refresh: None,
        ..failing("12:04:00")
    };
    assert_eq!(due(&every(60), never_filled), Due::At(at("12:04:00")));
}

#[test]
fn a_retry_beyond_the_longest_backoff_is_taken_for_a_clock_set_back() {
    let state = ViewState {
        failure: Some(Failure {
            failures: 3,
            retry_at: at("12:05:02"),
        }),
        ..refreshed("11:58:00")
    };
    assert_eq!(due(&every(60), state), Due::At(at("11:59:00")));
}

#[test]
fn absurd_rates_saturate() {
    let forever = Schedule {
        rate: Some(Duration::MAX),
        cron: None,
    };
    assert_eq!(
        due(&forever, refreshed("11:00:00")),
        Due::At(DateTime::<Utc>::MAX_UTC)
    );
    let state = ViewState {
        failure: Some(Failure {
            failures: 1,
            retry_at: at("13:00:00"),
        }),
        ..fresh()
    };
    assert_eq!(
        next_due(&forever, &state, Duration::MAX, now()),
        Due::At(at("13:00:00"))
    );
}

#[test]
fn a_period_is_never_below_a_second() {
    assert_eq!(every(0).period(), Duration::from_secs(1));
    assert_eq!(Schedule::default().period(), UNSCHEDULED_PERIOD);
}
