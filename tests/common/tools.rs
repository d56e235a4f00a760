//! `PostgreSQL`'s own client programs.

use std::path::PathBuf;
use std::process::Command;

use mvrefreshd::scratch::Installation;

/// A program of any installation here that has it: the fetched versions come without most.
pub(crate) fn program(name: &'static str) -> PathBuf {
    Installation::all(None)
        .iter()
        .find_map(|installation| installation.program(name).ok())
        .unwrap_or_else(|| name.into())
}

/// Runs one of them to its end, which has to be a good one; what it printed.
pub(crate) fn tool(name: &'static str, arguments: &[&str]) -> String {
    let output = Command::new(program(name))
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
