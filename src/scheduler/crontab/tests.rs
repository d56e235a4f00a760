use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::*;

fn utc(text: &str) -> DateTime<Utc> {
    let text = if text.len() == 16 {
        format!("{text}:00")
    } else {
        text.to_owned()
    };
    format!("{}Z", text.replace(' ', "T")).parse().unwrap()
}

/// The first `count` runs after a UTC instant, as wall-clock time with offset.
fn runs(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let crontab = Crontab::parse(text, zone).unwrap();
    let mut at = utc(after);
    let mut found = Vec::new();
    for _ in 0..count {
        let next = crontab.next_after(at).unwrap();
        assert!(next > at, "{text}: {next} is not after {at}");
        found.push(
            next.with_timezone(&crontab.zone())
                .format("%m-%d %H:%M %:z")
                .to_string(),
        );
        at = next;
    }
    found
}

fn error(text: &str) -> String {
    Crontab::in_zone(text, Tz::UTC).unwrap_err().to_string()
}

#[test]
fn each_field_takes_stars_lists_ranges_and_steps() {
    assert_eq!(
        runs("5,10-12,*/30 3 * * *", "UTC", "2026-01-01 00:00", 7),
        ["00", "05", "10", "11", "12", "30"]
            .map(|minute| format!("01-01 03:{minute} +00:00"))
            .into_iter()
            .chain(["01-02 03:00 +00:00".to_owned()])
            .collect::<Vec<_>>()
    );
    assert_eq!(
        runs("0 8-18/5 * * *", "UTC", "2026-01-01 00:00", 4),
        [
            "01-01 08:00 +00:00",
            "01-01 13:00 +00:00",
            "01-01 18:00 +00:00",
            "01-02 08:00 +00:00"
        ]
    );
}

#[test]
fn months_and_weekdays_have_names_in_any_case() {
    // 1 June 2026 is a Monday.
    assert_eq!(
        runs("0 12 * JUN-aug mOn", "UTC", "2026-01-01 00:00", 2),
        ["06-01 12:00 +00:00", "06-08 12:00 +00:00"]
    );
}

#[test]
fn sunday_is_0_and_7_and_ends_a_week() {
    let sundays = runs("0 0 * * 0", "UTC", "2026-01-01 00:00", 5);
    assert_eq!(sundays[0], "01-04 00:00 +00:00");
    for same in [
        "0 0 * * 7",
        "0 0 * * sun",
        "0 0 * * SUN",
        "0 0 * * 7-7",
        "0 0 * * */7",
        "@weekly",
    ] {
        assert_eq!(runs(same, "UTC", "2026-01-01 00:00", 5), sundays, "{same}");
    }
    let weekend = runs("0 0 * * 5-7", "UTC", "2026-01-01 00:00", 4);
    assert_eq!(
        weekend[..3],
        [
            "01-02 00:00 +00:00",
            "01-03 00:00 +00:00",
            "01-04 00:00 +00:00"
        ]
    );
    assert_eq!(
        runs("0 0 * * fri-sun", "UTC", "2026-01-01 00:00", 4),
        weekend
    );
}

#[test]
fn weekday_steps_count_from_sunday_0_to_7_as_in_debian() {
    // Sunday 0, Tuesday, Thursday, Saturday.
    assert_eq!(
        runs("0 0 * * */2", "UTC", "2026-01-03 12:00", 4),
        [
            "01-04 00:00 +00:00",
            "01-06 00:00 +00:00",
            "01-08 00:00 +00:00",
            "01-10 00:00 +00:00"
        ]
    );
}

#[test]
fn shorthands_mean_their_five_fields() {
    for (short, long) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        assert_eq!(
            runs(short, "Europe/Berlin", "2026-02-03 04:05", 4),
            runs(long, "Europe/Berlin", "2026-02-03 04:05", 4),
            "{short}"
        );
    }
}

