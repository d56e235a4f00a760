use std::path::Path;

use tracing::dispatcher::with_default;
use tracing::{debug, info};

use super::*;
use crate::config::LogRotation;

fn to_files(directory: &Path) -> LogConfig {
    LogConfig {
        target: LogTarget::File,
        directory: directory.to_owned(),
        rotation: LogRotation::Never,
        ..LogConfig::default()
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Waits until what was logged before is in the file: dropping the guard does that, but ends logging too.
fn wait_for(path: &Path, needle: &str) {
    while !path.exists() || !text(path).contains(needle) {
        std::thread::yield_now();
    }
}

#[test]
fn every_line_is_in_the_file_once_logging_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (dispatch, telemetry) = build(&to_files(directory.path()), Purpose::Daemon).unwrap();
    with_default(&dispatch, || {
        for n in 0..1000 {
            info!(n, "counted");
        }
    });
    assert_eq!(telemetry.lost_lines(), 0);
    drop(telemetry);
    let text = text(&directory.path().join("mvrefreshd.log"));
    assert_eq!(text.lines().count(), 1000);
    assert!(!text.contains('\x1b'), "no colours in files");
}

#[test]
fn json_is_an_object_per_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = to_files(directory.path());
    config.format = LogFormat::Json;
    let (dispatch, telemetry) = build(&config, Purpose::Daemon).unwrap();
    with_default(&dispatch, || info!(view = "a\"b\n", "refreshed"));
    drop(telemetry);
    let text = text(&directory.path().join("mvrefreshd.log"));
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["view"], "a\"b\n");
    assert_eq!(line["message"], "refreshed");
    assert_eq!(line["level"], "INFO");
}

#[test]
fn the_level_can_be_changed_and_a_wrong_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (dispatch, telemetry) = build(&to_files(directory.path()), Purpose::Daemon).unwrap();
    with_default(&dispatch, || {
        debug!("one");
        telemetry.set_level("debug").unwrap();
        debug!("two");
        let error = telemetry.set_level("verbose").unwrap_err().to_string();
        assert!(
            error.contains("verbose") && error.contains("debug"),
            "{error}"
        );
        debug!("three");
        telemetry.set_level("warn").unwrap();
        info!("four");
    });
    drop(telemetry);
    let text = text(&directory.path().join("mvrefreshd.log"));
    let seen = ["one", "two", "three", "four"].map(|word| text.contains(word));
    assert_eq!(seen, [false, true, true, false]);
}

#[test]
fn after_reopening_lines_go_to_a_new_file_of_the_same_name() {
    let directory = tempfile::tempdir().unwrap();
    let (dispatch, telemetry) = build(&to_files(directory.path()), Purpose::Daemon).unwrap();
    let current = directory.path().join("mvrefreshd.log");
    let moved = directory.path().join("mvrefreshd.log.1");
    with_default(&dispatch, || {
        info!("before");
        wait_for(&current, "before");
        std::fs::rename(&current, &moved).unwrap();
        info!("between");
        wait_for(&moved, "between");
        telemetry.reopen().unwrap();
        info!("after");
    });
    drop(telemetry);
    assert!(!text(&moved).contains("after"));
    assert!(text(&current).contains("after"));
    assert_eq!(text(&current).lines().count(), 1);
}

#[test]
fn when_the_directory_is_gone_reopening_says_so_and_keeps_the_old_file() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("log");
    let moved = parent.path().join("moved");
    std::fs::create_dir(&directory).unwrap();
    let (dispatch, telemetry) = build(&to_files(&directory), Purpose::Daemon).unwrap();
    std::fs::rename(&directory, &moved).unwrap();
    std::fs::write(&directory, "a file in its place").unwrap();
    let error = telemetry.reopen().unwrap_err().to_string();
    assert!(error.contains(directory.to_str().unwrap()), "{error}");
    with_default(&dispatch, || info!("still here"));
    drop(telemetry);
    assert!(text(&moved.join("mvrefreshd.log")).contains("still here"));
}

#[test]
fn rotating_files_carry_the_date() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = to_files(directory.path());
    config.rotation = LogRotation::Daily;
    let (dispatch, telemetry) = build(&config, Purpose::Daemon).unwrap();
    with_default(&dispatch, || info!("here"));
    drop(telemetry);
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].starts_with("mvrefreshd.20"), "{names:?}");
    assert!(
        Path::new(&names[0]).extension().is_some_and(|e| e == "log"),
        "{names:?}"
    );
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    // Every write to this device fails with "no space left".
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("mvrefreshd.log")).unwrap();
    let (dispatch, telemetry) = build(&to_files(directory.path()), Purpose::Daemon).unwrap();
    with_default(&dispatch, || {
        for _ in 0..3 {
            info!("lost");
        }
    });
    while telemetry.lost_lines() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(telemetry.lost_lines(), 3);
}
