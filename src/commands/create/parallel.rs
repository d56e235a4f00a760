//! A materialized view filled by several sessions. Made in the same order as any other (see `staged`), then filled at one
//! exported snapshot; nothing of it stays if that fails or is interrupted.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::refused;
use crate::commands::fast::{self, Prospect};
use crate::commands::session::Session;
use crate::definition::{Query, Refusal};
use crate::dictionary::catalog::ServerFacts;
use crate::dictionary::changes::{self, NewView};
use crate::dictionary::outlook;
use crate::dictionary::parallel_fills::{self, Prepared, Split};
use crate::error::{CommandError, Exit};
use crate::refresh::compile::{self, Compiled, Draft, Logs};
use crate::refresh::examine::{self, Examination};
use crate::refresh::parallel_fill::{self, Empty, Sessions};
use crate::signals::Signals;

/// How the work is divided.
#[derive(Debug, Clone, Copy)]
pub(in crate::commands) struct Division<'a> {
    /// By so many sessions.
    pub(in crate::commands) sessions: u16,
    /// By this column, as written in SQL.
    pub(in crate::commands) column: &'a str,
}

/// A materialized view that is made and still empty.
struct Made {
    mv_id: i32,
    prospect: Option<Prospect>,
    prepared: Prepared,
    /// Since when the recorder has held the refresh lock.
    begun: DateTime<Utc>,
}

pub(in crate::commands) async fn create(
    session: &mut Session,
    view: &NewView<'_>,
    division: Division<'_>,
) -> Result<(i32, Option<Prospect>), CommandError> {
    if !outlook::may_install(&mut session.connection, &session.schema).await? {
        let message =
            "filling in parallel takes a member of the role that has installed the module";
        return Err(CommandError::new(Exit::Permission, message)
            .with_hint("Hint: without --parallel it is filled by one session."));
    }
    let examination = match super::examine(session, view).await {
        Ok(examination) => examination,
        Err(error) => return Err(refused(session, &error, view).await),
    };
    let (draft, facts) = understood(view, examination)?;
    refuse_uncertain_slices(view, &draft, division)?;
    let is_logged = log(session, view, &draft).await?;
    let mut sessions = open(session, division.sessions).await?;
    let signals = Signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;

    let split = split(&draft.query, division);
    let made = match make(session, &mut sessions, view, &facts, &split, is_logged).await {
        Ok(made) => made,
        Err(Stopped::Database(error)) => return Err(refused(session, &error, view).await),
        Err(Stopped::Refused(error)) => return Err(error),
    };
    let empty = Empty {
        schema: &session.schema,
        mv_id: made.mv_id,
        prepared: &made.prepared,
    };
    let filled = tokio::select! {
        filled = parallel_fill::fill(&mut sessions, empty, made.begun) => filled.map_err(Some),
        () = interrupted(signals) => Err(None),
    };
    match filled {
        Ok(_) => Ok((made.mv_id, made.prospect)),
        Err(error) => {
            let reported = match error {
                Some(error) => refused(session, &error, view).await,
                None => CommandError::new(Exit::Temporary, "interrupted; nothing has been created"),
            };
            Err(take_away(session, view.name, made.mv_id, sessions, reported).await)
        }
    }
}

/// Sessions that see one snapshot must find the same rows in it: true of what the compiler understands, which is nothing
/// that depends on the time, on the order of reading or on chance.
fn understood(
    view: &NewView<'_>,
    examination: Examination,
) -> Result<(Draft, ServerFacts), CommandError> {
    let draft = examination
        .draft
        .map_err(|refusal| not_understood(view.name, &refusal))?;
    if view.method == Some("fast")
        && let Some(refusal) = &examination.obstacle
    {
        return Err(fast::refused(view.name, refusal));
    }
    Ok((draft, examination.facts))
}

/// Refuses to split by a sum of floating-point numbers.
fn refuse_uncertain_slices(
    view: &NewView<'_>,
    draft: &Draft,
    division: Division<'_>,
) -> Result<(), CommandError> {
    let column = column_name(division.column);
    let tolerance = draft.fast.tolerance.as_ref();
    if tolerance.is_some_and(|tolerance| tolerance.columns.contains(&column)) {
        let reason = "it is a sum of floating-point numbers, whose last digits depend on the order of the rows";
        let refusal = Refusal::new(format!("column {column}"), reason);
        return Err(not_understood(view.name, &refusal));
    }
    Ok(())
}

fn not_understood(name: &str, refusal: &Refusal) -> CommandError {
    let message = format!(
        "materialized view {name} can not be filled in parallel, as several sessions need not find the same rows: {refusal}"
    );
    CommandError::new(Exit::Data, message)
        .with_hint("Hint: without --parallel it is filled by one session.")
}

