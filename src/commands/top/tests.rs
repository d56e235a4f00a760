use chrono::{DateTime, TimeDelta};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::state::{Next, State};
use super::draw;
use crate::board::{Board, BoardView};

fn view(id: i32, name: &str) -> BoardView {
    let now = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
    BoardView {
        id,
        name: name.to_owned(),
        kind: "table".to_owned(),
        owner: "shop".to_owned(),
        status: "ok".to_owned(),
        rate_s: Some(30),
        cron: None,
        time_zone: None,
        method: "auto".to_owned(),
        group: None,
        right_at: Some(now - TimeDelta::seconds(12)),
        staleness_s: Some(12.0),
        period_s: Some(30.0),
        due_at: Some(now + TimeDelta::seconds(18)),
        late_s: 0.0,
        is_late: false,
        is_refreshing: false,
        last_method: Some("fast".to_owned()),
        last_reason: Some("12 pending rows".to_owned()),
        last_ms: Some(4.2),
        last_rows: Some(12),
        avg_ms: Some(f64::from(id)),
        failures: 0,
        error: None,
        error_at: None,
        retry_at: None,
        is_fast: Some(true),
        refused: None,
        reads_views: Vec::new(),
        reads_tables: Vec::new(),
        recent_ms: vec![100.0, 1.0, 25.0],
        recent_kinds: "cff".to_owned(),
    }
}

fn state() -> State {
    let mut state = State::new("shop");
    let lost = BoardView {
        status: "suspended".to_owned(),
        error: Some("relation \"doomed\"\ndoes not exist".to_owned()),
        due_at: None,
        last_method: Some("complete".to_owned()),
        ..view(3, "public.zebra")
    };
    let busy = BoardView {
        is_refreshing: true,
        ..view(2, "public.busy")
    };
    state.take(Board {
        database_now: DateTime::UNIX_EPOCH + TimeDelta::hours(1),
        views: vec![view(1, "public.apple"), busy, lost],
        logs: Vec::new(),
    });
    state
}

/// What is seen, line by line.
fn screen(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        (0..width)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn press(state: &mut State, keys: &[KeyCode]) -> Next {
    let mut next = Next::GoOn;
    for key in keys {
        next = state.press(KeyEvent::new(*key, KeyModifiers::NONE));
    }
    next
}

fn names(state: &State) -> Vec<&str> {
    state
        .views()
        .iter()
        .map(|view| view.name.as_str())
        .collect()
}

#[test]
fn a_screen_shows_every_view_those_in_trouble_first_and_the_error_of_the_chosen_one() {
    assert_eq!(
        screen(&state(), 100, 10),
        [
            "mvrefreshd shop  3 views, 1 refreshing, 1 in trouble, 1 suspended  01:00:00 UTC",
            "",
            "STATE       VIEW                STALE/PERIOD     METHOD    TOOK     LAST         ROWS      DUE",
            "suspended   public.zebra        12s/30s          complete  4.2 ms   █▂▅          12        -",
            "ok          public.apple        12s/30s          fast      4.2 ms   █▂▅          12        in 18s",
            "refreshing  public.busy         12s/30s          fast      4.2 ms   █▂▅          12        in 18s",
            "public.zebra: relation \"doomed\" does not exist",
            "q end  ↑↓ choose  / filter  s sort (by urgency)  t in trouble only",
            "",
            "",
        ]
    );
}

#[test]
fn keys_choose_sort_filter_and_end() {
    let mut state = state();
    assert_eq!(
        names(&state),
        ["public.zebra", "public.apple", "public.busy"]
    );
    press(&mut state, &[KeyCode::Char('s')]);
    assert_eq!(
        names(&state),
        ["public.apple", "public.busy", "public.zebra"]
    );
    press(&mut state, &[KeyCode::Char('s')]);
    assert_eq!(
        names(&state),
        ["public.zebra", "public.busy", "public.apple"]
    );
    press(&mut state, &[KeyCode::Down, KeyCode::Char('s')]);
    let views = state.views();
    let chosen = views[state.place(&views).unwrap()].name.clone();
    assert_eq!(
        chosen, "public.busy",
        "it stays chosen when the order changes"
    );
    press(&mut state, &[KeyCode::Char('t')]);
    assert_eq!(names(&state), ["public.zebra"]);
    press(
        &mut state,
        &[
            KeyCode::Char('t'),
            KeyCode::Char('/'),
            KeyCode::Char('A'),
            KeyCode::Char('p'),
            KeyCode::Char('p'),
        ],
    );
    assert_eq!(names(&state), ["public.apple"]);
    assert!(
        screen(&state, 80, 9)
            .iter()
            .any(|line| line.starts_with("filter: App_"))
    );
    // a letter that is typed is no command
    assert_eq!(press(&mut state, &[KeyCode::Char('q')]), Next::GoOn);
    assert_eq!(names(&state), [""; 0]);
    assert!(screen(&state, 80, 9).contains(&"no materialized view matches".to_owned()));
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!(names(&state).len(), 3);
    assert_eq!(press(&mut state, &[KeyCode::Char('q')]), Next::End);
}

#[test]
fn a_database_that_is_away_is_said_and_what_was_seen_stays() {
    let mut state = state();
    state.problem = Some("no server on port 5432".to_owned());
    let screen = screen(&state, 100, 9);
    assert_eq!(screen[1], "what is shown is old: no server on port 5432");
    assert!(screen.iter().any(|line| line.contains("public.apple")));
}

#[test]
fn the_smallest_terminal_and_the_longest_list_are_no_trouble() {
    let mut state = state();
    let views = (0..1000).map(|id| view(id, &format!("public.view_{id:04}")));
    state.take(Board {
        database_now: DateTime::UNIX_EPOCH,
        views: views.collect(),
        logs: Vec::new(),
    });
    press(&mut state, &[KeyCode::End]);
    assert!(
        screen(&state, 90, 20)
            .iter()
            .any(|line| line.contains("public.view_0999"))
    );
    for (width, height) in [(1, 1), (20, 3), (300, 80)] {
        screen(&state, width, height);
    }
}