#[test]
fn two_restricted_day_fields_are_alternatives() {
    // The 13th (a Tuesday) or any Friday.
    assert_eq!(
        runs("0 0 13 * fri", "UTC", "2026-01-08 12:00", 3),
        [
            "01-09 00:00 +00:00",
            "01-13 00:00 +00:00",
            "01-16 00:00 +00:00"
        ]
    );
    // A field that starts with `*` restricts besides the other: odd days that are Fridays.
    assert_eq!(
        runs("0 0 */2 * fri", "UTC", "2026-01-01 12:00", 2),
        ["01-09 00:00 +00:00", "01-23 00:00 +00:00"]
    );
}

#[test]
fn leap_days_come_when_they_exist() {
    let crontab = Crontab::in_zone("0 0 29 2 *", Tz::UTC).unwrap();
    assert_eq!(
        crontab.next_after(utc("2026-01-01 00:00")),
        Some(utc("2028-02-29 00:00"))
    );
    assert_eq!(
        crontab.next_after(utc("2028-02-29 00:00")),
        Some(utc("2032-02-29 00:00"))
    );
    let last_of_century = crontab.next_after(utc("2096-02-29 00:00"));
    assert_eq!(
        last_of_century, None,
        "2100 is no leap year, and the horizon ends there"
    );
}

#[test]
fn next_is_strictly_after_even_by_a_nanosecond() {
    let crontab = Crontab::in_zone("0 12 * * *", Tz::UTC).unwrap();
    let noon = utc("2026-01-01 12:00");
    let nanosecond = chrono::TimeDelta::nanoseconds(1);
    assert_eq!(crontab.next_after(noon - nanosecond), Some(noon));
    assert_eq!(crontab.next_after(noon), Some(utc("2026-01-02 12:00")));
    assert_eq!(
        crontab.next_after(noon + nanosecond),
        Some(utc("2026-01-02 12:00"))
    );
}

#[test]
fn berlin_spring_runs_what_was_skipped_once_right_after_the_gap() {
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-03-28 00:00", 3),
        [
            "03-28 02:30 +01:00",
            "03-29 03:00 +02:00",
            "03-30 02:30 +02:00"
        ]
    );
    assert_eq!(
        runs("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28 22:00", 3),
        [
            "03-29 03:00 +02:00",
            "03-29 03:30 +02:00",
            "03-30 02:00 +02:00"
        ],
        "two skipped and one regular run at the same instant are one"
    );
    assert_eq!(
        runs("*/15 2 * * *", "Europe/Berlin", "2026-03-28 22:00", 2),
        ["03-29 03:00 +02:00", "03-30 02:00 +02:00"],
        "no day is left out"
    );
}

#[test]
fn berlin_spring_leaves_hourly_jobs_in_their_rhythm() {
    assert_eq!(
        runs("30 * * * *", "Europe/Berlin", "2026-03-29 00:00", 3),
        [
            "03-29 01:30 +01:00",
            "03-29 03:30 +02:00",
            "03-29 04:30 +02:00"
        ]
    );
}

#[test]
fn berlin_autumn_runs_fixed_times_once_and_wildcards_through() {
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", 2),
        ["10-25 02:30 +02:00", "10-26 02:30 +01:00"]
    );
    assert_eq!(
        runs("*/30 * * * *", "Europe/Berlin", "2026-10-24 23:30", 6),
        [
            "10-25 02:00 +02:00",
            "10-25 02:30 +02:00",
            "10-25 02:00 +01:00",
            "10-25 02:30 +01:00",
            "10-25 03:00 +01:00",
            "10-25 03:30 +01:00"
        ]
    );
    assert_eq!(
        runs("*/30 2 25 10 *", "Europe/Berlin", "2026-10-24 12:00", 5),
        [
            "10-25 02:00 +02:00",
            "10-25 02:30 +02:00",
            "10-25 02:00 +01:00",
            "10-25 02:30 +01:00",
            "10-25 02:00 +02:00"
        ],
        "the second pass is found even if the next wall-clock match is a year away"
    );
}

