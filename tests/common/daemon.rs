//! The built binary, run as a user runs it.

use std::env;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything that must happen may take before the test fails: far longer than it ever should.
const LIMIT: Duration = Duration::from_secs(60);

/// A signal that the daemon handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Hangup,
    Interrupt,
    Terminate,
    Kill,
    Stop,
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Hangup => "HUP",
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// What a command left when it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let running = command(arguments, environment)
        .stdin(Stdio::null())
        .output();
    let output = timeout(LIMIT, running)
        .await
        .unwrap_or_else(|_| panic!("mvrefreshd {arguments:?} does not end"));
    let output = output.unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running binary, whose output is collected line by line; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Child,
    lines: watch::Receiver<Vec<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Starts the binary. Settings of `PostgreSQL` and of the daemon in the test's own environment do not reach it.
    pub(crate) fn spawn(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(arguments, environment);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (sender, lines) = watch::channel(Vec::new());
        let readers = vec![
            tokio::spawn(collect(process.stdout.take().unwrap(), sender.clone())),
            tokio::spawn(collect(process.stderr.take().unwrap(), sender)),
        ];
        Self {
            process,
            lines,
            readers,
        }
    }

    /// The process id; panics once the process has been waited for.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Everything printed so far, on both outputs.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for a line, printed earlier or later, that contains the text, and returns it.
    pub(crate) async fn wait_for_line(&mut self, text: &str) -> String {
        self.wait_for_nth_line(1, text).await
    }

    /// Waits until `count` lines contain the text, and returns the last of them.
    pub(crate) async fn wait_for_nth_line(&mut self, count: usize, text: &str) -> String {
        let wanted = |lines: &Vec<String>| {
            lines
                .iter()
                .filter(|line| line.contains(text))
                .nth(count - 1)
                .cloned()
        };
        let found = timeout(LIMIT, self.lines.wait_for(|lines| wanted(lines).is_some()));
        // Neither if the process closed its outputs, nor if nothing came in time.
        let line = match found.await {
            Ok(Ok(lines)) => wanted(&lines),
            Ok(Err(_)) | Err(_) => None,
        };
        line.unwrap_or_else(|| {
            panic!(
                "{count} × {text:?} was not printed in:\n{}",
                self.lines().join("\n")
            )
        })
    }

    /// Sends a signal to the process, which must not have been waited for.
    pub(crate) async fn signal(&self, signal: Signal) {
        // The shell's own `kill`, as not every system has the program.
        let script = format!("kill -s {} {}", signal.name(), self.pid());
        let status = Command::new("/bin/sh")
            .args(["-c", &script])
            .status()
            .await
            .unwrap();
        assert!(status.success(), "{script}: {status}");
    }

    /// Waits for the end of the process and of its output.
    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        let ended = timeout(LIMIT, self.process.wait()).await;
        let status = ended.unwrap_or_else(|_| {
            panic!("it does not end; it printed:\n{}", self.lines().join("\n"))
        });
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon printed:\n{}", self.lines().join("\n"));
        }
    }
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvrefreshd"));
    for (name, _) in env::vars() {
        if name.starts_with("PG") || name.starts_with("MVREFRESHD_") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    // there is one port, and many daemons under test
    command.env("MVREFRESHD_HTTP__LISTEN", "off");
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .kill_on_drop(true);
    command
}

async fn collect(output: impl AsyncRead + Unpin, sender: watch::Sender<Vec<String>>) {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        sender.send_modify(|lines| lines.push(line));
    }
}