/// Has the base tables logged, if it is to be refreshed fast; whether they are.
async fn log(
    session: &mut Session,
    view: &NewView<'_>,
    draft: &Draft,
) -> Result<bool, CommandError> {
    if view.method == Some("complete") {
        return Ok(true);
    }
    let timeout = fast::milliseconds(session.config.logs.lock_timeout);
    let (connection, schema) = (&mut session.connection, &session.schema);
    match compile::log_tables(connection, schema, &draft.fast.logged, timeout).await? {
        Logs::Made(_) | Logs::Refused(_) => Ok(true),
        Logs::Later(_) | Logs::Changed if view.method != Some("fast") => Ok(false),
        Logs::Later(reason) => Err(CommandError::new(Exit::Temporary, reason)),
        Logs::Changed => Err(CommandError::new(
            Exit::Temporary,
            "a base table is being changed",
        )),
    }
}

async fn open(session: &Session, workers: u16) -> Result<Sessions, CommandError> {
    let mut sessions = Sessions {
        recorder: session.another("fill").await?,
        exporter: session.another("fill").await?,
        workers: Vec::new(),
    };
    for _ in 0..workers {
        sessions.workers.push(session.another("fill").await?);
    }
    Ok(sessions)
}

fn split(query: &Query, division: Division<'_>) -> Split {
    let column = column_name(division.column);
    Split {
        origin: parallel_fill::origin(query, &column),
        slices: i32::from(division.sessions),
        column,
    }
}

/// The name that an identifier means in SQL.
fn column_name(identifier: &str) -> String {
    let quoted = identifier
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        Some(inside) => inside.replace("\"\"", "\""),
        None => identifier.to_lowercase(),
    }
}

enum Stopped {
    Database(sqlx::Error),
    Refused(CommandError),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// View, program and what fills it, in one transaction. The recorder waits for the refresh lock, which that transaction
/// holds, before it commits: no daemon can be faster.
async fn make(
    session: &mut Session,
    sessions: &mut Sessions,
    view: &NewView<'_>,
    facts: &ServerFacts,
    split: &Split,
    is_logged: bool,
) -> Result<Made, Stopped> {
    let timeout = fast::milliseconds(session.config.logs.lock_timeout);
    let schema = &session.schema;
    let empty = NewView {
        without_data: true,
        ..view.clone()
    };
    let recorder_pid = parallel_fills::begin_to_hold(&mut sessions.recorder).await?;
    let mut transaction = session.connection.begin().await?;
    let mv_id = changes::create(&mut transaction, schema, &empty).await?;
    // what was found before may have been changed since; from here on, the fill itself sees to that
    let examination = examine::materialized_view(&mut transaction, schema, mv_id).await?;
    if let Some(Err(refusal)) = examination.map(|examination| examination.draft) {
        let error = not_understood(view.name, &refusal);
        return Err(Stopped::Refused(error));
    }
    let prospect = if is_logged {
        let compiled = compile::compile(&mut transaction, schema, facts, mv_id, timeout).await?;
        match compiled {
            Compiled::Refused(refusal) if view.method == Some("fast") => {
                let error = fast::refused(view.name, &refusal);
                return Err(Stopped::Refused(error));
            }
            compiled => compiled.into(),
        }
    } else {
        Some(Prospect::Awaited { reason: None })
    };
    // should this command be killed, whoever refreshes will fill it
    changes::request_fill(&mut transaction, schema, mv_id).await?;
    let prepared = parallel_fills::prepare(&mut transaction, schema, mv_id, split).await?;
    let commit = async {
        parallel_fills::wait_for_holder(&mut transaction, recorder_pid).await?;
        transaction.commit().await
    };
    let holding = parallel_fills::hold(&mut sessions.recorder, schema, mv_id);
    let (begun, ()) = tokio::try_join!(holding, commit)?;
    Ok(Made {
        mv_id,
        prospect,
        prepared,
        begun,
    })
}

async fn interrupted(mut signals: Signals) {
    signals.next().await;
}

/// Ends what still runs, and drops the materialized view.
async fn take_away(
    session: &mut Session,
    name: &str,
    mv_id: i32,
    sessions: Sessions,
    reported: CommandError,
) -> CommandError {
    let (connection, schema) = (&mut session.connection, &session.schema);
    // they may have ended by themselves; what can't be cancelled ends with its connection
    let _ = parallel_fills::cancel(connection).await;
    drop(sessions);
    match changes::drop_by_id(connection, schema, mv_id).await {
        Ok(()) => reported,
        Err(_) => reported.with_hint(format!(
            "It exists, empty; to take it away: mvrefreshd drop '{name}'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::column_name;

    #[test]
    fn a_column_is_named_as_in_sql() {
        assert_eq!(column_name("Order_ID"), "order_id");
        assert_eq!(column_name("\"Order \"\"ID\"\"\""), "Order \"ID\"");
    }
}
