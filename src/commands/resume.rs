//! `resume`: a materialized view that was suspended after an error, or disabled.

use super::output::Output;
use super::schedules;
use super::session::Session;
use crate::cli::Resume;
use crate::dictionary::{changes, views};
use crate::error::{CommandError, Exit};

pub(super) async fn run(
    session: &mut Session,
    arguments: &Resume,
    output: Output,
) -> Result<Exit, CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    changes::resume(connection, schema, &arguments.name).await?;
    let view = views::by_name(connection, schema, &arguments.name).await?;
    let longest_backoff = session.config.scheduler.retry_max;
    output.data(&view, |view| {
        let due = schedules::due(view, longest_backoff);
        format!(
            "resumed {}; due next: {}",
            view.full_name,
            schedules::due_in_words(due, view.database_now)
        )
    })?;
    Ok(Exit::Ok)
}
