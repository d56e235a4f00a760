//! Fast refresh as commands see it: whether there is one, before anything is made or changed that needs it.

use serde::Serialize;
use sqlx::Connection;

use super::phrases;
use super::session::Session;
use crate::definition::Refusal;
use crate::dictionary::definitions::{self, Subject};
use crate::dictionary::outlook;
use crate::dictionary::views::ViewRow;
use crate::error::{CommandError, Exit};
use crate::refresh::compile::{self, Compiled};
use crate::refresh::examine::{self, Examination};

/// What is to be expected of the refreshes of a materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fast_refresh", rename_all = "lowercase")]
pub(super) enum Prospect {
    /// They are fast.
    Yes,
    /// They will be, when the daemon has compiled it.
    Awaited {
        /// Why that could not be done at once, where the daemon has to try again.
        reason: Option<String>,
    },
    /// They are complete ones.
    No {
        /// The clause that rules out fast ones.
        clause: String,
        /// Why it does.
        reason: String,
    },
}

impl Prospect {
    /// In the words of `explain`.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Yes => "fast refresh: yes".to_owned(),
            Self::Awaited { reason: None } => {
                "fast refresh: as soon as the daemon has compiled it".to_owned()
            }
            Self::Awaited {
                reason: Some(reason),
            } => format!("fast refresh: not yet: {reason}; the daemon tries again"),
            Self::No { clause, reason } => format!("fast refresh: no: {clause}: {reason}"),
        }
    }
}

/// A line with the prospect, if there is one, in lines below.
pub(super) fn with_prospect(line: String, prospect: Option<&Prospect>) -> String {
    match prospect {
        Some(prospect) => [line, phrases::folded(&prospect.in_words(), 2)].join("\n"),
        None => line,
    }
}

impl From<Refusal> for Prospect {
    fn from(refusal: Refusal) -> Self {
        Self::No {
            clause: refusal.clause,
            reason: refusal.reason,
        }
    }
}

impl From<Compiled> for Option<Prospect> {
    fn from(compiled: Compiled) -> Self {
        match compiled {
            Compiled::Fast => Some(Prospect::Yes),
            Compiled::Refused(refusal) => Some(refusal.into()),
            Compiled::Later(reason) => Some(Prospect::Awaited {
                reason: Some(reason),
            }),
            Compiled::NotWanted | Compiled::Gone => None,
        }
    }
}

/// Where a query that is to become a materialized view comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Candidate<'a> {
    /// The query.
    Query(&'a str),
    /// The name of a view.
    View(&'a str),
}

/// Examines a query or a view in a transaction that leaves nothing behind.
pub(super) async fn look(
    session: &mut Session,
    candidate: Candidate<'_>,
) -> sqlx::Result<Examination> {
    let schema = &session.schema;
    let mut transaction = session.connection.begin().await?;
    let subject: Subject = match candidate {
        Candidate::Query(query) => {
            let command = definitions::temporary_view_command(query);
            definitions::create_temporary_view(&mut transaction, &command).await?;
            definitions::use_catalog_names(&mut transaction).await?;
            definitions::temporary_subject(&mut transaction).await?
        }
        Candidate::View(name) => definitions::view_subject(&mut transaction, schema, name).await?,
    };
    let examination = examine::view(&mut transaction, schema, &subject).await?;
    transaction.rollback().await?;
    Ok(examination)
}

/// There is no fast refresh, and one was asked for.
pub(super) fn refused(name: &str, refusal: &Refusal) -> CommandError {
    let message = format!("materialized view {name} can not be refreshed fast: {refusal}");
    CommandError::new(Exit::Data, message)
        .with_hint("Hint: --method auto refreshes fast whatever can be, and all else completely.")
}

/// Fails with the reason where a materialized view can't be refreshed fast.
pub(super) async fn require(session: &mut Session, view: &ViewRow) -> Result<(), CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    if view.kind == "native" {
        let refusal = Refusal {
            clause: "native MATERIALIZED VIEW".to_owned(),
            reason: "PostgreSQL refreshes it, by computing its query".to_owned(),
        };
        return Err(refused(&view.full_name, &refusal));
    }
    // of one that is gone or damaged, the command itself tells more
    let examination = examine::materialized_view(connection, schema, view.mv_id).await?;
    match examination.as_ref().and_then(Examination::refusal) {
        Some(refusal) => Err(refused(&view.full_name, refusal)),
        None => Ok(()),
    }
}

/// Compiles a materialized view, if the session's user may; what is to be expected then.
pub(super) async fn compile(session: &mut Session, mv_id: i32) -> sqlx::Result<Option<Prospect>> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    if !outlook::may_install(connection, schema).await? {
        return Ok(Some(Prospect::Awaited { reason: None }));
    }
    let facts = crate::dictionary::catalog::server_facts(connection).await?;
    let timeout = session.config.logs.lock_timeout;
    let compiled =
        compile::compile(connection, schema, &facts, mv_id, milliseconds(timeout)).await?;
    Ok(compiled.into())
}

/// Makes sure that a materialized view has a fast refresh now, or fails with the reason why not.
pub(super) async fn prepare(session: &mut Session, view: &ViewRow) -> Result<(), CommandError> {
    let program = outlook::program(&mut session.connection, &session.schema, view.mv_id).await?;
    if program.is_some_and(|program| program.is_fast) {
        return Ok(());
    }
    let name = &view.full_name;
    if view.refresh_method == "complete" && view.kind != "native" {
        let refusal = Refusal {
            clause: "refresh_method".to_owned(),
            reason: "its refresh method is complete".to_owned(),
        };
        return Err(refused(name, &refusal));
    }
    require(session, view).await?;
    match compile(session, view.mv_id).await? {
        Some(Prospect::Yes) | None => Ok(()),
        Some(Prospect::No { clause, reason }) => Err(refused(name, &Refusal { clause, reason })),
        Some(Prospect::Awaited { reason }) => {
            let reason = reason.unwrap_or_else(|| "the daemon has not compiled it yet".to_owned());
            let message =
                format!("materialized view {name} can not be refreshed fast now: {reason}");
            Err(CommandError::new(Exit::Temporary, message))
        }
    }
}

/// A lock timeout as the module schema takes it.
pub(super) fn milliseconds(timeout: std::time::Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
