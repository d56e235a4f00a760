//! What `top` shows and how, changed by keys and by what was read; nothing here knows a terminal.

use std::cmp::Reverse;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::board::{Board, BoardView};

/// What the views are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Those in trouble first, then the stalest in relation to their periods.
    Urgency,
    Name,
    /// The slowest first.
    Cost,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Urgency => "urgency",
            Self::Name => "name",
            Self::Cost => "cost",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Urgency => Self::Name,
            Self::Name => Self::Cost,
            Self::Cost => Self::Urgency,
        }
    }
}

/// What to do after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    End,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) database: String,
    pub(super) board: Option<Board>,
    /// Why the board can't be read at present.
    pub(super) problem: Option<String>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) only_trouble: bool,
    /// The chosen view's key, which stays the same when the order changes.
    chosen: Option<i32>,
}

impl State {
    pub(super) fn new(database: &str) -> Self {
        Self {
            database: database.to_owned(),
            board: None,
            problem: None,
            sort: Sort::Urgency,
            filter: String::new(),
            is_typing: false,
            only_trouble: false,
            chosen: None,
        }
    }

    /// Takes a board that was just read.
    pub(super) fn take(&mut self, board: Board) {
        self.board = Some(board);
        self.problem = None;
    }

    /// The views to show, in order.
    pub(super) fn views(&self) -> Vec<&BoardView> {
        let wanted = self.filter.to_lowercase();
        let all = self.board.iter().flat_map(|board| &board.views);
        let mut views: Vec<&BoardView> = all
            .filter(|view| !self.only_trouble || view.is_in_trouble())
            .filter(|view| view.name.to_lowercase().contains(&wanted))
            .collect();
        // by name already; sorting keeps that among equals
        match self.sort {
            Sort::Name => {}
            Sort::Urgency => views.sort_by(|a, b| {
                let ratio = |view: &BoardView| view.staleness_ratio().unwrap_or(0.0);
                // steady: views as stale as they should be don't change places all the time
                let late = |view: &BoardView| {
                    let ratio = ratio(view);
                    if ratio > 1.5 { ratio } else { 0.0 }
                };
                let trouble = Reverse(a.is_in_trouble()).cmp(&Reverse(b.is_in_trouble()));
                trouble.then(late(b).total_cmp(&late(a)))
            }),
            Sort::Cost => {
                let cost = |view: &BoardView| view.avg_ms.unwrap_or(-1.0);
                views.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
            }
        }
        views
    }

    /// The chosen view's place among those shown.
    pub(super) fn place(&self, views: &[&BoardView]) -> Option<usize> {
        let chosen = views.iter().position(|view| Some(view.id) == self.chosen);
        chosen.or((!views.is_empty()).then_some(0))
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::End;
        }
        if self.is_typing {
            match key.code {
                KeyCode::Enter => self.is_typing = false,
                KeyCode::Esc => {
                    self.is_typing = false;
                    self.filter.clear();
                }
                KeyCode::Backspace => {
                    self.filter.pop();
                }
                KeyCode::Char(character) => self.filter.push(character),
                _ => {}
            }
            return Next::GoOn;
        }
        match key.code {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('t') => self.only_trouble = !self.only_trouble,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::PageDown => self.choose(10),
            KeyCode::PageUp => self.choose(-10),
            KeyCode::Home => self.choose(isize::MIN),
            KeyCode::End => self.choose(isize::MAX),
            _ => {}
        }
        Next::GoOn
    }

    fn choose(&mut self, by: isize) {
        let views = self.views();
        let last = views.len().saturating_sub(1);
        let place = self.place(&views).unwrap_or(0);
        let chosen = place.saturating_add_signed(by).min(last);
        self.chosen = views.get(chosen).map(|view| view.id);
    }
}
