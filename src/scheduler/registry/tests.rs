use std::sync::Arc;

use crate::scheduler::schedule::{Schedule, ViewState};
use crate::scheduler::view::Timeouts;
use chrono::TimeDelta;

use super::*;

const CAP: Duration = Duration::from_secs(300);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// Refreshed at second 0, due again every `rate` seconds.
fn view(id: i32, rate: u64) -> View {
    View {
        id,
        group: None,
        schedule: Arc::new(Schedule {
            rate: Some(Duration::from_secs(rate)),
            cron: None,
        }),
        state: ViewState {
            last_refresh: Some(at(0)),
            created_at: at(-1000),
            requested_at: None,
            failure: None,
            enabled: true,
            suspended: false,
        },
        avg_cost_ms: Some(5.0),
        depends_on: Box::new([]),
        timeouts: Timeouts::default(),
    }
}

fn reading(view: View, depends_on: &[i32]) -> View {
    View {
        depends_on: depends_on.into(),
        ..view
    }
}

fn grouped(view: View, group: u32) -> View {
    View {
        group: Some(GroupId(group)),
        ..view
    }
}

fn with_state(view: View, change: impl FnOnce(&mut ViewState)) -> View {
    let mut view = view;
    change(&mut view.state);
    view
}

fn registry(views: impl IntoIterator<Item = View>, now: DateTime<Utc>) -> Registry {
    let mut registry = Registry::new(CAP);
    for view in views {
        registry.upsert(view, now);
    }
    registry
}

fn ready(registry: &Registry, now: DateTime<Utc>) -> Vec<UnitId> {
    registry.ready(now).collect()
}

fn done(id: i32, last_refresh: DateTime<Utc>) -> Outcome {
    Outcome {
        id,
        last_refresh: Some(last_refresh),
        failure: None,
        suspended: false,
        avg_cost_ms: Some(5.0),
    }
}

const ONE: UnitId = UnitId::View(1);
const TWO: UnitId = UnitId::View(2);
const GROUP: UnitId = UnitId::Group(GroupId(7));

#[test]
fn views_become_ready_when_due_and_the_next_instant_tells_when() {
    let registry = registry([view(1, 30), view(2, 10)], at(1));
    assert_eq!(registry.next_instant(at(1)), Some(at(10)));
    assert_eq!(ready(&registry, at(9)), []);
    assert_eq!(ready(&registry, at(10)), [TWO]);
    assert_eq!(
        registry.next_instant(at(10)),
        Some(at(30)),
        "what is ready already wakes nobody again"
    );
    assert_eq!(ready(&registry, at(30)), [TWO, ONE]);
    assert_eq!(registry.next_instant(at(30)), None);
}

#[test]
fn a_running_view_is_not_ready_until_it_has_finished_and_is_due_again() {
    let mut registry = registry([view(1, 10)], at(1));
    assert_eq!(registry.mark_running(ONE), [1]);
    assert!(registry.is_running(1) && ready(&registry, at(100)).is_empty());
    assert!(
        registry.mark_running(ONE).is_empty(),
        "a second start is refused"
    );
    registry.finish(ONE, &[done(1, at(100))], at(101));
    assert!(!registry.is_running(1));
    assert_eq!(registry.due(ONE), Some(at(110)));
}

#[test]
fn a_change_while_running_takes_effect_at_the_end() {
    let mut registry = registry([view(1, 10)], at(1));
    registry.mark_running(ONE);
    registry.upsert(view(1, 5), at(12));
    assert_eq!(registry.next_instant(at(0)), None);
    registry.finish(ONE, &[done(1, at(12))], at(13));
    assert_eq!(registry.due(ONE), Some(at(17)));
}

#[test]
fn what_was_changed_while_running_is_told_so_that_an_older_outcome_does_not_stand() {
    let mut registry = registry([view(1, 10), view(2, 10)], at(1));
    registry.mark_running(ONE);
    registry.mark_running(TWO);
    assert!(registry.changed_while_running(ONE).is_empty());
    registry.upsert(view(1, 60), at(12));
    assert_eq!(registry.changed_while_running(ONE), [1]);
    assert!(registry.changed_while_running(TWO).is_empty());
    registry.finish(ONE, &[done(1, at(12))], at(13));
    assert!(registry.changed_while_running(ONE).is_empty());
}

#[test]
fn a_removed_view_is_gone_even_if_it_was_running() {
    let mut registry = registry([view(1, 10), view(2, 10)], at(1));
    registry.remove(2, at(1));
    registry.mark_running(ONE);
    registry.remove(1, at(2));
    registry.finish(ONE, &[done(1, at(3))], at(3));
    assert!(
        registry.is_empty() && registry.next_instant(at(0)).is_none() && !registry.is_running(1)
    );
}

