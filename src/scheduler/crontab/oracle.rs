//! Thousands of random crontabs against the `croner` crate, an independent implementation.

use std::str::FromStr as _;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::Crontab;

const CASES: u32 = 3_000;
const RUNS_COMPARED: usize = 6;

fn item(min: u8, max: u8) -> impl Strategy<Value = String> {
    (min..=max, min..=max, 1..=max).prop_flat_map(|(a, b, step)| {
        let (low, high) = (a.min(b), a.max(b));
        prop_oneof![
            Just(low.to_string()),
            Just(format!("{low}-{high}")),
            Just(format!("{low}-{high}/{step}")),
        ]
    })
}

fn items(min: u8, max: u8) -> impl Strategy<Value = String> {
    prop::collection::vec(item(min, max), 1..4).prop_map(|items| items.join(","))
}

/// Day fields: no `*/n`, where croner takes the field for restricted and Vixie cron doesn't.
fn days(min: u8, max: u8) -> impl Strategy<Value = String> {
    prop_oneof![2 => Just("*".to_owned()), 3 => items(min, max)]
}

fn clock_field(max: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("*".to_owned()),
        1 => (1..=max).prop_map(|step| format!("*/{step}")),
        3 => items(0, max),
    ]
}

/// Times of day for which croner's rule for clock changes is the same: single fixed times, and `*` hours.
fn agreeing_time_of_day() -> impl Strategy<Value = (String, String)> {
    let fixed =
        (0..60u8, 0..24u8).prop_map(|(minute, hour)| (minute.to_string(), hour.to_string()));
    let early = (0..60u8, 1..4u8).prop_map(|(minute, hour)| (minute.to_string(), hour.to_string()));
    let every_hour = (
        clock_field(59),
        prop_oneof![Just("*".to_owned()), Just("*/2".to_owned())],
    );
    prop_oneof![fixed, early, every_hour]
}

fn some_second() -> impl Strategy<Value = DateTime<Utc>> {
    (1_577_836_800..2_051_222_400i64).prop_map(|second| Utc.timestamp_opt(second, 0).unwrap())
}

/// Within two days of a change of the clocks in most zones that have any.
fn near_a_clock_change() -> impl Strategy<Value = DateTime<Utc>> {
    let days = [
        (2025, 3, 9),
        (2025, 3, 30),
        (2025, 4, 5),
        (2025, 10, 4),
        (2025, 10, 26),
        (2025, 11, 2),
    ];
    (prop::sample::select(days.to_vec()), -172_800..172_800i64).prop_map(
        |((year, month, day), seconds)| {
            Utc.with_ymd_and_hms(year, month, day, 1, 0, 0).unwrap() + TimeDelta::seconds(seconds)
        },
    )
}

fn agree(text: &str, zone: Tz, start: DateTime<Utc>) -> Result<(), TestCaseError> {
    let Ok(ours) = Crontab::in_zone(text, zone) else {
        // The only well-formed crontabs that are refused are those that never occur.
        let theirs = Cron::from_str(text)
            .ok()
            .and_then(|cron| cron.find_next_occurrence(&start, false).ok());
        prop_assert_eq!(theirs, None, "{}", text);
        return Ok(());
    };
    let theirs = Cron::from_str(text)
        .map_err(|error| TestCaseError::fail(format!("croner: {text}: {error}")))?;
    let mut at = start;
    for _ in 0..RUNS_COMPARED {
        let expected = theirs
            .find_next_occurrence(&at.with_timezone(&zone), false)
            .map_err(|error| TestCaseError::fail(format!("croner: {text} after {at}: {error}")))?;
        let found = ours.next_after(at);
        prop_assert_eq!(
            found,
            Some(expected.to_utc()),
            "{} in {} after {}",
            text,
            zone,
            at
        );
        at = expected.to_utc();
    }
    Ok(())
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(15),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn random_crontabs_in_utc_run_when_croner_says_so() {
    let fields = (
        clock_field(59),
        clock_field(23),
        days(1, 31),
        clock_month(),
        days(0, 6),
    );
    runner()
        .run(
            &(fields, some_second()),
            |((minute, hour, day, month, weekday), start)| {
                agree(
                    &format!("{minute} {hour} {day} {month} {weekday}"),
                    Tz::UTC,
                    start,
                )
            },
        )
        .unwrap();
}

fn clock_month() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("*".to_owned()), 2 => items(1, 12)]
}

#[test]
fn random_crontabs_around_clock_changes_run_when_croner_says_so() {
    let zones = prop::sample::select(vec![
        Tz::Europe__Berlin,
        Tz::America__New_York,
        Tz::Australia__Lord_Howe,
        Tz::America__Sao_Paulo,
    ]);
    let fields = (agreeing_time_of_day(), days(1, 31), days(0, 6));
    runner()
        .run(
            &(fields, zones, near_a_clock_change()),
            |(((minute, hour), day, weekday), zone, start)| {
                agree(&format!("{minute} {hour} {day} * {weekday}"), zone, start)
            },
        )
        .unwrap();
}
