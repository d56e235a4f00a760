//! The daemon as a service: what it tells the service manager, and a unit file that fits the program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{Daemon, NotifySocket, Proxy, Signal, TestServer, execute, install, options};
use mvrefreshd::cli::Cli;
use mvrefreshd::connect::CREDENTIAL;
use mvrefreshd::error::Exit;
use mvrefreshd::scratch::Options;

const UNIT: &str = include_str!("../systemd/mvrefreshd.service");

/// Fed each half second.
const WATCHDOG: (&str, &str) = ("WATCHDOG_USEC", "1000000");

async fn server_with_a_view() -> TestServer {
    let server = TestServer::start_with(Options {
        tcp: true,
        ..options()
    })
    .await;
    install(&server).await;
    server
        .execute(
            "CREATE TABLE base (n integer NOT NULL);
             SELECT mvrefresh.create_materialized_view('v', 'SELECT sum(1 / n) FROM base', 1, refresh_method => 'complete')",
        )
        .await;
    server
}

fn spawn(url: &str, manager: &NotifySocket) -> Daemon {
    let environment = [("NOTIFY_SOCKET", manager.path()), WATCHDOG];
    Daemon::spawn(&["run", "--database-url", url], &environment)
}

#[tokio::test]
async fn the_service_manager_is_told_of_readiness_state_reload_and_stop() {
    let server = server_with_a_view().await;
    let mut manager = NotifySocket::open();
    let mut daemon = spawn(&server.url(), &manager);
    manager.wait_for("READY=1").await;
    manager
        .wait_for("STATUS=1 view, 0 refreshing, database up")
        .await;
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1").await;
    }
    let mut sql = server.connect().await;
    execute(&mut sql, "INSERT INTO base VALUES (0)").await;
    manager
        .wait_for("STATUS=1 view, 0 refreshing, 1 failing, database up")
        .await;

    daemon.signal(Signal::Hangup).await;
    let reloading = manager.wait_for("RELOADING=1").await;
    let since = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
    manager.wait_for("READY=1").await;

    daemon.signal(Signal::Terminate).await;
    let stopping = manager.wait_for("STOPPING=1").await;
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=45000000"),
        "{stopping}"
    );
    assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
}

#[tokio::test]
async fn while_the_database_is_away_it_is_ready_and_alive_and_says_what_it_waits_for() {
    let mut server = server_with_a_view().await;
    server.halt().unwrap();
    let mut manager = NotifySocket::open();
    let _daemon = spawn(&server.url(), &manager);
    let waiting = manager.wait_for("READY=1").await;
    assert!(
        waiting.contains("STATUS=waiting for the database: "),
        "{waiting}"
    );
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1").await;
    }
    server.start_again().unwrap();
    manager.wait_for("STATUS=1 view, ").await;
    server.halt().unwrap();
    manager.wait_for("database away since").await;
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_starves_no_watchdog() {
    let server = server_with_a_view().await;
    let proxy = Proxy::to(server.port()).await;
    let own_port = |port: u16| format!(":{port}/");
    let url = server.tcp_url("postgres").unwrap();
    let url = url.replace(&own_port(server.port()), &own_port(proxy.port()));
    let mut manager = NotifySocket::open();
    let mut daemon = spawn(&url, &manager);
    manager.wait_for("database up").await;
    proxy.swallow();
    // The view is due each second, so the loop is waiting for an answer by now, and will be for half a minute.
    for _ in 0..8 {
        manager.wait_for("WATCHDOG=1").await;
    }
    assert!(
        !daemon.lines().iter().any(|line| line.contains("not ready")),
        "it has waited to the end of its patience"
    );
    daemon.signal(Signal::Kill).await;
    daemon.wait_for_exit().await;
}

#[tokio::test]
async fn a_start_that_no_waiting_would_mend_fails_with_its_exit_code() {
    let server = TestServer::start().await;
    let mut manager = NotifySocket::open();
    let url = server.url().replace("/postgres?", "/nowhere?");
    let mut daemon = spawn(&url, &manager);
    assert_eq!(
        daemon.wait_for_exit().await.code(),
        Some(Exit::Configuration as i32)
    );
    let told = manager.messages().join("\n");
    assert!(!told.contains("READY=1"), "{told}");
}

fn setting(key: &str) -> Vec<&'static str> {
    let lines = UNIT.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn the_unit_fits_the_program() {
    let [start] = setting("ExecStart")[..] else {
        panic!("one ExecStart");
    };
    Cli::parse_from_args(start.split(' ').map(Into::into)).unwrap();
    let lasting = [Exit::Usage, Exit::Permission, Exit::Configuration];
    let lasting: Vec<String> = lasting
        .iter()
        .map(|exit| (*exit as u8).to_string())
        .collect();
    assert_eq!(setting("RestartPreventExitStatus"), [lasting.join(" ")]);
    assert_eq!(setting("Type"), ["notify"]);
    let credentials = setting("LoadCredential");
    assert!(
        credentials[0].starts_with(&format!("{CREDENTIAL}:")),
        "{credentials:?}"
    );
}

/// A root directory with the unit, and with stand-ins for what it refers to.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::write(units.join("mvrefreshd.service"), UNIT).unwrap();
    for target in [
        "sysinit",
        "basic",
        "shutdown",
        "network-online",
        "multi-user",
    ] {
        fs::write(
            units.join(format!("{target}.target")),
            "[Unit]\nDescription=stand-in\n",
        )
        .unwrap();
    }
    for program in ["usr/bin/mvrefreshd", "bin/kill"] {
        let path = root.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    root
}

/// None, with a line that says so, where the tool is missing: never in continuous integration, see scripts/setup.sh.
fn systemd_analyze(root: &Path, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("systemd-analyze");
    command
        .args(arguments)
        .arg(format!("--root={}", root.display()));
    match command.arg("mvrefreshd.service").output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "systemd-analyze is missing: {error}"
            );
            eprintln!("NOT TESTED: the unit file, as there is no systemd-analyze here ({error})");
            None
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let root = root();
    if let Some(output) = systemd_analyze(root.path(), &["verify", "--man=no"]) {
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaints.is_empty(),
            "{complaints}"
        );
    }
}

#[test]
fn the_units_exposure_is_at_most_one_and_a_half() {
    let root = root();
    let security =
        |threshold| systemd_analyze(root.path(), &["security", "--offline=true", threshold]);
    if let Some(output) = security("--threshold=15") {
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{report}");
        // that a threshold which is exceeded is told
        assert!(!security("--threshold=5").unwrap().status.success());
    }
}
