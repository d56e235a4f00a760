//! A real `PgBouncer` in transaction mode.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::TestServer;

const PROGRAMS: [&str; 2] = ["pgbouncer", "/usr/sbin/pgbouncer"];

/// Whom it runs as where the tests are root's, as it refuses to be root's itself.
const USER: &str = "nobody";

/// `PgBouncer` before a server. Each transaction gets another server session than the one before, so that whatever relies
/// on having the same one fails.
#[derive(Debug)]
pub(crate) struct Pooler {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Pooler {
    /// With so many server sessions, before a server that listens on TCP; none, with a line that says so, if it isn't
    /// on this machine.
    pub(crate) async fn start(server: &TestServer, sessions: u32) -> Option<Self> {
        let runs = |program: &&&str| Command::new(program).arg("--version").output().is_ok();
        let Some(program) = PROGRAMS.iter().find(runs) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no PgBouncer: scripts/setup.sh tests"
            );
            eprintln!("NOT TESTED: there is no PgBouncer here: scripts/setup.sh tests");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, configuration(server, port, sessions)).unwrap();
        let mut command = Command::new(program);
        if is_root(directory.path()) {
            open_to_all(directory.path());
            open_to_all(&file);
            command.args(["-u", USER]);
        }
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut pooler = Self {
            process,
            port,
            directory,
        };
        pooler.wait_until_ready().await;
        pooler.open_all(sessions).await;
        Some(pooler)
    }

    /// Has all its sessions opened, as it opens no more than are needed at a time.
    async fn open_all(&self, sessions: u32) {
        let mut busy = Vec::new();
        for _ in 0..sessions {
            let mut connection = self.connect().await;
            connection.execute("BEGIN").await.unwrap();
            busy.push(connection);
        }
        for mut connection in busy {
            connection.execute("ROLLBACK").await.unwrap();
            connection.close().await.unwrap();
        }
    }

    async fn wait_until_ready(&mut self) {
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.process.try_wait().unwrap();
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            assert!(ended.is_none(), "PgBouncer has ended: {log:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The URL of the test's database through it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A connection through it, for statements without values.
    pub(crate) async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url().parse().unwrap();
        PgConnection::connect_with(&options.extra_float_digits(None))
            .await
            .unwrap()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(server: &TestServer, port: u16, sessions: u32) -> String {
    let url = server.tcp_url("postgres").unwrap();
    let (login, _) = url.split_once('@').unwrap();
    let (_, password) = login.rsplit_once(':').unwrap();
    format!(
        "[databases]
postgres = host=127.0.0.1 port={server_port} dbname=postgres user=postgres password='{password}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
min_pool_size = {sessions}
max_client_conn = 200
server_round_robin = 1
",
        server_port = server.port(),
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn is_root(own: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(own).unwrap().uid() == 0
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
