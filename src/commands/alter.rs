//! `alter`: a materialized view's schedule and settings.

use std::time::Duration;

use serde::Serialize;

use super::fast::{self, Prospect};
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
    let name = &arguments.name;
    let view = views::by_name(&mut session.connection, &session.schema, name).await?;
    let wants_fast = changes.method == Some("fast");
    if wants_fast {
        fast::require(session, &view).await?;
    }
    let (connection, schema) = (&mut session.connection, &session.schema);
    changes::alter(connection, schema, view.mv_id, &changes).await?;
    let altered = views::by_id(connection, schema, view.mv_id).await?;
    let prospect = if wants_fast {
        fast::compile(session, view.mv_id).await?
    } else {
        None
    };
    let longest_backoff = session.config.scheduler.retry_max;
    let altered = Altered {
        view: altered,
        prospect,
    };
    output.data(&altered, |altered| altered.in_words(longest_backoff))?;
    Ok(Exit::Ok)
}

/// A materialized view as it is now, and what is to be expected of its refreshes if they are to be fast.
#[derive(Debug, Serialize)]
struct Altered {
    #[serde(flatten)]
    view: ViewRow,
    #[serde(flatten)]
    prospect: Option<Prospect>,
}

impl Altered {
    fn in_words(&self, longest_backoff: Duration) -> String {
        let view = &self.view;
        let due = schedules::due(view, longest_backoff);
        let text = format!(
            "altered {}: {}; due next: {}",
            view.full_name,
            settings_in_words(view),
            schedules::due_in_words(due, view.database_now)
        );
        fast::with_prospect(text, self.prospect.as_ref())
    }
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
