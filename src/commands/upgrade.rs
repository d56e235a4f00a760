//! `upgrade drop` and `upgrade recreate`: materialized views out of the way of a schema change.

use super::install;
use super::output::Output;
use super::session::Session;
use crate::cli::Upgrade;
use crate::dictionary::upgrade::{self, OutcomeRow};
use crate::error::{CommandError, Exit};

pub(super) async fn run(
    session: &mut Session,
    step: Upgrade,
    output: Output,
) -> Result<Exit, CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    let (rows, nothing) = match step {
        Upgrade::Drop => (
            upgrade::drop_all(connection, schema, true).await?,
            "there is no materialized view to drop",
        ),
        Upgrade::Recreate => (
            upgrade::recreate_all(connection, schema).await?,
            "no materialized view was dropped for an upgrade",
        ),
    };
    output.data(&rows, |rows| {
        if rows.is_empty() {
            nothing.to_owned()
        } else {
            in_words(rows)
        }
    })?;
    let custom_failures = match step {
        Upgrade::Drop => 0,
        Upgrade::Recreate => run_custom_files(session).await?,
    };
    Ok(if failures(&rows) + custom_failures == 0 {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

/// The user's own files come after the views they may be about; how many failed, each said on standard error.
async fn run_custom_files(session: &mut Session) -> Result<usize, CommandError> {
    let (_, failed) = install::run_custom_files(&mut session.connection, &session.config).await?;
    for failed in &failed {
        eprintln!("mvrefreshd: {failed}");
    }
    Ok(failed.len())
}

/// How many of them failed.
pub(super) fn failures(rows: &[OutcomeRow]) -> usize {
    rows.iter().filter(|row| row.outcome == "failed").count()
}

/// A line for each.
pub(super) fn in_words(rows: &[OutcomeRow]) -> String {
    let lines: Vec<String> = rows
        .iter()
        .map(|row| match &row.error {
            Some(error) => format!("{} failed: {error}", row.mv_name),
            None => format!("{} {}", row.outcome, row.mv_name),
        })
        .collect();
    lines.join("\n")
}