#[test]
fn a_view_created_anew_while_its_old_run_lasts_does_not_run_twice() {
    let mut registry = registry([view(1, 10)], at(1));
    registry.mark_running(ONE);
    registry.remove(1, at(2));
    registry.upsert(view(1, 1), at(3));
    assert_eq!(ready(&registry, at(100)), []);
    registry.finish(ONE, &[], at(100));
    assert_eq!(ready(&registry, at(100)), [ONE]);
}

#[test]
fn re_reading_an_unchanged_row_keeps_its_turn() {
    let mut registry = registry([view(1, 10)], at(1));
    registry.move_start(ONE, at(15));
    registry.upsert(view(1, 10), at(12));
    assert_eq!(registry.next_instant(at(0)), Some(at(15)));
    registry.upsert(
        with_state(view(1, 10), |state| state.requested_at = Some(at(13))),
        at(13),
    );
    assert_eq!(
        registry.next_instant(at(0)),
        Some(at(13)),
        "but a request is served at once"
    );
}

#[test]
fn a_failing_view_comes_back_at_its_retry() {
    let mut registry = registry([view(1, 10)], at(1));
    registry.mark_running(ONE);
    let failure = Some(Failure {
        failures: 1,
        retry_at: at(60),
    });
    registry.finish(
        ONE,
        &[Outcome {
            failure,
            ..done(1, at(0))
        }],
        at(11),
    );
    assert_eq!(registry.next_instant(at(11)), Some(at(60)));
    registry.mark_running(ONE);
    registry.finish(
        ONE,
        &[Outcome {
            suspended: true,
            failure,
            ..done(1, at(0))
        }],
        at(61),
    );
    assert_eq!(registry.next_instant(at(0)), None);
}

#[test]
fn a_postponed_view_is_looked_at_again_later() {
    let mut registry = registry([view(1, 10)], at(1));
    registry.mark_running(ONE);
    registry.postpone(ONE, at(21), at(20));
    assert_eq!(ready(&registry, at(20)), []);
    assert_eq!(registry.next_instant(at(20)), Some(at(21)));
    assert_eq!(registry.due(ONE), Some(at(10)), "its lateness counts on");
}

#[test]
fn a_group_is_due_with_its_earliest_member_and_starts_as_one() {
    let mut registry = registry(
        [
            grouped(view(3, 30), 7),
            grouped(view(1, 10), 7),
            view(2, 20),
        ],
        at(1),
    );
    assert_eq!(registry.next_instant(at(1)), Some(at(10)));
    assert_eq!(ready(&registry, at(10)), [GROUP]);
    assert_eq!(registry.mark_running(GROUP), [1, 3]);
    assert_eq!(ready(&registry, at(50)), [TWO]);
    registry.finish(GROUP, &[done(1, at(50)), done(3, at(50))], at(51));
    assert_eq!(registry.due(GROUP), Some(at(60)));
}

#[test]
fn a_group_refreshes_members_after_those_they_read_and_leaves_out_the_suspended() {
    let suspended = with_state(grouped(view(4, 1), 7), |state| state.suspended = true);
    let parts = [
        reading(grouped(view(1, 10), 7), &[2]),
        reading(grouped(view(2, 10), 7), &[3]),
        grouped(view(3, 10), 7),
        suspended,
    ];
    let mut registry = registry(parts, at(1));
    assert_eq!(registry.due(GROUP), Some(at(10)));
    assert_eq!(registry.mark_running(GROUP), [3, 2, 1]);
}

#[test]
fn a_group_waits_for_the_retry_of_its_failing_member() {
    let failing = with_state(grouped(view(1, 10), 7), |state| {
        state.failure = Some(Failure {
            failures: 2,
            retry_at: at(40),
        });
    });
    let registry = registry([failing, grouped(view(2, 10), 7)], at(20));
    assert_eq!(registry.due(GROUP), Some(at(40)));
}

#[test]
fn a_view_that_changes_its_group_is_refreshed_by_the_new_one_only() {
    let mut registry = registry([grouped(view(1, 10), 7), grouped(view(2, 20), 7)], at(1));
    registry.upsert(view(1, 10), at(2));
    assert_eq!(ready(&registry, at(100)), [ONE, GROUP]);
    assert_eq!(registry.mark_running(GROUP), [2]);
    registry.upsert(view(2, 20), at(3));
    assert_eq!(
        ready(&registry, at(100)),
        [ONE],
        "it still runs with its old group"
    );
    registry.finish(GROUP, &[done(2, at(100))], at(101));
    assert_eq!(registry.due(TWO), Some(at(120)));
    assert_eq!(registry.due(GROUP), None);
    assert!(registry.groups.is_empty());
}

