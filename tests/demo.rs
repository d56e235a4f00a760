//! The demo shows what it promises, tells the truth in its exit code, and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Daemon, Finished, Signal, TestServer, run};
use sqlx::{Connection, PgConnection};

/// The scratch directory, as the demo's first line names it.
fn directory(output: &str) -> &str {
    let start = output.find(" in /").expect("a directory is named") + " in ".len();
    output[start..].split(',').next().unwrap()
}

struct Process {
    pid: u32,
    parent: u32,
    command: String,
}

/// All processes. Small Linux systems come without `ps`, others without /proc.
fn processes() -> Vec<Process> {
    if Path::new("/proc/self/stat").exists() {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| process(&entry.path())).collect()
    } else {
        let output = Command::new("ps")
            .args(["-eo", "pid=,ppid=,args="])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(process_in_line).collect()
    }
}

/// A process by its directory in /proc; none if it is something else, or has ended meanwhile.
fn process(directory: &Path) -> Option<Process> {
    let pid = directory.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(directory.join("stat")).ok()?;
    let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
    let command = fs::read(directory.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Process {
        pid,
        parent,
        command,
    })
}

fn process_in_line(line: &str) -> Option<Process> {
    let (pid, rest) = line.trim_start().split_once(' ')?;
    let (parent, command) = rest.trim_start().split_once(' ')?;
    Some(Process {
        pid: pid.parse().ok()?,
        parent: parent.parse().ok()?,
        command: command.to_owned(),
    })
}

fn children_of(demo: &Daemon) -> Vec<Process> {
    let mut all = processes();
    all.retain(|process| process.parent == demo.pid());
    all
}

/// Everything that still runs with this directory in its command line.
fn processes_in(directory: &str) -> Vec<String> {
    let all = processes().into_iter();
    all.map(|process| process.command)
        .filter(|command| command.contains(directory))
        .collect()
}

