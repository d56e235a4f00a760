//! A materialized view made in steps, so that its first refresh after the fill is a fast one: base tables logged, then
//! view and program, then the rows.
//!
//! The order is what makes it right. A log holds what happens after it was made; the fill sees everything before; and a
//! program may be used if the fill's snapshot sees the transaction that installed it. Whoever fills, this command or a
//! daemon that was faster, does the same: so if this command is interrupted, the daemon completes the view.

use super::refused;
use crate::commands::fast::{self, Prospect};
use crate::commands::session::Session;
use crate::definition::Refusal;
use crate::dictionary::catalog::ServerFacts;
use crate::dictionary::changes::{self, NewView};
use crate::dictionary::requests;
use crate::error::CommandError;
use crate::refresh::compile::{self, Compiled, Draft, Logs};
use sqlx::Connection;

pub(super) struct Staged<'a, 'v> {
    pub(super) session: &'a mut Session,
    pub(super) view: &'a NewView<'v>,
    pub(super) must_be_fast: bool,
}

type Made = (i32, Option<Prospect>);

impl Staged<'_, '_> {
    pub(super) async fn create(
        mut self,
        draft: &Draft,
        facts: &ServerFacts,
    ) -> Result<Made, CommandError> {
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        let timeout = fast::milliseconds(self.session.config.logs.lock_timeout);
        match compile::log_tables(connection, schema, &draft.fast.logged, timeout).await? {
            Logs::Made(_) => {}
            Logs::Later(reason) => return self.awaited(Some(reason)).await,
            Logs::Changed => return self.awaited(None).await,
            Logs::Refused(refusal) => return self.refused(refusal).await,
        }
        let (mv_id, compiled) = match self.make(facts, timeout).await {
            Ok((_, Compiled::Refused(refusal))) if self.must_be_fast => {
                return Err(fast::refused(self.view.name, &refusal));
            }
            Ok(made) => made,
            // if it is not the view itself, the daemon may have better luck with the program
            Err(error) if error.as_database_error().is_some() && !self.must_be_fast => {
                return self.awaited(None).await;
            }
            Err(error) => return Err(refused(self.session, &error, self.view).await),
        };
        if !self.view.without_data {
            self.fill(mv_id).await?;
        }
        Ok((mv_id, compiled.into()))
    }

    /// View and program in one transaction, and the wish that it be filled; none of it if a refusal rules it out.
    async fn make(&mut self, facts: &ServerFacts, timeout: i32) -> sqlx::Result<(i32, Compiled)> {
        let empty = NewView {
            without_data: true,
            ..self.view.clone()
        };
        let schema = &self.session.schema;
        let mut transaction = self.session.connection.begin().await?;
        let mv_id = changes::create(&mut transaction, schema, &empty).await?;
        let compiled = compile::compile(&mut transaction, schema, facts, mv_id, timeout).await?;
        if matches!(compiled, Compiled::Refused(_)) && self.must_be_fast {
            transaction.rollback().await?;
            return Ok((mv_id, compiled));
        }
        if !self.view.without_data {
            changes::request_fill(&mut transaction, schema, mv_id).await?;
        }
        transaction.commit().await?;
        Ok((mv_id, compiled))
    }

    /// Leaves nothing behind if that fails.
    async fn fill(&mut self, mv_id: i32) -> Result<(), CommandError> {
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        let filled = match requests::fill(connection, schema, mv_id, true).await {
            // a daemon was faster, and failed for good: here is why
            Ok(status) if status == "off" => requests::fill(connection, schema, mv_id, false).await,
            filled => filled,
        };
        let Err(error) = filled else {
            return Ok(());
        };
        let reported = refused(self.session, &error, self.view).await;
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        match changes::drop_by_id(connection, schema, mv_id).await {
            Ok(()) => Err(reported),
            Err(_) => Err(reported.with_hint(format!(
                "It exists, empty; to take it away: mvrefreshd drop '{}'",
                self.view.name
            ))),
        }
    }

    /// Created as by SQL; the daemon does the rest.
    async fn awaited(self, reason: Option<String>) -> Result<Made, CommandError> {
        let mv_id = super::at_once(self.session, self.view).await?;
        Ok((mv_id, Some(Prospect::Awaited { reason })))
    }

    async fn refused(self, refusal: Refusal) -> Result<Made, CommandError> {
        if self.must_be_fast {
            return Err(fast::refused(self.view.name, &refusal));
        }
        super::without_fast(self.session, self.view, refusal).await
    }
}
