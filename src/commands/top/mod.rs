//! `top`: all materialized views live, in the terminal.

mod draw;
mod state;

use std::io::{self, IsTerminal};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;

use self::state::{Next, State};
use super::session::Session;
use crate::board;
use crate::cli::Top;
use crate::connect::describe;
use crate::error::{CommandError, Exit};

/// How often the keyboard's reader looks whether anybody still listens.
const KEY_PATIENCE: Duration = Duration::from_millis(200);

pub(super) async fn run(session: &mut Session, arguments: &Top) -> Result<Exit, CommandError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let error = CommandError::new(Exit::Usage, "top needs a terminal");
        return Err(error.with_hint("Hint: mvrefreshd status, mvrefreshd status --json"));
    }
    let mut terminal = ratatui::try_init().map_err(no_terminal)?;
    let interval = Duration::from_secs(u64::from(arguments.interval));
    let shown = show(session, &mut terminal, interval).await;
    ratatui::restore();
    shown.map_err(no_terminal)?;
    Ok(Exit::Ok)
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn no_terminal(error: io::Error) -> CommandError {
    CommandError::new(Exit::Internal, format!("the terminal: {error}"))
}

/// Until the user has had enough.
async fn show(
    session: &mut Session,
    terminal: &mut DefaultTerminal,
    interval: Duration,
) -> io::Result<()> {
    let database = session.config.name().unwrap_or(session.database());
    let mut state = State::new(database);
    let mut keys = keyboard();
    let mut looks = tokio::time::interval(interval);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw::draw(frame, &state))?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                    if state.press(key) == Next::End {
                        return Ok(());
                    }
                }
                // drawn anew, perhaps in another size
                Some(_) => {}
                None => return Ok(()),
            },
            _ = looks.tick() => look(session, &mut state).await,
        }
    }
}

async fn look(session: &mut Session, state: &mut State) {
    let read = board::read(&mut session.connection, &session.schema, None).await;
    match read {
        Ok(board) => state.take(board),
        Err(error) => {
            state.problem = Some(describe(&error).replace('\n', " "));
            // what broke the connection may have passed
            if let Ok(connection) = session.another("command").await {
                session.connection = connection;
            }
        }
    }
}

/// What is typed, read on a thread of its own, as that blocks. It ends with its listener.
fn keyboard() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(KEY_PATIENCE).and_then(|is_there| {
                if is_there {
                    event::read().map(Some)
                } else {
                    Ok(None)
                }
            }) {
                Ok(Some(event)) => {
                    if sender.blocking_send(event).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(_) => return,
            }
        }
    });
    receiver
}