#[test]
fn a_view_that_joins_a_group_while_it_runs_holds_the_group_back() {
    let mut registry = registry([view(1, 10), grouped(view(2, 10), 7)], at(1));
    registry.mark_running(ONE);
    registry.upsert(grouped(view(1, 10), 7), at(2));
    assert_eq!(ready(&registry, at(100)), []);
    registry.finish(ONE, &[done(1, at(100))], at(100));
    assert_eq!(ready(&registry, at(100)), [GROUP]);
}

#[test]
fn a_view_waits_for_the_due_and_running_views_below_it() {
    let mut registry = registry(
        [
            view(1, 10),
            reading(view(2, 10), &[1]),
            reading(view(3, 10), &[2]),
        ],
        at(1),
    );
    let may_start =
        |registry: &Registry| [1, 2, 3].map(|id| registry.may_start(UnitId::View(id), at(10)));
    assert_eq!(may_start(&registry), [true, false, false]);
    registry.mark_running(ONE);
    assert_eq!(may_start(&registry), [false, false, false]);
    registry.finish(ONE, &[done(1, at(10))], at(10));
    assert_eq!(may_start(&registry), [false, true, false]);
    registry.mark_running(TWO);
    registry.finish(TWO, &[done(2, at(10))], at(10));
    assert_eq!(may_start(&registry), [false, false, true]);
}

#[test]
fn a_view_waits_for_one_below_that_became_ready_a_moment_later() {
    let requested = |id, second| {
        with_state(view(id, 3600), |state| {
            state.requested_at = Some(at(second));
        })
    };
    // both asked for in one statement, which stamps the reader first
    let mut registry = registry([requested(1, 11), reading(requested(2, 10), &[1])], at(20));
    assert!(!registry.may_start(UnitId::View(2), at(20)));
    registry.mark_running(UnitId::View(1));
    assert!(!registry.may_start(UnitId::View(2), at(21)));
    let outcome = Outcome {
        id: 1,
        last_refresh: Some(at(21)),
        failure: None,
        suspended: false,
        avg_cost_ms: None,
    };
    registry.finish(UnitId::View(1), &[outcome], at(22));
    assert!(registry.may_start(UnitId::View(2), at(22)));
}

#[test]
fn a_suspended_or_failing_parent_holds_up_nobody() {
    let failing = |state: &mut ViewState| {
        state.failure = Some(Failure {
            failures: 1,
            retry_at: at(60),
        });
    };
    let suspended = |state: &mut ViewState| state.suspended = true;
    for parent in [
        with_state(view(1, 10), failing),
        with_state(view(1, 10), suspended),
    ] {
        let registry = registry([parent, reading(view(2, 10), &[1])], at(1));
        assert!(registry.may_start(TWO, at(10)));
    }
}

#[test]
fn a_parent_that_is_always_due_again_delays_its_child_by_one_run_only() {
    let mut registry = registry([view(1, 1), reading(view(2, 10), &[1])], at(1));
    assert!(!registry.may_start(TWO, at(10)));
    registry.mark_running(ONE);
    registry.finish(ONE, &[done(1, at(10))], at(12));
    assert_eq!(
        ready(&registry, at(12)),
        [TWO, ONE],
        "the parent is due once more already"
    );
    assert!(registry.may_start(TWO, at(12)));
    registry.mark_running(ONE);
    assert!(registry.may_start(TWO, at(12)), "even while it runs again");
}

#[test]
fn overdue_parents_go_first_after_downtime_whatever_their_lateness() {
    // The child has been due for longer, but neither could run before now.
    let registry = registry([view(1, 500), reading(view(2, 10), &[1])], at(1_000));
    assert!(registry.may_start(ONE, at(1_000)) && !registry.may_start(TWO, at(1_000)));
}

#[test]
fn groups_that_read_each_other_do_not_wait_for_ever() {
    // Group 7 = {1, 4}, group 8 = {2, 3}; 2 reads 1, 4 reads 3.
    let parts = [
        grouped(view(1, 10), 7),
        grouped(reading(view(4, 10), &[3]), 7),
        grouped(reading(view(2, 10), &[1]), 8),
        grouped(view(3, 10), 8),
    ];
    let registry = registry(parts, at(1));
    assert!(registry.may_start(GROUP, at(10)));
    assert!(registry.may_start(UnitId::Group(GroupId(8)), at(10)));
}

