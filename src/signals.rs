//! The signals a daemon lives by, with who sent them.

use std::fmt;
use std::io;

use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Origin;
use signal_hook_tokio::SignalsInfo;

/// What a signal asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Stop: SIGTERM or SIGINT.
    Terminate {
        /// Who asked.
        sender: Sender,
        /// Whether it has been asked for before: stop at once.
        again: bool,
    },
    /// Read the configuration again, and open the log files again: SIGHUP.
    Reload {
        /// Who asked.
        sender: Sender,
    },
}

/// Who sent a signal. Displayed as `SIGTERM from process 4711 of user 1000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The signal's name.
    pub signal: &'static str,
    /// Process id and user id; unknown for the terminal's Ctrl-C and other signals of the kernel.
    pub process: Option<(i32, u32)>,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some((pid, uid)) => write!(f, "{} from process {pid} of user {uid}", self.signal),
            None => write!(f, "{} from the terminal or the kernel", self.signal),
        }
    }
}

/// The signals of this process as a stream of events. While one exists these signals no longer end the process.
pub struct Signals {
    stream: SignalsInfo<WithOrigin>,
    terminating: bool,
}

impl Signals {
    /// Begins to listen; within a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            stream: SignalsInfo::with_exfiltrator(
                [SIGTERM, SIGINT, SIGHUP],
                WithOrigin::default(),
            )?,
            terminating: false,
        })
    }

    /// The next event. Cancelling the wait, as `select!` does, loses nothing.
    pub async fn next(&mut self) -> Event {
        match self.stream.next().await {
            Some(origin) => self.event(&origin),
            // The stream ends only when its handle is closed, and nobody else has it.
            None => std::future::pending().await,
        }
    }

    fn event(&mut self, origin: &Origin) -> Event {
        let process = origin
            .process
            .as_ref()
            .map(|process| (process.pid, process.uid))
            // A sender outside our PID namespace shows as process 0.
            .filter(|(pid, _)| *pid != 0);
        let signal = signal_hook::low_level::signal_name(origin.signal).unwrap_or("a signal");
        let sender = Sender { signal, process };
        if origin.signal == SIGHUP {
            return Event::Reload { sender };
        }
        let again = std::mem::replace(&mut self.terminating, true);
        Event::Terminate { sender, again }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals")
            .field("terminating", &self.terminating)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Signals go to the whole process, so these promises are tested one after the other.
    #[tokio::test]
    async fn signals_arrive_as_events_that_name_their_sender() {
        let mut signals = Signals::listen().unwrap();

        let mut shell = tokio::process::Command::new("sh")
            .args(["-c", "kill -HUP $PPID"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id().unwrap()).unwrap();
        let event = signals.next().await;
        shell.wait().await.unwrap();
        let Event::Reload { sender } = event else {
            panic!("{event:?}");
        };
        assert_eq!(sender.process.unwrap().0, pid);
        assert!(
            sender
                .to_string()
                .starts_with(&format!("SIGHUP from process {pid} of user ")),
            "{sender}"
        );

        for (signal, expected) in [(SIGTERM, false), (SIGINT, true), (SIGTERM, true)] {
            signal_hook::low_level::raise(signal).unwrap();
            let event = signals.next().await;
            let Event::Terminate { again, .. } = event else {
                panic!("{event:?}");
            };
            assert_eq!(again, expected);
        }
    }
}
