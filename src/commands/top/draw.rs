//! From what there is to show to what is seen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState, Wrap};

use super::state::State;
use crate::board::{Board, BoardView};
use crate::commands::phrases;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// As many refreshes as fit.
const SPARKS: usize = 12;

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(4),
    ]);
    let [head, body, foot] = areas.areas(frame.area());
    frame.render_widget(heading(state), head);
    let views = state.views();
    table(frame, body, state, &views);
    frame.render_widget(footing(state, &views), foot);
}

fn heading(state: &State) -> Text<'_> {
    let mut line = vec![
        Span::raw("mvrefreshd ").bold(),
        Span::raw(&*state.database).bold(),
    ];
    match &state.board {
        None => line.push("  reading …".into()),
        Some(board) => line.push(format!("  {}", summary(board)).into()),
    }
    let second = match &state.problem {
        Some(problem) => Line::from(format!("what is shown is old: {problem}")).red(),
        None => Line::default(),
    };
    Text::from(vec![Line::from(line), second])
}

fn summary(board: &Board) -> String {
    let count = |test: fn(&BoardView) -> bool| board.views.iter().filter(|view| test(view)).count();
    let views = i64::try_from(board.views.len()).unwrap_or(i64::MAX);
    let mut parts = vec![
        phrases::count(views, "view", "views"),
        format!("{} refreshing", count(|view| view.is_refreshing)),
    ];
    for (number, what) in [
        (count(BoardView::is_in_trouble), "in trouble"),
        (count(|view| view.status == "suspended"), "suspended"),
        (count(|view| view.is_late), "late"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    let at = board.database_now.format("%H:%M:%S UTC");
    format!("{}  {at}", parts.join(", "))
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &State, views: &[&BoardView]) {
    let widths = [
        Constraint::Length(11),
        Constraint::Min(16),
        Constraint::Length(16),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let header = Row::new([
        "STATE",
        "VIEW",
        "STALE/PERIOD",
        "METHOD",
        "TOOK",
        "LAST",
        "ROWS",
        "DUE",
    ]);
    let now = state.board.as_ref().map(|board| board.database_now);
    let rows = views.iter().map(|view| {
        let due = match (view.due_at, now) {
            (Some(due), Some(now)) if due > now => {
                let seconds = due.signed_duration_since(now).as_seconds_f64();
                format!("in {}", phrases::seconds(seconds.ceil()))
            }
            (Some(_), _) => "now".to_owned(),
            (None, _) => "-".to_owned(),
        };
        Row::new([
            Cell::new(Span::styled(word(view), style(view))),
            Cell::new(view.name.as_str()),
            Cell::new(staleness(view)),
            method(view),
            Cell::new(phrases::or_dash(view.last_ms, phrases::milliseconds)),
            Cell::new(sparks(view)),
            Cell::new(phrases::or_dash(view.last_rows, |rows| rows.to_string())),
            Cell::new(due),
        ])
    });
    let table = Table::new(rows, widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut place = TableState::new().with_selected(state.place(views));
    frame.render_stateful_widget(table, area, &mut place);
}

/// As on the status page.
fn word(view: &BoardView) -> &str {
    match view.status.as_str() {
        trouble @ ("failing" | "suspended" | "quarantined") => trouble,
        _ if view.is_refreshing => "refreshing",
        "ok" if view.is_late => "late",
        status => status,
    }
}

fn style(view: &BoardView) -> Style {
    match word(view) {
        "suspended" | "quarantined" => Style::new().fg(Color::Red),
        "failing" | "late" => Style::new().fg(Color::Yellow),
        "refreshing" => Style::new().fg(Color::Cyan),
        "ok" => Style::new().fg(Color::Green),
        _ => Style::new().add_modifier(Modifier::DIM),
    }
}

fn staleness(view: &BoardView) -> String {
    let stale = view
        .staleness_s
        .map_or_else(|| "never".to_owned(), phrases::seconds);
    match view.period_s {
        Some(period) => format!("{stale}/{}", phrases::seconds(period)),
        None => stale,
    }
}

fn method(view: &BoardView) -> Cell<'_> {
    let last = view.last_method.as_deref().filter(|last| *last != "none");
    let method = last.unwrap_or(if view.is_fast == Some(true) {
        "fast"
    } else {
        "complete"
    });
    let color = if method == "fast" {
        Color::Cyan
    } else {
        Color::Yellow
    };
    Cell::new(Span::styled(method, Style::new().fg(color)))
}

/// The last durations, by the square root, so that quick and slow ones are both seen.
fn sparks(view: &BoardView) -> Line<'static> {
    let from = view.recent_ms.len().saturating_sub(SPARKS);
    let recent = &view.recent_ms[from..];
    let top = recent.iter().copied().fold(0.1, f64::max).sqrt();
    let kinds = view.recent_kinds.chars().skip(from);
    let bars = recent.iter().zip(kinds).map(|(ms, kind)| {
        let color = match kind {
            'f' => Color::Cyan,
            'x' => Color::Red,
            _ => Color::Yellow,
        };
        Span::styled(level(ms.sqrt() / top).to_string(), Style::new().fg(color))
    });
    bars.collect()
}

/// `share` of the greatest, from 0 to 1.
fn level(share: f64) -> char {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 7"
    )]
    let index = (share.clamp(0.0, 1.0) * 7.0).round() as usize;
    LEVELS[index]
}

fn footing<'a>(state: &'a State, views: &[&'a BoardView]) -> Paragraph<'a> {
    let chosen = state.place(views).map(|place| views[place]);
    let about = match chosen {
        None => Line::from("no materialized view matches"),
        Some(view) => about(view),
    };
    let keys = if state.is_typing || !state.filter.is_empty() {
        let cursor = if state.is_typing { "_" } else { "" };
        format!(
            "filter: {}{cursor}  (Enter keeps, Esc clears)",
            state.filter
        )
    } else {
        let trouble = if state.only_trouble {
            "all"
        } else {
            "in trouble only"
        };
        format!(
            "q end  ↑↓ choose  / filter  s sort (by {})  t {trouble}",
            state.sort.name()
        )
    };
    Paragraph::new(vec![about, Line::from(keys).dim()]).wrap(Wrap { trim: true })
}

fn about(view: &BoardView) -> Line<'_> {
    let name = Span::raw(format!("{}: ", view.name)).bold();
    let text = match (&view.error, &view.refused, &view.last_reason) {
        (Some(error), ..) => Span::raw(error.replace('\n', " ")).red(),
        (None, Some(refused), _) => Span::raw(format!("refreshed completely: {refused}")),
        (None, None, Some(reason)) => Span::raw(reason.as_str()),
        (None, None, None) => Span::raw("not refreshed yet"),
    };
    Line::from(vec![name, text])
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