/// Waits for the clean-up, which after a kill is another process's work.
async fn nothing_is_left_of(directory: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (files, processes) = (Path::new(directory).exists(), processes_in(directory));
        if !files && processes.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{directory}: {files} {processes:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_nothing_is_left_of(directory: &str) {
    assert!(!Path::new(directory).exists(), "{directory}");
    assert_eq!(processes_in(directory), Vec::<String>::new());
}

fn assert_verified(finished: &Finished) {
    let Finished {
        code,
        stdout,
        stderr,
    } = finished;
    assert_eq!(*code, Some(0), "{stdout}\n{stderr}");
    assert_eq!(stderr, "");
    assert!(
        stdout.contains("\n9 of 9 materialized views verified exact"),
        "{stdout}"
    );
}

/// The connection that the printed psql command would make.
async fn look_inside(demo: &Daemon) -> PgConnection {
    let lines = demo.lines();
    let command = lines
        .iter()
        .find(|line| line.contains("psql --host="))
        .unwrap();
    let value = |option: &str| {
        let word = command
            .split_whitespace()
            .find_map(|word| word.strip_prefix(option));
        word.unwrap_or_else(|| panic!("no {option} in {command}"))
            .to_owned()
    };
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host(&value("--host="))
        .port(value("--port=").parse().unwrap())
        .username(&value("--username="))
        .database(command.split_whitespace().last().unwrap());
    PgConnection::connect_with(&options).await.unwrap()
}

#[tokio::test]
async fn a_short_demo_verifies_everything_and_leaves_nothing_behind() {
    let finished = run(&["demo", "--seconds", "5", "--scale", "10"], &[]).await;
    assert_verified(&finished);
    for expected in [
        "psql --host=",
        "transactions written",
        "orders_by_status",
        "complete  in place",
        "fast      -",
        " were fast, not counting the native view's.",
    ] {
        assert!(
            finished.stdout.contains(expected),
            "{expected}: {}",
            finished.stdout
        );
    }
    assert_nothing_is_left_of(directory(&finished.stdout));
}

#[tokio::test]
async fn the_demo_tells_where_its_status_page_is() {
    let mut demo = Daemon::spawn(&["demo", "--scale", "2"], &[]);
    demo.wait_for_line("3 s: ").await;
    let lines = demo.lines();
    let address = lines
        .iter()
        .find_map(|line| line.split("The status page: http://").nth(1))
        .unwrap_or_else(|| panic!("{lines:?}"));
    let page = common::get(address.trim_end_matches('/'), "/").await;
    assert!(page.body.contains("<html"), "{}", page.body);
    demo.signal(Signal::Interrupt).await;
    assert_eq!(demo.wait_for_exit().await.code(), Some(0), "{lines:?}");
}

#[tokio::test]
async fn the_daemon_of_the_demo_has_no_more_rights_than_it_needs() {
    let mut demo = Daemon::spawn(&["demo", "--scale", "2"], &[]);
    demo.wait_for_line("3 s: ").await;
    let mut inside = look_inside(&demo).await;
    let daemons: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT DISTINCT rolname::text, rolsuper, rolcreaterole
         FROM pg_stat_activity JOIN pg_roles ON oid = usesysid
         WHERE application_name LIKE 'mvrefreshd%' AND backend_type = 'client backend'",
    )
    .fetch_all(&mut inside)
    .await
    .unwrap();
    assert_eq!(daemons, [("mvrefreshd".to_owned(), false, false)]);
    let owners: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT owner::text FROM mvrefresh.materialized_views")
            .fetch_all(&mut inside)
            .await
            .unwrap();
    assert_eq!(owners, ["shop"]);
    inside.close().await.unwrap();
    demo.signal(Signal::Interrupt).await;
    assert_eq!(
        demo.wait_for_exit().await.code(),
        Some(0),
        "{:#?}",
        demo.lines()
    );
    assert_nothing_is_left_of(directory(&demo.lines().join("\n")));
}

#[tokio::test]
async fn a_refresh_that_failed_or_a_difference_makes_the_demo_fail() {
    let mut demo = Daemon::spawn(&["demo", "--scale", "2"], &[]);
    demo.wait_for_line("3 s: ").await;
    let mut inside = look_inside(&demo).await;
    // Disabled, so that the last refresh does not mend it; nor does one that is running already, as the lock of
    // refreshes is waited for.
    sqlx::raw_sql(
        "UPDATE mvrefresh.materialized_views SET enabled = false WHERE mv_name = 'city_sales';
         SELECT pg_advisory_xact_lock('mvrefresh'::regnamespace::oid::bigint::bit(32)::integer, mv_id)
         FROM mvrefresh.materialized_views WHERE mv_name = 'city_sales';
         DELETE FROM city_sales WHERE city = (SELECT min(city) FROM city_sales)",
    )
    .execute(&mut inside)
    .await
    .unwrap();
    inside.close().await.unwrap();
    demo.signal(Signal::Interrupt).await;
    assert_eq!(demo.wait_for_exit().await.code(), Some(1));
    let printed = demo.lines().join("\n");
    assert!(
        printed.contains("city_sales (disabled) differs from its defining view"),
        "{printed}"
    );
    assert!(
        printed.contains("8 of 9 materialized views verified exact"),
        "{printed}"
    );
    assert_nothing_is_left_of(directory(&printed));
}

#[tokio::test]
async fn a_daemon_that_dies_ends_the_demo_with_the_end_of_its_log() {
    let mut demo = Daemon::spawn(&["demo", "--scale", "2"], &[]);
    demo.wait_for_line("3 s: ").await;
    let children = children_of(&demo);
    let daemon = children
        .iter()
        .find(|process| process.command.contains("mvrefreshd run"));
    let pid = daemon.unwrap().pid;
    let killed = Command::new("/bin/sh")
        .args(["-c", &format!("kill -s KILL {pid}")])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(demo.wait_for_exit().await.code(), Some(1));
    let printed = demo.lines().join("\n");
    assert!(printed.contains("the daemon ended by itself"), "{printed}");
    // the last that it did before
    let end = printed.split_once("Its log ends with:\n");
    assert!(
        end.is_some_and(|(_, end)| end.contains("materialized_view=")),
        "{printed}"
    );
    assert_nothing_is_left_of(directory(&printed));
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_nothing_behind_either() {
    let mut demo = Daemon::spawn(&["demo", "--scale", "2"], &[]);
    demo.wait_for_line("3 s: ").await;
    let printed = demo.lines().join("\n");
    let directory = directory(&printed);
    let children = children_of(&demo);
    // the server, its guardian, the daemon and its companion
    assert_eq!(children.len(), 4);
    assert!(!processes_in(directory).is_empty());
    demo.signal(Signal::Kill).await;
    demo.wait_for_exit().await;
    nothing_is_left_of(directory).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let same =
        |one: &Process, other: &Process| one.pid == other.pid && one.command == other.command;
    while processes()
        .iter()
        .any(|process| children.iter().any(|child| same(process, child)))
    {
        assert!(Instant::now() < deadline, "the daemon runs on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn configuration_of_the_machine_does_not_reach_the_demo() {
    let server = TestServer::start().await;
    let environment = [
        ("DATABASE_URL", server.url()),
        ("PGPORT", "1".to_owned()),
        ("MVREFRESHD_DATABASE__SCHEMA", "elsewhere".to_owned()),
        ("MVREFRESHD_NO_SUCH__KEY", "1".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let finished = run(&["demo", "--seconds", "1", "--scale", "2"], &environment).await;
    assert_verified(&finished);
    assert_eq!(
        server
            .psql("SELECT count(*) FROM pg_namespace WHERE nspname IN ('mvrefresh', 'elsewhere')"),
        "0"
    );
}
