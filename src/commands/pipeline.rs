//! `pipeline`: an installation checked by using all of it, in stages, on tables of its own.

mod definitions;
mod refreshes;
mod report;
mod work;

use std::time::Instant;

use self::report::{Report, Stage};
use self::work::Work;
use super::harness::Place;
use super::output::Output;
use super::session::Session;
use crate::cli::{Pipeline, PipelinePart};
use crate::config::Sources;
use crate::dictionary::installation;
use crate::error::{CommandError, Exit};
use crate::signals::Signals;

fn stages(part: PipelinePart) -> Vec<Stage> {
    use Stage as S;
    let install = [S::Install, S::Schemas, S::Tables, S::Logs];
    let views = [S::Views];
    let test = [S::OneChange, S::ManyChanges, S::Comparison];
    let drop = [S::Drop, S::Leftovers];
    match part {
        PipelinePart::Install => install.to_vec(),
        PipelinePart::Views => views.to_vec(),
        PipelinePart::Test => test.to_vec(),
        PipelinePart::Drop => drop.to_vec(),
        PipelinePart::All => [&install[..], &views, &test, &drop].concat(),
    }
}

pub(super) async fn run(
    sources: &Sources,
    arguments: &Pipeline,
    output: Output,
) -> Result<Exit, CommandError> {
    let place = Place::new(&arguments.source_schema, &arguments.view_schema)?;
    let session = &mut Session::connect(sources).await?;
    if !matches!(arguments.part, PipelinePart::All | PipelinePart::Install) {
        installation::require(&mut session.connection, &session.schema)
            .await
            .map_err(|error| session.installation_error(error))?;
    }
    // Filling in parallel listens, too, and after that these signals no longer end the process by themselves.
    let mut signals = Signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let mut report = Report::new(output);
    let mut work = Work::new(session, place, arguments.rows, arguments.part);
    let mut is_broken_off = false;
    for stage in stages(arguments.part) {
        if is_broken_off && !stage.is_cleaning_up() {
            continue;
        }
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = work.perform(stage) => outcome,
            _ = signals.next(), if !stage.is_cleaning_up() => Err(CommandError::new(Exit::Temporary, "interrupted")),
        };
        let outcome = match outcome {
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(work.explained(error).await),
        };
        is_broken_off |= outcome.is_err();
        report.end_stage(stage, begun, outcome);
    }
    report.end()
}
