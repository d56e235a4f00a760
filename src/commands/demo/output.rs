//! What the demo prints: lines, a progress bar, and on a terminal a screen that is drawn again and again.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::interrupt::Interrupt;

const BAR: &str = "  {bar:30} {human_pos} of {human_len} {msg}";

/// Alternate screen, no cursor, and no wrapping of lines that are too long.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const CLOSE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Standard output. When nobody reads it any more, that is taken for the wish to end.
#[derive(Debug)]
pub(super) struct Output {
    interrupt: Interrupt,
    is_terminal: bool,
}

impl Output {
    /// Standard output, be it a terminal or not.
    pub(super) fn new(interrupt: Interrupt) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
        Self {
            interrupt,
            is_terminal: io::stdout().is_terminal() && !is_dumb,
        }
    }

    /// Whether it is a terminal that can be drawn on.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether colours are wanted (<https://no-color.org>).
    pub(super) fn has_colour(&self) -> bool {
        self.is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// The terminal's width in columns.
    pub(super) fn width(&self) -> Option<u16> {
        Table::new().width().filter(|_| self.is_terminal)
    }

    /// Prints a line, or several.
    pub(super) fn say(&self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// Begins to show progress through so many of what is named; only on a terminal.
    pub(super) fn progress(&self, count: u64, what: &'static str) -> ProgressBar {
        let target = if self.is_terminal {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(count), target);
        // The template is a constant, so either all runs have the bar or none has.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style.progress_chars("██░"));
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Takes over the terminal until the screen is dropped.
    pub(super) fn open_screen(&self) -> Screen<'_> {
        self.print(OPEN);
        Screen { output: self }
    }

    fn print(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        if written.is_err() && !self.interrupt.is_asked() {
            self.interrupt.ask();
        }
    }
}

/// The terminal as a screen; dropping it gives the terminal back as it was.
#[derive(Debug)]
pub(super) struct Screen<'a> {
    output: &'a Output,
}

impl Screen<'_> {
    /// Draws these lines over what was there.
    pub(super) fn draw(&self, lines: &[String]) {
        self.output.print(&frame(lines));
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.output.print(CLOSE);
    }
}

/// Each line is put to its place, so that a terminal with too few rows does not scroll, and overwrites the one before
/// from its start, so that nothing flickers; where the terminal knows how (mode 2026) all appears at once.
fn frame(lines: &[String]) -> String {
    let mut text = String::from("\x1b[?2026h");
    for (number, line) in lines.iter().enumerate() {
        // Writing to a string can't fail.
        let _ = write!(text, "\x1b[{};1H{line}\x1b[0m\x1b[K", number + 1);
    }
    let _ = write!(text, "\x1b[{};1H\x1b[J\x1b[?2026l", lines.len() + 1);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_leaves_nothing_of_the_one_before() {
        let text = frame(&["one".to_owned(), "two".to_owned()]);
        assert_eq!(
            text,
            "\x1b[?2026h\x1b[1;1Hone\x1b[0m\x1b[K\x1b[2;1Htwo\x1b[0m\x1b[K\x1b[3;1H\x1b[J\x1b[?2026l"
        );
    }
}
