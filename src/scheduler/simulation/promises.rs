//! What the scheduler promises, each shown over simulated hours.

use std::sync::Arc;

use super::super::crontab::Crontab;
use super::super::schedule::{Schedule, ViewState};
use super::super::view::{GroupId, Timeouts};
use super::*;

/// Refreshed when the simulation begins, due again every `rate` seconds.
fn view(id: i32, rate: i64) -> View {
    View {
        id,
        group: None,
        schedule: Arc::new(Schedule {
            rate: Some(Duration::from_secs(rate.unsigned_abs())),
            cron: None,
        }),
        state: ViewState {
            last_refresh: Some(epoch()),
            created_at: epoch(),
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

fn last_refreshed(mut view: View, seconds_ago: i64) -> View {
    view.state.last_refresh = Some(epoch() - TimeDelta::seconds(seconds_ago));
    view
}

/// Rates from a second to an hour, as people choose them: few fast ones, many slow ones.
fn mixed_rates() -> Vec<(i32, i64)> {
    let rates = [
        (1, 20),
        (5, 80),
        (15, 200),
        (60, 700),
        (300, 1_000),
        (900, 1_000),
        (3_600, 2_000),
    ];
    let spread_out = rates
        .into_iter()
        .flat_map(|(rate, count)| std::iter::repeat_n(rate, count));
    (1..).zip(spread_out).collect()
}

#[test]
fn five_thousand_views_on_four_workers_all_keep_their_rates() {
    let rates = mixed_rates();
    assert_eq!(rates.len(), 5_000);
    let mut simulation = Simulation::new(4, rates.iter().map(|(id, rate)| view(*id, *rate)));
    simulation.costs = rates
        .iter()
        .map(|(id, _)| (*id, 10 + i64::from(id % 20)))
        .collect();
    let seconds = 3_700;
    simulation.run_for(seconds);
    for (id, rate) in rates {
        let runs = i64::try_from(simulation.runs(id).len()).unwrap();
        let wanted = seconds / rate;
        // All were refreshed at the same instant before, so waves of up to 20 s of work come together.
        assert!(
            runs <= wanted,
            "view {id}: {runs} runs at a rate of {rate} s"
        );
        assert!(
            runs * 10 >= wanted * 8 || runs + 1 >= wanted,
            "view {id}: {runs} runs at a rate of {rate} s"
        );
    }
    assert_eq!(simulation.most_at_once, 4);
}

#[test]
fn under_overload_every_view_falls_behind_by_about_the_same_factor() {
    let rates: Vec<(i32, i64)> = (1..=200)
        .map(|id| (id, [1, 10, 100][usize::try_from(id % 3).unwrap()]))
        .collect();
    let mut simulation = Simulation::new(4, rates.iter().map(|(id, rate)| view(*id, *rate)));
    // The fast third alone asks for 67 * 0.2 s of work per second, 3.4 times of what four workers give.
    simulation.costs = rates.iter().map(|(id, _)| (*id, 200)).collect();
    simulation.run_for(1_000);
    for (id, rate) in rates {
        let factor = simulation.longest_pause(id, 100) / (rate * 1000);
        assert!(
            (2..=6).contains(&factor),
            "view {id} with a rate of {rate} s paused for {factor} of its periods"
        );
    }
}

#[test]
fn after_an_hour_down_each_overdue_view_is_caught_up_exactly_once() {
    let mut simulation = Simulation::new(4, (1..=1_000).map(|id| view(id, 600)));
    simulation.run_for(100);
    simulation.sleep(3_600);
    simulation.run_for(300);
    for id in 1..=1_000 {
        assert_eq!(
            simulation.runs_between(id, 0, 3_700),
            0,
            "view {id} was not due yet"
        );
        assert_eq!(
            simulation.runs_between(id, 3_700, 4_000),
            1,
            "view {id} missed six runs, and makes up for one"
        );
        assert!(
            simulation.runs(id)[0].start <= 3_715_000,
            "view {id} within the window and the work itself"
        );
    }
    let at_once = (1..=1_000)
        .filter(|id| simulation.runs(*id)[0].start < 3_700_100)
        .count();
    assert!(at_once < 30, "{at_once} in the first 100 ms: a storm");
}

#[test]
fn crontabs_missed_while_down_are_caught_up_once_and_then_keep_their_times() {
    let crontab = Crontab::parse("*/10 * * * *", "UTC").unwrap();
    let schedule = Arc::new(Schedule {
        rate: None,
        cron: Some(Arc::new(crontab)),
    });
    let mut simulation = Simulation::new(
        4,
        [View {
            schedule,
            ..view(1, 1)
        }],
    );
    simulation.sleep(3_601);
    simulation.run_for(1_800);
    let starts: Vec<i64> = simulation.runs(1).iter().map(|run| run.start).collect();
    assert_eq!(starts, [3_601_000, 4_200_000, 4_800_000, 5_400_000]);
}

#[test]
fn a_clock_set_back_two_hours_stalls_nothing_and_doubles_nothing() {
    let rates: Vec<(i32, i64)> = (1..=300)
        .map(|id| (id, [5, 60, 600][usize::try_from(id % 3).unwrap()]))
        .collect();
    let mut simulation = Simulation::new(4, rates.iter().map(|(id, rate)| view(*id, *rate)));
    simulation.run_for(1_201);
    simulation.step_clock(TimeDelta::hours(-2));
    simulation.run_for(2_400);
    for (id, rate) in rates {
        let pause = simulation.longest_pause(id, 1_201 - rate);
        assert!(
            pause <= (rate + 2) * 1000,
            "view {id} with a rate of {rate} s paused for {pause} ms"
        );
        let runs = i64::try_from(simulation.runs_between(id, 1_201, 3_601)).unwrap();
        assert!(
            (runs - 2_400 / rate).abs() <= 1,
            "view {id} with a rate of {rate} s ran {runs} times after"
        );
    }
}

#[test]
fn a_clock_set_forward_two_hours_stalls_nothing_and_doubles_nothing() {
    let rates: Vec<(i32, i64)> = (1..=300)
        .map(|id| (id, [5, 60, 600][usize::try_from(id % 3).unwrap()]))
        .collect();
    let mut simulation = Simulation::new(4, rates.iter().map(|(id, rate)| view(*id, *rate)));
    simulation.run_for(1_201);
    simulation.step_clock(TimeDelta::hours(2));
    simulation.run_for(2_400);
    for (id, rate) in rates {
        let pause = simulation.longest_pause(id, 1_201 - rate);
        assert!(
            pause <= (rate + 2) * 1000,
            "view {id} with a rate of {rate} s paused for {pause} ms"
        );
        let runs = i64::try_from(simulation.runs_between(id, 1_201, 3_601)).unwrap();
        assert!(
            (runs - 2_400 / rate).abs() <= 1,
            "view {id} with a rate of {rate} s ran {runs} times after"
        );
    }
}

#[test]
fn a_clock_set_back_does_not_leave_a_failing_view_waiting() {
    let mut simulation = Simulation::new(2, [view(1, 5)]);
    simulation.failing.insert(1);
    simulation.run_for(600);
    simulation.step_clock(TimeDelta::hours(-2));
    simulation.failing.clear();
    simulation.run_for(60);
    assert!(
        simulation.runs_between(1, 600, 660) >= 11,
        "retries of the time before don't count"
    );
}

#[test]
fn long_refreshes_never_make_quick_ones_wait() {
    let long = (1..=20).map(|id| View {
        avg_cost_ms: Some(60_000.0),
        ..view(id, 10)
    });
    let quick = (21..=40).map(|id| view(id, 1));
    let mut simulation = Simulation::new(4, long.chain(quick));
    simulation.costs = (1..=20).map(|id| (id, 60_000)).collect();
    simulation.run_for(3_000);
    for id in 21..=40 {
        let pause = simulation.longest_pause(id, 0);
        assert!(pause <= 1_200, "view {id} paused for {pause} ms");
        assert_eq!(lane_of(&simulation, id), Lane::Quick);
    }
    for id in 1..=20 {
        assert!(
            simulation.runs(id).len() >= 6,
            "three workers go round twenty views every 400 s: view {id}"
        );
        assert_eq!(lane_of(&simulation, id), Lane::Long);
    }
}

#[test]
fn views_are_refreshed_after_those_they_read() {
    // Chains of four: 1 <- 2 <- 3 <- 4, and so on, all with the same rate.
    let views = (1..=400).map(|id| {
        let depends_on: Box<[i32]> = if id % 4 == 1 {
            Box::new([])
        } else {
            Box::new([id - 1])
        };
        View {
            depends_on,
            ..view(id, 60)
        }
    });
    let mut simulation = Simulation::new(4, views);
    simulation.run_for(600);
    for id in (1..=400).filter(|id| id % 4 != 1) {
        let (own, read) = (simulation.runs(id), simulation.runs(id - 1));
        assert!(own.len() >= 8, "view {id} ran {} times", own.len());
        for (own, read) in own.iter().zip(read) {
            assert!(read.end <= own.start, "view {id} ran before what it reads");
        }
    }
}

#[test]
fn a_view_over_one_that_is_always_due_again_is_refreshed_all_the_same() {
    let child = View {
        depends_on: Box::new([1]),
        ..view(2, 30)
    };
    let mut simulation = Simulation::new(2, [view(1, 1), child]);
    simulation.costs.insert(1, 2_500);
    simulation.run_for(600);
    assert!(
        simulation.runs(2).len() >= 17,
        "{} runs",
        simulation.runs(2).len()
    );
}

#[test]
fn a_failing_view_backs_off_and_delays_no_other() {
    let mut simulation = Simulation::new(1, (1..=20).map(|id| view(id, 2)));
    simulation.failing.insert(1);
    simulation.run_for(600);
    for id in 2..=20 {
        assert!(simulation.longest_pause(id, 0) <= 2_200, "view {id}");
    }
    // 0.75, 1.5, 3, 6, 12, 24 s, then every 45 s.
    let tries = simulation.runs(1).len();
    assert!((15..=22).contains(&tries), "{tries} tries");
}

#[test]
fn a_recovered_view_returns_to_its_rate() {
    let mut simulation = Simulation::new(1, [view(1, 2)]);
    simulation.failing.insert(1);
    simulation.run_for(300);
    simulation.failing.clear();
    simulation.run_for(300);
    assert!(simulation.longest_pause(1, 350) <= 2_100);
}

#[test]
fn the_views_of_a_group_always_start_together() {
    let mut simulation = Simulation::new(
        4,
        (1..=5).map(|id| View {
            group: Some(GroupId(1)),
            ..view(id, 10 * i64::from(id))
        }),
    );
    simulation.run_for(300);
    let starts = simulation.runs(1).to_vec();
    assert_eq!(starts.len(), 30 - 1, "the earliest member's rate decides");
    for id in 2..=5 {
        assert_eq!(simulation.runs(id), starts);
    }
}

#[test]
fn first_fills_of_many_new_views_leave_others_undisturbed() {
    let new = (1..=500).map(|id| {
        let mut view = View {
            avg_cost_ms: None,
            ..view(id, 3_600)
        };
        view.state.last_refresh = None;
        view
    });
    let mut simulation = Simulation::new(4, new.chain([view(501, 1)]));
    simulation.costs = (1..=500).map(|id| (id, 5_000)).collect();
    simulation.run_for(1_000);
    assert!(simulation.longest_pause(501, 0) <= 1_100);
    assert!(
        (1..=500).all(|id| simulation.runs(id).len() == 1),
        "each filled once"
    );
}

#[test]
fn an_idle_scheduler_wakes_only_for_what_is_due() {
    let simulation = Simulation::new(
        4,
        (1..=100).map(|id| last_refreshed(view(id, 3_600), 1_800)),
    );
    assert_eq!(simulation.next_event(), Some(1_800_000));
}
