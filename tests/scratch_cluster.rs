//! A scratch cluster starts quickly for anybody, keeps to itself, and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{TestServer, covered_majors, options};
use mvrefreshd::scratch::{Cluster, Options, ScratchError};
use sqlx::{Connection, PgConnection};

/// Set in the copy of itself that `a_killed_owner_leaves_nothing_behind` starts and kills.
const VICTIM: &str = "SCRATCH_CLUSTER_VICTIM";

async fn number(connection: &mut PgConnection, query: &'static str) -> i32 {
    sqlx::query_scalar(query)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Waits for something that other processes bring about.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: still not so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs; one that has ended and was not reaped does not.
fn runs(pid: u32) -> bool {
    // Small Linux systems come without `ps`, others without /proc.
    let state = if Path::new("/proc/self/stat").exists() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().unwrap_or_default().to_owned()
    } else {
        let output = Command::new("ps")
            .args(["-o", "stat=", "-p", &pid.to_string()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[tokio::test]
async fn every_version_here_starts_and_answers() {
    for major in covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let mut connection = server.connect().await;
        let version = number(
            &mut connection,
            "SELECT current_setting('server_version_num')::int / 10000",
        )
        .await;
        assert_eq!(u32::try_from(version).unwrap(), major);
    }
}

#[tokio::test]
async fn two_clusters_at_once_know_nothing_of_each_other() {
    let (one, other) = tokio::join!(TestServer::start(), TestServer::start());
    one.execute("CREATE TABLE only_here ()").await;
    let mut there = other.connect().await;
    assert_eq!(
        number(
            &mut there,
            "SELECT count(*)::int FROM pg_class WHERE relname = 'only_here'"
        )
        .await,
        0
    );
    assert_ne!(one.socket_dir(), other.socket_dir());
}

#[tokio::test]
async fn only_the_owner_can_reach_the_socket() {
    let server = TestServer::start().await;
    let directory = fs::metadata(server.socket_dir()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    let socket = server
        .socket_dir()
        .join(format!(".s.PGSQL.{}", server.port()));
    assert_eq!(fs::metadata(&socket).unwrap().uid(), directory.uid());
    assert!(socket.as_os_str().len() < 100);
    let mut connection = server.connect().await;
    let listening: String = sqlx::query_scalar("SHOW listen_addresses")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(listening, "");
}

#[tokio::test]
async fn tcp_needs_the_password() {
    let server = TestServer::start_with(Options {
        tcp: true,
        ..options()
    })
    .await;
    let url = server.tcp_url("postgres").unwrap();
    PgConnection::connect(&url).await.unwrap();
    let (_, address) = url.split_once('@').unwrap();
    let refused = PgConnection::connect(&format!("postgres://postgres:guess@{address}"))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("password authentication failed"),
        "{refused}"
    );
    assert_eq!(TestServer::start().await.tcp_url("postgres"), None);
}

#[tokio::test]
async fn stopping_or_dropping_removes_everything() {
    let started = || Cluster::start(&options()).unwrap();
    let traces = |cluster: &Cluster| (cluster.pid().unwrap(), cluster.socket_dir().to_owned());

    let stopped = started();
    let (pid, directory) = traces(&stopped);
    stopped.stop().unwrap();
    assert!(!runs(pid) && !directory.exists(), "after stop");

    let dropped = started();
    let (pid, directory) = traces(&dropped);
    drop(dropped);
    assert!(!runs(pid) && !directory.exists(), "after drop");
}

#[tokio::test]
async fn without_a_template_nothing_is_kept() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let mut connection = PgConnection::connect(&cluster.url("postgres"))
        .await
        .unwrap();
    assert_eq!(number(&mut connection, "SELECT 1").await, 1);
}

#[tokio::test]
async fn committed_rows_outlive_restarts_and_crashes() {
    let mut server = TestServer::start().await;
    server
        .execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
        .await;
    server.restart().unwrap();
    server.execute("INSERT INTO kept VALUES (2)").await;
    server.kill_immediately().unwrap();
    assert_eq!(server.pid(), None);
    assert!(
        PgConnection::connect(&server.url()).await.is_err(),
        "it is down"
    );
    server.start_again().unwrap();
    let mut connection = server.connect().await;
    assert_eq!(
        number(&mut connection, "SELECT sum(id)::int FROM kept").await,
        3
    );
}

#[tokio::test]
async fn a_standby_takes_over_when_promoted() {
    let mut primary = TestServer::start().await;
    primary
        .execute("CREATE TABLE replicated AS SELECT 7 AS id")
        .await;
    let standby = Cluster::standby_of(&primary).unwrap();
    let mut connection = PgConnection::connect(&standby.url("postgres"))
        .await
        .unwrap();
    assert_eq!(
        number(&mut connection, "SELECT pg_is_in_recovery()::int").await,
        1
    );

    primary.kill_immediately().unwrap();
    standby.promote().unwrap();
    assert_eq!(
        number(&mut connection, "SELECT pg_is_in_recovery()::int").await,
        0
    );
    assert_eq!(
        number(
            &mut connection,
            "INSERT INTO replicated SELECT id + 1 FROM replicated RETURNING id"
        )
        .await,
        8
    );
}

#[tokio::test]
async fn settings_reach_the_server_and_can_be_altered() {
    let settings = vec![("work_mem".to_owned(), "3MB".to_owned())];
    let server = TestServer::start_with(Options {
        max_connections: 17,
        settings,
        ..options()
    })
    .await;
    assert_eq!(server.psql("SHOW max_connections"), "17");
    assert_eq!(server.psql("SHOW work_mem"), "3MB");
    server.execute("ALTER SYSTEM SET work_mem = '5MB'").await;
    server.execute("SELECT pg_reload_conf()").await;
    wait_until("work_mem is 5MB", || server.psql("SHOW work_mem") == "5MB");
}

#[tokio::test]
async fn roles_and_databases_may_have_any_name() {
    let server = TestServer::start().await;
    let name = "Ünï \"q\"/?&=%";
    server.create_role(name, "").await;
    server.create_database(name).await;
    let mut connection = server.connect_to(name, name).await;
    let query = "SELECT current_user::text, current_database()::text";
    let (role, database): (String, String) = sqlx::query_as(query)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!((role.as_str(), database.as_str()), (name, name));
}

#[test]
fn a_server_that_does_not_start_shows_its_log() {
    let settings = vec![("shared_buffers".to_owned(), "nonsense".to_owned())];
    let error = Cluster::start(&Options {
        settings,
        ..options()
    })
    .unwrap_err();
    assert!(matches!(error, ScratchError::NotReady { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("invalid value for parameter \"shared_buffers\": \"nonsense\""),
        "{error}"
    );
}

#[test]
fn the_command_for_a_person_works_in_a_shell() {
    let cluster = Cluster::start(&options()).unwrap();
    let command = format!(
        "{} --no-psqlrc -Atc 'SELECT 6 * 7'",
        cluster.psql_command("postgres")
    );
    let output = Command::new("/bin/sh")
        .args(["-c", &command])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "42",
        "{command}: {output:?}"
    );
}

#[test]
fn a_killed_owner_leaves_nothing_behind() {
    if env::var_os(VICTIM).is_some() {
        own_a_cluster_until_killed();
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args([
            "a_killed_owner_leaves_nothing_behind",
            "--exact",
            "--nocapture",
        ])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (pid, directory) = cluster_of(owner.stdout.take().unwrap());
    assert!(runs(pid) && directory.exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the server has ended", || !runs(pid));
    wait_until("its directory is gone", || !directory.exists());
}

fn own_a_cluster_until_killed() -> ! {
    let mut cluster = Cluster::start(&options()).unwrap();
    cluster.restart().unwrap();
    println!(
        "\ncluster {} {}",
        cluster.pid().unwrap(),
        cluster.socket_dir().display()
    );
    loop {
        std::thread::park();
    }
}

fn cluster_of(output: impl std::io::Read) -> (u32, PathBuf) {
    let lines = BufReader::new(output).lines().map(Result::unwrap);
    let found = lines.filter_map(|line| {
        let (pid, directory) = line.strip_prefix("cluster ")?.split_once(' ')?;
        Some((pid.parse().unwrap(), Path::new(directory).to_owned()))
    });
    found.take(1).last().expect("it names its cluster")
}
