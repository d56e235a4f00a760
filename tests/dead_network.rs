//! A network that is really dead: packets of the kernels are lost as well, as when a machine, a switch or a firewall is gone.
//! In a network namespace of its own, where that can be made; elsewhere nothing is tested, with a word on it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::env;
use std::process::Command;

use common::{
    Daemon, GATED_QUERY, Gate, TestServer, count, execute, install, options, refreshed, until,
};
use mvrefreshd::scratch::Options;

/// Set for the test that runs within the namespace.
const INSIDE: &str = "DEAD_NETWORK_INSIDE";

/// How a process gets a network namespace of its own: as root, and as anybody else.
const WAYS: [&[&str]; 2] = [
    &["--net"],
    &["--user", "--map-current-user", "--keep-caps", "--net"],
];

/// Runs the test of this name in a namespace of its own; false if this is within.
fn runs_elsewhere(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return false;
    }
    let works = |way: &&&[&str]| {
        let tried = Command::new("unshare")
            .args(**way)
            .args(["ip", "link", "set", "lo", "up"])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(way) = WAYS.iter().find(works) else {
        eprintln!("not tested: no network namespace can be made here");
        return true;
    };
    let status = Command::new("unshare")
        .args(*way)
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "failed in the namespace");
    true
}

/// Connects or cuts the only network there is.
fn network(state: &str) {
    let done = Command::new("ip")
        .args(["link", "set", "lo", state])
        .status()
        .unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn the_locks_of_a_daemon_that_the_network_lost_are_gone_within_the_configured_bound() {
    const NAME: &str =
        "the_locks_of_a_daemon_that_the_network_lost_are_gone_within_the_configured_bound";
    if runs_elsewhere(NAME) {
        return;
    }
    network("up");
    let server = TestServer::start_with(Options {
        tcp: true,
        ..options()
    })
    .await;
    install(&server).await;
    let mut sql = server.connect().await;
    let mut gate = Gate::close(&server).await;
    let create = format!(
        "SELECT mvrefresh.create_materialized_view('gated', '{GATED_QUERY}', with_data => false, refresh_method => 'complete');
         SELECT mvrefresh.request_refresh('gated')"
    );
    execute(&mut sql, &create).await;
    let url = server.tcp_url("postgres").unwrap();
    let mut daemon = Daemon::spawn(
        &["run", "--database-url", &url, "--log-level", "debug"],
        &[
            ("MVREFRESHD_DATABASE__BROKEN_AFTER", "3s"),
            ("MVREFRESHD_DATABASE__CONNECT_TIMEOUT", "3s"),
            ("MVREFRESHD_SCHEDULER__LOCK_TIMEOUT", "0"),
        ],
    );
    gate.until_waiting(1).await;
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE a.application_name LIKE 'mvrefreshd%' AND l.locktype = 'advisory' AND l.granted";
    assert_eq!(count(&mut sql, locks).await, 1);
    network("down");
    // Without being asked the kernel would probe after two hours, and this waits for minutes at most. The refresh stands
    // before the gate and neither reads nor writes; the idle sessions neither.
    until(&mut sql, &format!("({locks}) = 0")).await;
    let sessions =
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'mvrefreshd%'";
    until(&mut sql, sessions).await;
    daemon.wait_for_line("the database is not ready").await;
    network("up");
    gate.until_waiting(1).await;
    gate.open().await;
    until(&mut sql, &refreshed("gated", 1)).await;
    let all = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'succeeded'";
    assert_eq!(count(&mut sql, all).await, 1);
}
