//! The server's process: start, readiness, signals, end.

use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::account::Account;
use super::error::ScratchError;

/// How long a server may take to start, crash recovery included.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take for a shutdown before the next harder one is tried.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);
const LINES_OF_LOG_SHOWN: usize = 30;

/// How a server is brought down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// Disconnects the clients, writes a checkpoint.
    Fast,
    /// Like a crash: the next start goes through recovery.
    Immediate,
}

impl Shutdown {
    fn signal(self) -> &'static str {
        match self {
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
        }
    }
}

/// A running `postgres`; dropping it ends it like a crash.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
}

impl Server {
    /// Runs `command`, a `postgres` whose account and output are set here.
    pub(super) fn spawn(
        mut command: Command,
        data: &Path,
        log: &Path,
        account: &Account,
    ) -> Result<Self, ScratchError> {
        let failed = || ScratchError::io("start postgres");
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(failed())?;
        settle(&mut command, data, account);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed())?)
            .stderr(output)
            // Ctrl-C in a terminal is for the process that owns the server.
            .process_group(0);
        Ok(Self {
            process: command.spawn().map_err(failed())?,
        })
    }

    /// The process id of the postmaster.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether the server has not ended by itself.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Brings the server down and waits for its end; one that does not obey is treated harder.
    pub(super) fn shut_down(&mut self, how: Shutdown) -> Result<(), ScratchError> {
        let failed = || ScratchError::io("stop postgres");
        let ways: &[Shutdown] = match how {
            Shutdown::Fast => &[Shutdown::Fast, Shutdown::Immediate],
            Shutdown::Immediate => &[Shutdown::Immediate],
        };
        for way in ways {
            // Not waited for yet, so that the process id can't have gone to anybody else.
            if self.process.try_wait().map_err(failed())?.is_some() {
                return Ok(());
            }
            send_signal(way.signal(), self.process.id()).map_err(failed())?;
            if self
                .wait_at_most(SHUTDOWN_LIMIT)
                .map_err(failed())?
                .is_some()
            {
                return Ok(());
            }
        }
        self.process.kill().map_err(failed())?;
        self.process.wait().map_err(failed())?;
        Ok(())
    }

    fn wait_at_most(&mut self, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
        let mut pause = Pause::new(limit);
        loop {
            let ended = self.process.try_wait()?;
            if ended.is_some() || !pause.take() {
                return Ok(ended);
            }
        }
    }

    /// Waits until the server takes connections.
    pub(super) fn wait_until_ready(&mut self, data: &Path, log: &Path) -> Result<(), ScratchError> {
        let mut pause = Pause::new(START_LIMIT);
        let reason = loop {
            if let Some(status) = self
                .process
                .try_wait()
                .map_err(ScratchError::io("start postgres"))?
            {
                break status.to_string();
            }
            let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if is_ready(&status, self.process.id()) {
                return Ok(());
            }
            if !pause.take() {
                break format!("not ready after {} s", START_LIMIT.as_secs());
            }
        };
        Err(ScratchError::NotReady {
            reason,
            log: end_of(log),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.shut_down(Shutdown::Immediate);
    }
}

/// Runs one of the programs of `PostgreSQL` to its end, beside the data directory; `data` need not exist yet.
pub(super) fn run(
    mut command: Command,
    program: &'static str,
    data: &Path,
    account: &Account,
) -> Result<(), ScratchError> {
    settle(&mut command, data, account);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(ScratchError::io(format!("run {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let output = [output.stdout, output.stderr].concat();
    Err(ScratchError::Program {
        program,
        output: String::from_utf8_lossy(&output).trim().to_owned(),
    })
}

/// Sets the account and an environment that owes nothing to the caller's: no PGDATA, no translated messages.
fn settle(command: &mut Command, data: &Path, account: &Account) {
    let ours = env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C");
    // The caller's own working directory may be closed to the account.
    command.current_dir(data.parent().unwrap_or(data));
    account.apply(command);
}

/// The shell's built-in `kill`: the standard library knows only SIGKILL, and not every system has the program.
fn send_signal(signal: &str, pid: u32) -> std::io::Result<()> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal])
        .arg(pid.to_string());
    command.stderr(Stdio::null()).status().map(drop)
}

/// Whether the lock file of a data directory says that the server `pid` takes connections. Its first line is the
/// process id and its eighth the status (`src/include/utils/pidfile.h` of `PostgreSQL`).
fn is_ready(lock_file: &str, pid: u32) -> bool {
    let mut lines = lock_file.lines();
    lines
        .next()
        .is_some_and(|line| line.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_OF_LOG_SHOWN)..].join("\n")
}

/// Short pauses, growing a little, up to a deadline.
struct Pause {
    deadline: Instant,
    next: Duration,
}

impl Pause {
    fn new(limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            next: Duration::from_millis(1),
        }
    }

    /// Sleeps; false if the deadline is over.
    fn take(&mut self) -> bool {
        sleep(self.next);
        self.next = (self.next * 5 / 4).min(Duration::from_millis(20));
        Instant::now() < self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::is_ready;

    #[test]
    fn only_the_ready_line_of_the_own_server_counts() {
        let file =
            |status: &str| format!("42\n/data\n1700000000\n5432\n/tmp/s\n\n  1 2\n{status}\n");
        assert!(is_ready(&file("ready   "), 42));
        assert!(!is_ready(&file("starting"), 42));
        assert!(!is_ready(&file("standby "), 42));
        assert!(
            !is_ready(&file("ready   "), 43),
            "left behind by an earlier server"
        );
        assert!(!is_ready("42\n/data\n", 42), "not written to its end");
        assert!(!is_ready("", 42));
    }
}
