//! `alter`: a materialized view's schedule and settings.

use super::output::Output;
use super::session::Session;
use super::{create, schedules};
use crate::cli::{Alter, Method};
use crate::dictionary::changes::{self, Changes, Timing};
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};

pub(super) async fn run(
    session: &mut Session,
    arguments: &Alter,
    output: Output,
) -> Result<Exit, CommandError> {
    let changes = changes_of(arguments)?;
    let (connection, schema) = (&mut session.connection, &session.schema);
    let view = views::by_name(connection, schema, &arguments.name).await?;
    if let Some(method) = changes.method {
        changes::require_method(connection, schema, view.mv_id, method).await?;
    }
    changes::alter(connection, schema, view.mv_id, &changes).await?;
    let altered = views::by_id(connection, schema, view.mv_id).await?;
    let longest_backoff = session.config.scheduler.retry_max;
    output.data(&altered, |view| {
        let due = schedules::due(view, longest_backoff);
        format!(
            "altered {}: {}; due next: {}",
            view.full_name,
            settings_in_words(view),
            schedules::due_in_words(due, view.database_now)
        )
    })?;
    Ok(Exit::Ok)
}

fn changes_of(arguments: &Alter) -> Result<Changes<'_>, CommandError> {
    let timing = schedules::timing(&arguments.schedule)?;
    let timing = (timing != Timing::default() || arguments.no_schedule).then_some(timing);
    let group = arguments.group.as_deref().map(Some);
    let switch = arguments.enable || arguments.disable;
    Ok(Changes {
        timing,
        method: arguments.method.map(Method::as_str),
        complete_form: arguments.complete_form.map(create::form),
        group: group.or(arguments.no_group.then_some(None)),
        enabled: switch.then_some(arguments.enable),
    })
}

fn settings_in_words(view: &ViewRow) -> String {
    let mut words = vec![
        format!("refreshed {}", schedules::in_words(view)),
        format!("method {}", view.refresh_method),
        format!("complete form {}", view.complete_form),
    ];
    words.extend(
        view.refresh_group
            .as_ref()
            .map(|group| format!("group {group}")),
    );
    if !view.enabled {
        words.push("disabled".to_owned());
    }
    words.join(", ")
}