#[test]
fn berlin_autumn_asked_within_the_second_pass_looks_forward_only() {
    // 01:15 UTC is 02:15 for the second time.
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", "2026-10-25 01:15", 1),
        ["10-26 02:30 +01:00"]
    );
    assert_eq!(
        runs("*/30 * * * *", "Europe/Berlin", "2026-10-25 01:15", 1),
        ["10-25 02:30 +01:00"]
    );
}

#[test]
fn new_york_changes_by_its_own_calendar() {
    assert_eq!(
        runs("15 2 * * *", "America/New_York", "2026-03-07 12:00", 2),
        ["03-08 03:00 -04:00", "03-09 02:15 -04:00"]
    );
    assert_eq!(
        runs("15 1 * * *", "America/New_York", "2026-10-31 12:00", 2),
        ["11-01 01:15 -04:00", "11-02 01:15 -05:00"]
    );
}

#[test]
fn lord_howe_changes_by_half_an_hour() {
    // 5 April 2026: 02:00 goes back to 01:30. 4 October 2026: 02:00 goes on to 02:30.
    assert_eq!(
        runs("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04 14:10", 6),
        [
            "04-05 01:15 +11:00",
            "04-05 01:30 +11:00",
            "04-05 01:45 +11:00",
            "04-05 01:30 +10:30",
            "04-05 01:45 +10:30",
            "04-06 01:00 +10:30"
        ]
    );
    assert_eq!(
        runs("10 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", 2),
        ["10-04 02:30 +11:00", "10-05 02:10 +11:00"]
    );
}

#[test]
fn apia_makes_up_for_its_skipped_day_once() {
    // 30 December 2011 does not exist in Samoa.
    assert_eq!(
        runs("0 12 * * *", "Pacific/Apia", "2011-12-29 00:00", 3),
        [
            "12-29 12:00 -10:00",
            "12-31 00:00 +14:00",
            "12-31 12:00 +14:00"
        ]
    );
    assert_eq!(
        runs("0 */6 * * *", "Pacific/Apia", "2011-12-30 03:00", 3),
        [
            "12-29 18:00 -10:00",
            "12-31 00:00 +14:00",
            "12-31 06:00 +14:00"
        ]
    );
}

#[test]
fn every_minute_is_every_minute_of_real_time_in_every_zone() {
    let starts = [
        "2026-03-28 23:50",
        "2026-10-24 23:50",
        "2026-04-04 14:00",
        "2026-10-03 15:00",
    ];
    for zone in [
        Tz::Europe__Berlin,
        Tz::Australia__Lord_Howe,
        Tz::America__New_York,
    ] {
        let crontab = Crontab::in_zone("* * * * *", zone).unwrap();
        for start in starts.map(utc) {
            let mut at = start;
            for _ in 0..200 {
                let next = crontab.next_after(at).unwrap();
                assert_eq!(
                    next - at,
                    chrono::TimeDelta::minutes(1),
                    "{zone} after {at}"
                );
                at = next;
            }
        }
    }
}

#[test]
fn a_daily_job_runs_once_on_each_of_a_thousand_days() {
    for (text, zone) in [
        ("30 2 * * *", Tz::Europe__Berlin),
        ("30 1 * * *", Tz::America__New_York),
        ("45 1 * * *", Tz::Australia__Lord_Howe),
        ("10 2 * * *", Tz::Australia__Lord_Howe),
        ("0 0 * * *", Tz::America__Havana),
    ] {
        let crontab = Crontab::in_zone(text, zone).unwrap();
        let mut at = utc("2026-01-01 12:00");
        let mut day = at.with_timezone(&zone).date_naive();
        for _ in 0..1_000 {
            at = crontab.next_after(at).unwrap();
            let next_day = at.with_timezone(&zone).date_naive();
            assert_eq!(next_day, day.succ_opt().unwrap(), "{text} in {zone}");
            day = next_day;
        }
    }
}

