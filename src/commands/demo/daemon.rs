//! The daemon under show: this same program as a process of its own, as it would run anywhere.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::config::HttpConfig;
use crate::error::{CommandError, Exit};

/// Longer than the daemon lets running refreshes go on.
const PATIENCE: Duration = Duration::from_secs(40);
const LINES_OF_LOG_SHOWN: usize = 15;

/// Passes the wish to stop on to the daemon, and kills it when this process is gone without having said that all is
/// done: nobody else would end it.
const COMPANION: &str = r#"
while read -r word; do
    case $word in stop) kill -s TERM "$1" ;; done) exit ;; esac
done
kill -s KILL "$1"
"#;

/// Where nobody listens now: the address by default, if no other daemon is there, else any.
fn free_address() -> Option<SocketAddr> {
    let usual: Option<SocketAddr> = HttpConfig::default().listen.parse().ok();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = usual.and_then(|usual| TcpListener::bind(usual).ok());
    let listener = listener.or_else(|| TcpListener::bind(any).ok())?;
    listener.local_addr().ok()
}

/// How the daemon ended when it was told to.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) status: ExitStatus,
    pub(super) end_of_log: String,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Child,
    companion: Child,
    words: Option<ChildStdin>,
    log: PathBuf,
    page: Option<SocketAddr>,
}

impl Daemon {
    /// Starts it on a database, with the defaults for everything else; its log goes to a file in `directory`.
    pub(super) fn start(url: &str, directory: &Path) -> Result<Self, CommandError> {
        let log = directory.join("daemon.log");
        Self::spawn(url, log)
            .map_err(|error| CommandError::new(Exit::Internal, format!("no daemon: {error}")))
    }

    fn spawn(url: &str, log: PathBuf) -> io::Result<Self> {
        let output = File::create(&log)?;
        let mut command = Command::new(env::current_exe()?);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PG") || name.starts_with("MVREFRESHD_") {
                command.env_remove(&*name);
            }
        }
        let page = free_address();
        let listen = page.map_or_else(|| HttpConfig::OFF.to_owned(), |page| page.to_string());
        let process = command
            .args(["run", "--config", "/dev/null"])
            .env("DATABASE_URL", url)
            .env("MVREFRESHD_HTTP__LISTEN", listen)
            // tells of every refresh
            .env("MVREFRESHD_LOG__LEVEL", "info,mvrefreshd=debug")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C in a terminal is for the demo, which then stops the daemon in its turn.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().unwrap_or_default().to_string();
        let mut companion = Command::new("/bin/sh")
            .args(["-c", COMPANION, "mvrefreshd-demo-companion", &pid])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let words = companion.stdin.take();
        Ok(Self {
            process,
            companion,
            words,
            log,
            page,
        })
    }

    /// Where its log is.
    pub(super) fn log_file(&self) -> &Path {
        &self.log
    }

    /// Where its status page is.
    pub(super) fn page(&self) -> Option<SocketAddr> {
        self.page
    }

    /// The end of its log.
    fn end_of_log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_OF_LOG_SHOWN)..].join("\n  ")
    }

    /// Waits for an end that nobody asked for.
    pub(super) async fn ended(&mut self) -> CommandError {
        let how = match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        self.complaint(&format!("the daemon ended by itself ({how})"))
    }

    /// Stops it by SIGTERM and waits for its end.
    pub(super) async fn stop(mut self) -> Result<Stopped, CommandError> {
        let told = self.tell("stop\n").await;
        let ended = match told {
            Ok(()) => timeout(PATIENCE, self.process.wait()).await,
            Err(error) => Ok(Err(error)),
        };
        match ended {
            Ok(Ok(status)) => {
                let _ = self.tell("done\n").await;
                let _ = self.companion.wait().await;
                let end_of_log = self.end_of_log();
                Ok(Stopped { status, end_of_log })
            }
            Ok(Err(error)) => {
                Err(self.complaint(&format!("the daemon could not be stopped: {error}")))
            }
            Err(_) => Err(self.complaint(&format!(
                "the daemon has not ended {} s after SIGTERM",
                PATIENCE.as_secs()
            ))),
        }
    }

    /// An error with the end of the log, as the log itself goes away with the demo.
    fn complaint(&self, message: &str) -> CommandError {
        CommandError::new(Exit::Negative, message)
            .with_hint(format!("Its log ends with:\n  {}", self.end_of_log()))
    }

    async fn tell(&mut self, word: &str) -> io::Result<()> {
        match &mut self.words {
            Some(words) => {
                words.write_all(word.as_bytes()).await?;
                words.flush().await
            }
            None => Ok(()),
        }
    }
}
