//! `adopt`: native materialized views put on a schedule.

use serde::Serialize;

use super::output::Output;
use super::schedules;
use super::session::Session;
use crate::cli::Adopt;
use crate::connect::{describe, sqlstate};
use crate::dictionary::changes::{self, Timing};
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};

#[derive(Debug, Serialize)]
struct Adoption {
    mv_name: String,
    outcome: &'static str,
    error: Option<String>,
}

pub(super) async fn run(
    session: &mut Session,
    arguments: &Adopt,
    output: Output,
) -> Result<Exit, CommandError> {
    let timing = schedules::timing(&arguments.schedule)?;
    let Some(name) = &arguments.which.name else {
        return all(session, &timing, output).await;
    };
    let view = adopt(session, name, &timing).await?;
    output.data(&view, in_words)?;
    Ok(Exit::Ok)
}

async fn all(session: &mut Session, timing: &Timing, output: Output) -> Result<Exit, CommandError> {
    let names = changes::not_adopted(&mut session.connection, &session.schema).await?;
    let mut adoptions = Vec::with_capacity(names.len());
    for name in names {
        let error = match adopt(session, &name, timing).await {
            Ok(view) => {
                output.line(in_words(&view));
                None
            }
            Err(error) if sqlstate(&error).is_none() => return Err(error.into()),
            Err(error) => {
                let error = describe(&error);
                output.line(format!("{name} failed: {error}"));
                Some(error)
            }
        };
        adoptions.push(Adoption {
            mv_name: name,
            outcome: if error.is_none() { "adopted" } else { "failed" },
            error,
        });
    }
    let failed = adoptions.iter().filter(|a| a.error.is_some()).count();
    output.data(&adoptions, |adoptions| {
        let adopted = adoptions.len() - failed;
        match (adopted, failed) {
            (0, 0) => "no native materialized view is left to adopt".to_owned(),
            (adopted, 0) => format!("{adopted} adopted"),
            (adopted, failed) => format!("{adopted} adopted, {failed} failed"),
        }
    })?;
    Ok(if failed == 0 {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

async fn adopt(session: &mut Session, name: &str, timing: &Timing) -> sqlx::Result<ViewRow> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    let mv_id = changes::adopt(connection, schema, name, timing).await?;
    views::by_id(connection, schema, mv_id).await
}

fn in_words(view: &ViewRow) -> String {
    format!(
        "adopted {}: refreshed {}",
        view.full_name,
        schedules::in_words(view)
    )
}
