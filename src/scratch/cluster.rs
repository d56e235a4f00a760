//! A scratch cluster as its users see it.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::account::Account;
use super::binaries::Installation;
use super::error::ScratchError;
use super::guardian::Guardian;
use super::server::{self, Server, Shutdown};
use super::template::{PASSWORD_FILE, make_data_directory};

/// The role that owns a scratch cluster.
pub const SUPERUSER: &str = "postgres";

const DEFAULT_PORT: u16 = 5432;
/// Of `sockaddr_un`: 104 bytes on the BSDs, 108 on Linux.
const LONGEST_SOCKET_PATH: usize = 100;
/// The server writes nothing twice and waits for no disk; what survives is what the operating system keeps, so data
/// outlive the server's crash, but not the machine's.
const FAST: [(&str, &str); 2] = [("fsync", "off"), ("full_page_writes", "off")];
const ALWAYS: [(&str, &str); 5] = [
    ("shared_buffers", "32MB"),
    ("huge_pages", "off"),
    ("max_prepared_transactions", "20"),
    ("unix_socket_permissions", "0700"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
];

/// How a scratch cluster is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's programs; [`Installation::default_one`] if none.
    pub installation: Option<Installation>,
    /// Where to keep `initdb`'s result for the next cluster; none runs `initdb` each time and leaves nothing behind.
    pub template_directory: Option<PathBuf>,
    /// Also listen on 127.0.0.1, at a free port, with a password ([`Cluster::tcp_url`]).
    pub tcp: bool,
    /// Write to disk as a real server does; otherwise data survive a crash of the server, but not of the machine.
    pub durable: bool,
    /// The server's `max_connections`.
    pub max_connections: u16,
    /// More settings of `postgresql.conf`, as name and value.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            installation: None,
            template_directory: None,
            tcp: false,
            durable: false,
            max_connections: 100,
            settings: Vec::new(),
        }
    }
}

/// A private `PostgreSQL` cluster. Dropping it ends the server and removes its directory.
// The order of the fields is the order in which they are dropped: the server before the guardian, which removes the
// directory.
#[derive(Debug)]
pub struct Cluster {
    server: Option<Server>,
    guardian: Guardian,
    directory: TempDir,
    account: Account,
    installation: Installation,
    options: Options,
    port: u16,
}

impl Cluster {
    /// Makes a new cluster and starts its server.
    pub fn start(options: &Options) -> Result<Self, ScratchError> {
        let mut cluster = Self::without_data(options)?;
        let templates = cluster.options.template_directory.as_deref();
        make_data_directory(
            &cluster.data(),
            &cluster.installation,
            &cluster.account,
            templates,
        )?;
        cluster.write_settings()?;
        cluster.start_on_a_free_port()?;
        Ok(cluster)
    }