#[test]
fn intervals_are_estimated_from_the_runs() {
    let interval = |text: &str| {
        Crontab::in_zone(text, Tz::UTC)
            .unwrap()
            .interval()
            .as_secs()
    };
    assert_eq!(interval("* * * * *"), 60);
    assert_eq!(interval("*/15 * * * *"), 900);
    assert_eq!(interval("0 3 * * *"), 86_400);
    assert_eq!(interval("0 3 * * mon"), 604_800);
}

#[test]
fn a_wrong_number_of_fields_is_counted() {
    assert_eq!(
        error("* * * *"),
        "a crontab has five fields (minute hour day month weekday); this has four"
    );
    assert_eq!(
        error("0 * * * * *"),
        "a crontab has five fields (minute hour day month weekday); this has six: seconds are not supported"
    );
    assert_eq!(
        error("  "),
        "the crontab is empty: write five fields (minute hour day month weekday), e.g. \"*/15 * * * *\""
    );
    assert_eq!(
        error("5m"),
        "a crontab has five fields (minute hour day month weekday); this has one"
    );
    assert!(error("@reboot").starts_with("\"@reboot\" is not known; allowed are @hourly"));
}

#[test]
fn errors_name_the_field_the_text_and_what_is_allowed() {
    assert_eq!(
        error("75 * * * *"),
        "cron field 1 (minute): \"75\" is outside 0-59"
    );
    assert_eq!(
        error("0 24 * * *"),
        "cron field 2 (hour): \"24\" is outside 0-23"
    );
    assert_eq!(
        error("0 0 0 * *"),
        "cron field 3 (day of month): \"0\" is outside 1-31"
    );
    assert_eq!(
        error("0 0 1 13 *"),
        "cron field 4 (month): \"13\" is outside 1-12"
    );
    assert_eq!(
        error("0 0 * * 8"),
        "cron field 5 (weekday): \"8\" is outside 0-7"
    );
    assert_eq!(
        error("999999999999 * * * *"),
        "cron field 1 (minute): \"999999999999\" is outside 0-59"
    );
    assert_eq!(
        error("0 0 * * monday"),
        "cron field 5 (weekday): \"monday\" is not understood; allowed are *, 0-7, sun-sat, lists a,b, ranges a-b and steps */n or a-b/n"
    );
    for bad in [
        "1, * * * *",
        ",1 * * * *",
        "-5 * * * *",
        "1- * * * *",
        "+5 * * * *",
        "** * * * *",
        "1-2-3 * * * *",
        "? * * * *",
        "é * * * *",
    ] {
        assert!(error(bad).starts_with("cron field 1 (minute): "), "{bad}");
        assert!(
            error(bad).contains("is not understood; allowed are *, 0-59"),
            "{bad}"
        );
    }
}

#[test]
fn ranges_and_steps_that_make_no_sense_come_with_a_remedy() {
    assert_eq!(
        error("0 22-4 * * *"),
        "cron field 2 (hour): \"22-4\" runs backwards; write 22-23,0-4"
    );
    assert_eq!(
        error("0 0 * * sat-mon"),
        "cron field 5 (weekday): \"sat-mon\" runs backwards; write 6-7,0-1"
    );
    assert_eq!(
        error("5/10 * * * *"),
        "cron field 1 (minute): \"5/10\" has a step but no range; write 5-59/10"
    );
    for bad in ["*/0", "*/", "*/x", "*/-1", "*/1/2", "*/99999999"] {
        assert_eq!(
            error(&format!("{bad} * * * *")),
            format!(
                "cron field 1 (minute): the step of \"{bad}\" must be a whole number from 1 up"
            )
        );
    }
}

#[test]
fn days_that_never_exist_are_refused() {
    for never in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30-31 feb *"] {
        assert_eq!(
            error(never),
            format!("the crontab \"{never}\" never occurs: none of its months has such a day")
        );
    }
    assert!(
        Crontab::in_zone("0 0 30 2 mon", Tz::UTC).is_ok(),
        "any Monday of February will do"
    );
    assert!(
        Crontab::in_zone("0 0 29 2 */7", Tz::UTC).is_ok(),
        "29 February on a Sunday comes every 28 years"
    );
}
