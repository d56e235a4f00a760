use std::sync::Arc;
use std::time::Duration;

use super::super::schedule::{Schedule, ViewState};
use super::super::view::{Timeouts, View};
use super::*;

const QUICK_MS: Option<f32> = Some(1.0);
const LONG_MS: Option<f32> = Some(60_000.0);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn view(id: i32, rate: u64, avg_cost_ms: Option<f32>, depends_on: &[i32]) -> View {
    View {
        id,
        group: None,
        schedule: Arc::new(Schedule {
            rate: Some(Duration::from_secs(rate)),
            cron: None,
        }),
        state: ViewState {
            last_refresh: Some(at(0)),
            created_at: at(0),
            requested_at: None,
            failure: None,
            enabled: true,
            suspended: false,
        },
        avg_cost_ms,
        depends_on: depends_on.into(),
        timeouts: Timeouts::default(),
    }
}

fn registry(views: Vec<View>) -> Registry {
    let mut registry = Registry::new(Duration::from_secs(300));
    for view in views {
        registry.upsert(view, at(0));
    }
    registry
}

/// Starts whatever may start at `now`, on `workers`.
fn start_all(registry: &mut Registry, workers: usize, now: DateTime<Utc>) -> Vec<(i32, Lane)> {
    let lanes = Lanes::new(workers, None, Duration::from_secs(1));
    let mut dispatcher = Dispatcher::default();
    let mut running = Running::default();
    let mut started = Vec::new();
    while let Some(start) = dispatcher.next(registry, &lanes, running, now) {
        running.start(start.lane);
        started.extend(
            registry
                .mark_running(start.unit)
                .into_iter()
                .map(|id| (id, start.lane)),
        );
    }
    started
}

#[test]
fn the_latest_start_first_and_no_more_than_there_are_workers() {
    let mut registry = registry(
        (1..=10)
            .map(|id| view(id, 10 + u64::from(id.unsigned_abs()), QUICK_MS, &[]))
            .collect(),
    );
    let started: Vec<i32> = start_all(&mut registry, 4, at(100))
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(started, [1, 2, 3, 4]);
}

#[test]
fn long_refreshes_leave_a_worker_to_quick_ones() {
    let mut views: Vec<View> = (1..=10).map(|id| view(id, 1, LONG_MS, &[])).collect();
    views.push(view(11, 90, QUICK_MS, &[]));
    let started = start_all(&mut registry(views), 4, at(100));
    assert_eq!(
        started,
        [
            (1, Lane::Long),
            (2, Lane::Long),
            (3, Lane::Long),
            (11, Lane::Quick)
        ]
    );
}

#[test]
fn a_child_starts_when_its_parent_has_finished() {
    let mut registry = registry(vec![
        view(1, 50, QUICK_MS, &[]),
        view(2, 50, QUICK_MS, &[1]),
    ]);
    assert_eq!(start_all(&mut registry, 4, at(50)), [(1, Lane::Quick)]);
    assert_eq!(start_all(&mut registry, 4, at(50)), []);
    registry.finish(UnitId::View(1), &[], at(50));
    registry.remove(1, at(50));
    assert_eq!(start_all(&mut registry, 4, at(50)), [(2, Lane::Quick)]);
}

#[test]
fn a_parent_is_never_crowded_out_by_those_waiting_for_it() {
    let children = i32::try_from(CHEAP_TO_RANK * 2).unwrap();
    let mut views: Vec<View> = (1..=children)
        .map(|id| view(id, 1, QUICK_MS, &[children + 1]))
        .collect();
    views.push(view(children + 1, 1, QUICK_MS, &[]));
    assert_eq!(
        start_all(&mut registry(views), 4, at(1)),
        [(children + 1, Lane::Quick)]
    );
}

#[test]
fn a_ranking_is_made_anew_when_something_becomes_ready() {
    let registry = registry(vec![view(1, 10, QUICK_MS, &[])]);
    let lanes = Lanes::new(2, None, Duration::from_secs(1));
    let mut dispatcher = Dispatcher::default();
    assert_eq!(
        dispatcher.next(&registry, &lanes, Running::default(), at(9)),
        None
    );
    let start = dispatcher.next(&registry, &lanes, Running::default(), at(10));
    assert_eq!(
        start,
        Some(Start {
            unit: UnitId::View(1),
            lane: Lane::Quick
        })
    );
}

#[test]
fn a_huge_backlog_is_ranked_now_and_then_and_says_when_to_look_again() {
    let mut views: Vec<View> = (1..=21_000).map(|id| view(id, 1, LONG_MS, &[])).collect();
    views.push(view(30_000, 6, QUICK_MS, &[]));
    let mut registry = registry(views);
    let lanes = Lanes::new(2, None, Duration::from_secs(1));
    let mut dispatcher = Dispatcher::default();
    let mut running = Running::default();
    let long = dispatcher.next(&registry, &lanes, running, at(5)).unwrap();
    running.start(long.lane);
    registry.mark_running(long.unit);
    assert_eq!(dispatcher.next(&registry, &lanes, running, at(5)), None);
    assert_eq!(
        dispatcher.look_again(),
        Some(at(5) + TimeDelta::milliseconds(100))
    );
    assert_eq!(
        dispatcher
            .next(&registry, &lanes, running, at(6))
            .map(|start| start.lane),
        Some(Lane::Quick)
    );
    assert_eq!(dispatcher.look_again(), None);
}

#[test]
fn more_than_a_ranking_holds_is_started_all_the_same() {
    let count = i32::try_from(CHEAP_TO_RANK * 3).unwrap();
    let mut registry = registry((1..=count).map(|id| view(id, 1, QUICK_MS, &[])).collect());
    let first = start_all(&mut registry, 10_000, at(5)).len();
    assert!(first >= CHEAP_TO_RANK, "{first}");
    let rest = start_all(&mut registry, 10_000, at(6)).len()
        + start_all(&mut registry, 10_000, at(7)).len();
    assert_eq!(first + rest, CHEAP_TO_RANK * 3);
}