#[test]
fn a_clock_set_back_is_noticed_and_everything_reckoned_anew() {
    let mut registry = registry([view(1, 10)], at(1));
    assert!(!registry.observe(at(7200)));
    registry.mark_running(ONE);
    registry.finish(ONE, &[done(1, at(7200))], at(7200));
    assert_eq!(registry.next_instant(at(0)), Some(at(7210)));
    assert!(
        !registry.observe(at(7199)),
        "a second is within the error of the estimate"
    );
    assert!(registry.observe(at(100)));
    assert_eq!(ready(&registry, at(100)), [ONE]);
    assert!(!registry.observe(at(100)), "noticed once");
}

#[test]
fn spreading_delays_no_request_and_no_parent_behind_its_child() {
    let requested = with_state(view(99, 3_600), |state| {
        state.requested_at = Some(at(9_000));
    });
    let mut parts: Vec<View> = (1..=20).map(|id| view(id, 60)).collect();
    // Least late of all, so last in the spread, but read by view 1, which is among the first.
    parts.push(view(50, 5_000));
    parts[0] = reading(view(1, 30), &[50]);
    parts.push(requested);
    let mut registry = registry(parts, at(10_000));
    registry.spread_overdue(at(10_000), Duration::from_secs(10), 2);
    let now_ready = ready(&registry, at(10_000));
    assert_eq!(now_ready.len(), 4, "{now_ready:?}");
    assert!(now_ready.contains(&UnitId::View(99)) && now_ready.contains(&UnitId::View(50)));
    assert_eq!(ready(&registry, at(10_010)).len(), 22);
    assert!(registry.next_instant(at(10_000)).unwrap() < at(10_001));
}

#[test]
fn spreading_is_the_same_every_time_and_leaves_a_small_backlog_alone() {
    let spread = |count| {
        let mut registry = registry((1..=count).map(|id| view(id, 60)), at(10_000));
        registry.spread_overdue(at(10_000), Duration::from_secs(10), 4);
        registry.order.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(spread(100), spread(100));
    assert!(spread(4).iter().all(|(start, _)| *start == at(10_000)));
}

#[test]
fn the_cost_of_a_group_is_that_of_its_members() {
    let unmeasured = View {
        avg_cost_ms: None,
        ..grouped(view(3, 10), 7)
    };
    let registry = registry(
        [
            grouped(view(1, 10), 7),
            grouped(view(2, 10), 7),
            unmeasured,
            view(4, 1),
        ],
        at(1),
    );
    assert_eq!(registry.expected_cost(GROUP), (Some(10.0), false));
    assert_eq!(registry.expected_cost(UnitId::View(4)), (Some(5.0), false));
}

#[test]
fn a_hundred_thousand_views_fit_into_a_few_hundred_bytes_each() {
    // hashbrown keeps at most 16 slots for 7 entries, one control byte each; BTreeSet nodes are at least half full.
    let slot = |entry: usize| (entry + 1) * 16 / 7;
    let per_view = slot(size_of::<(i32, View)>())
        + slot(size_of::<(UnitId, Place)>())
        + 2 * size_of::<(DateTime<Utc>, UnitId)>();
    assert!(per_view <= 500, "{per_view} bytes at worst");
}

#[test]
fn order_and_places_agree_after_thousands_of_random_changes() {
    let mut registry = Registry::new(CAP);
    let mut seed = 42u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let mut now = at(0);
    for _ in 0..5_000 {
        now += TimeDelta::seconds(i64::from(random(4)));
        let id = i32::try_from(random(40)).unwrap();
        match random(5) {
            0 => registry.remove(id, now),
            1 => {
                let next = registry.ready(now).next();
                if let Some(unit) = next {
                    assert!(!registry.mark_running(unit).is_empty());
                }
            }
            2 => {
                if let Some(unit) = registry.running.values().map(|run| run.unit).next() {
                    let outcomes: Vec<Outcome> =
                        registry.running.keys().map(|id| done(*id, now)).collect();
                    registry.finish(unit, &outcomes, now);
                }
            }
            3 => registry.upsert(view(id, u64::from(1 + random(50))), now),
            _ => registry.upsert(grouped(view(id, u64::from(1 + random(50))), random(5)), now),
        }
        assert_eq!(registry.order.len(), registry.places.len());
        for (unit, place) in &registry.places {
            assert!(registry.order.contains(&(place.ready_at, *unit)));
            assert!(
                registry.members(*unit).next().is_some(),
                "no place without members"
            );
            assert!(
                registry
                    .members(*unit)
                    .all(|view| !registry.running.contains_key(&view.id))
            );
        }
        for view in registry.views.values() {
            let unit = unit_of(view);
            let busy = registry
                .members(unit)
                .any(|view| registry.running.contains_key(&view.id));
            assert!(
                busy || registry.places.contains_key(&unit),
                "every scheduled view has a place"
            );
        }
    }
}