    /// Makes a hot standby of `primary`, with the same options, and starts it. Needs `pg_basebackup`.
    pub fn standby_of(primary: &Self) -> Result<Self, ScratchError> {
        let options = Options {
            installation: Some(primary.installation.clone()),
            ..primary.options.clone()
        };
        let mut standby = Self::without_data(&options)?;
        let mut command = Command::new(standby.installation.program("pg_basebackup")?);
        command
            .arg("--pgdata")
            .arg(standby.data())
            .arg("--host")
            .arg(primary.socket_dir());
        command.args(["--username", SUPERUSER, "--port", &primary.port.to_string()]);
        command.args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "--wal-method=stream",
        ]);
        server::run(command, "pg_basebackup", &standby.data(), &standby.account)?;
        standby.start_on_a_free_port()?;
        Ok(standby)
    }

    /// The connection URL of a database for the superuser, through the socket.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The connection URL of a database for a role, through the socket, where no role needs a password.
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        let directory = self.socket_dir().to_string_lossy();
        let [role, database, host] = [role, database, &*directory].map(percent_encoded);
        format!(
            "postgres://{role}@localhost:{}/{database}?host={host}",
            self.port
        )
    }

    /// The connection URL of a database for the superuser by TCP, with its password; none without [`Options::tcp`].
    #[must_use]
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        let password = fs::read_to_string(self.data().join(PASSWORD_FILE))
            .ok()
            .filter(|_| self.options.tcp)?;
        let database = percent_encoded(database);
        Some(format!(
            "postgres://{SUPERUSER}:{password}@127.0.0.1:{}/{database}",
            self.port
        ))
    }

    /// The directory of the Unix socket, which only the server's user and root can enter.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The port, also part of the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's name.
    #[must_use]
    pub fn superuser(&self) -> &'static str {
        SUPERUSER
    }

    /// The server's programs.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The process id of the running server.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// The server's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The command that a person types to look inside.
    #[must_use]
    pub fn psql_command(&self, database: &str) -> String {
        let words = [
            "psql".to_owned(),
            format!("--host={}", self.socket_dir().display()),
            format!("--port={}", self.port),
            format!("--username={SUPERUSER}"),
            database.to_owned(),
        ];
        words.map(|word| quoted_for_shell(&word)).join(" ")
    }

    /// Ends the server properly and removes everything; an error if something could not be ended or removed.
    pub fn stop(mut self) -> Result<(), ScratchError> {
        self.halt()?;
        let Self {
            guardian,
            directory,
            ..
        } = self;
        let path = directory.path().to_owned();
        drop(guardian);
        drop(directory);
        let left = fs::exists(&path).and_then(|left| {
            if left {
                fs::remove_dir_all(&path)
            } else {
                Ok(())
            }
        });
        left.map_err(ScratchError::io(format!("remove {}", path.display())))
    }

    /// Brings the server down by a fast shutdown, until [`Self::start_again`].
    pub fn halt(&mut self) -> Result<(), ScratchError> {
        self.bring_down(Shutdown::Fast)
    }

    /// Brings the server down by an immediate shutdown, which is like a crash, until [`Self::start_again`].
    pub fn kill_immediately(&mut self) -> Result<(), ScratchError> {
        self.bring_down(Shutdown::Immediate)
    }

    /// Starts a server that was brought down, at the same port. Does nothing if it is running.
    pub fn start_again(&mut self) -> Result<(), ScratchError> {
        if self.server.as_mut().is_some_and(Server::is_running) {
            Ok(())
        } else {
            self.start_server()
        }
    }

    /// A fast shutdown and a start.
    pub fn restart(&mut self) -> Result<(), ScratchError> {
        self.halt()?;
        self.start_again()
    }

    /// Makes a standby the primary, and waits until it is.
    pub fn promote(&self) -> Result<(), ScratchError> {
        let mut command = Command::new(self.installation.program("pg_ctl")?);
        command
            .args(["promote", "--wait", "--pgdata"])
            .arg(self.data());
        server::run(command, "pg_ctl", &self.data(), &self.account)
    }

    fn without_data(options: &Options) -> Result<Self, ScratchError> {
        let account = Account::choose()?;
        let installation = options
            .installation
            .clone()
            .map_or_else(Installation::default_one, Ok)?;
        account.check_can_enter(installation.bin())?;
        let directory = private_directory(&account)?;
        let guardian =
            Guardian::watch(directory.path(), &account).map_err(ScratchError::io("run /bin/sh"))?;
        let options = options.clone();
        Ok(Self {
            server: None,
            guardian,
            directory,
            account,
            installation,
            options,
            port: DEFAULT_PORT,
        })
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Appends to `postgresql.conf`: unlike the command line it leaves room for ALTER SYSTEM.
    fn write_settings(&self) -> Result<(), ScratchError> {
        let path = self.data().join("postgresql.conf");
        let failed = || ScratchError::io(format!("write {}", path.display()));
        let mut text = fs::read_to_string(&path).map_err(failed())?;
        text.push_str(&settings_text(&self.options));
        fs::write(&path, text).map_err(failed())
    }

    /// Another process may take the free port before the server does: then with another one.
    fn start_on_a_free_port(&mut self) -> Result<(), ScratchError> {
        let mut turns = 0;
        loop {
            if self.options.tcp {
                self.port = free_port().map_err(ScratchError::io("listen on 127.0.0.1"))?;
            }
            turns += 1;
            match self.start_server() {
                Err(ScratchError::NotReady { log, .. })
                    if self.options.tcp && turns < 5 && log.contains("could not bind") => {}
                result => return result,
            }
        }
    }

    fn start_server(&mut self) -> Result<(), ScratchError> {
        let mut command = Command::new(self.installation.program("postgres")?);
        let listen = if self.options.tcp { "127.0.0.1" } else { "" };
        command
            .arg("-D")
            .arg(self.data())
            .arg("-p")
            .arg(self.port.to_string());
        // Not in the file: a standby has its primary's.
        command.arg("-c").arg(format!(
            "unix_socket_directories=\"{}\"",
            self.socket_dir().display()
        ));
        command.arg("-c").arg(format!("listen_addresses={listen}"));
        let mut server = Server::spawn(command, &self.data(), &self.log_file(), &self.account)?;
        self.guard(Some(server.pid()))?;
        server.wait_until_ready(&self.data(), &self.log_file())?;
        self.server = Some(server);
        Ok(())
    }

    fn bring_down(&mut self, how: Shutdown) -> Result<(), ScratchError> {
        if let Some(server) = &mut self.server {
            server.shut_down(how)?;
            self.server = None;
            self.guard(None)?;
        }
        Ok(())
    }

    fn guard(&mut self, server: Option<u32>) -> Result<(), ScratchError> {
        self.guardian.guard(server).map_err(ScratchError::io(
            "tell the guardian process about the server",
        ))
    }
}

/// A temporary directory that only the account can enter, with a path short enough for a socket.
fn private_directory(account: &Account) -> Result<TempDir, ScratchError> {
    let fits = |parent: &Path| {
        let socket = parent.join("mvrefreshd-123456/.s.PGSQL.65535.lock");
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(ScratchError::SocketPathTooLong(parent.to_owned()));
        }
        account.check_can_enter(parent)
    };
    let preferred = env::temp_dir();
    let fallback = PathBuf::from("/tmp");
    let parent = match fits(&preferred) {
        Ok(()) => preferred,
        Err(_) if fits(&fallback).is_ok() => fallback,
        Err(error) => return Err(error),
    };
    let directory = tempfile::Builder::new()
        .prefix("mvrefreshd-")
        .rand_bytes(6)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent);
    let directory = directory.map_err(ScratchError::io(format!(
        "make a directory in {}",
        parent.display()
    )))?;
    let path = directory.path();
    account.take(path).map_err(ScratchError::io(format!(
        "give {} to {}",
        path.display(),
        account.name()
    )))?;
    Ok(directory)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn settings_text(options: &Options) -> String {
    let fast: &[(&str, &str)] = if options.durable { &[] } else { &FAST };
    let max_connections = options.max_connections.to_string();
    let fixed = ALWAYS
        .iter()
        .chain(fast)
        .copied()
        .chain([("max_connections", max_connections.as_str())]);
    let own = options
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    fixed
        .chain(own)
        .fold(String::from("\n"), |mut text, (name, value)| {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
            text
        })
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
            out
        })
}

fn quoted_for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
