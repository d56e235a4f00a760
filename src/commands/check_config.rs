//! `check-config`: everything that is wrong with the configuration, or what it comes to.

use std::io::{self, Write};

use serde_json::json;

use crate::config::{ConfigProblems, Report, Sources, check};
use crate::error::{CommandError, Exit};

pub(super) fn run(sources: &Sources, json: bool) -> Result<Exit, CommandError> {
    let report = check(sources);
    let valid = report.problems.is_empty();
    let text = if json {
        as_json(&report)
    } else {
        as_text(&report)
    };
    if json || valid {
        // Nobody is left to tell when standard output is closed.
        let _ = writeln!(io::stdout(), "{text}");
    }
    match (valid, json) {
        (true, _) => Ok(Exit::Ok),
        (false, true) => Ok(Exit::Configuration),
        (false, false) => Err(ConfigProblems(report.problems).into()),
    }
}

fn as_text(report: &Report) -> String {
    let loaded = &report.loaded;
    let file = match &loaded.file {
        Some(file) => format!("# The configuration is valid. File: {}", file.display()),
        None => "# The configuration is valid. No file was read.".to_owned(),
    };
    let warnings = loaded.warnings.iter().map(|w| format!("# Warning: {w}"));
    std::iter::once(file)
        .chain(warnings)
        .chain([String::new(), loaded.to_toml().trim_end().to_owned()])
        .collect::<Vec<_>>()
        .join("\n")
}

fn as_json(report: &Report) -> String {
    let lines = |problems: &[crate::config::Problem]| -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    };
    let databases: Vec<_> = report.loaded.databases.iter().map(|d| &d.config).collect();
    // where there are several, none of them is *the* configuration
    let only = match databases.as_slice() {
        [config] => Some(config),
        _ => None,
    };
    json!({
        "valid": report.problems.is_empty(),
        "file": report.loaded.file,
        "problems": lines(&report.problems),
        "warnings": lines(&report.loaded.warnings),
        "configuration": only,
        "databases": databases,
    })
    .to_string()
}
