//! What the stages do.

use sqlx::{Connection, Executor};

use super::definitions::{self, Definition};
use super::refreshes;
use super::report::{Outcome, Stage};
use crate::cli::PipelinePart;
use crate::commands::create::{self, Division};
use crate::commands::fast::Prospect;
use crate::commands::harness::{
    MARK, Place, TABLES, create_schemas, create_tables, drop_all, leftovers, marks, use_names,
};
use crate::commands::privileges;
use crate::commands::session::Session;
use crate::connect::describe;
use crate::dictionary::changes::NewView;
use crate::dictionary::installation::{self, InstallError};
use crate::dictionary::{inventory, outlook};
use crate::error::{CommandError, Exit};
use crate::sql::{self, composed, quote_identifier, quote_literal};

const ONE_CHANGE: &str = include_str!("one_change.sql");
const MANY_CHANGES: &str = include_str!("many_changes.sql");

/// Added to the mark of the tables' schema if the module was installed for it.
const WITH_MODULE: &str = ", with the module";

/// A run of the pipeline, or of a part of it.
pub(super) struct Work<'a> {
    session: &'a mut Session,
    place: Place,
    orders: u32,
    /// Whether what is here may be dropped: it was asked for, or has been made by this run.
    may_drop: bool,
    /// Whether this run has installed the module.
    has_installed: bool,
    /// Whether the module is gone again.
    has_uninstalled: bool,
    /// What belongs to nothing, and did so before.
    strays: Vec<String>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        session: &'a mut Session,
        place: Place,
        orders: u32,
        part: PipelinePart,
    ) -> Self {
        Self {
            session,
            place,
            orders,
            may_drop: part == PipelinePart::Drop,
            has_installed: false,
            has_uninstalled: false,
            strays: Vec::new(),
        }
    }

    pub(super) async fn perform(&mut self, stage: Stage) -> Result<Outcome, CommandError> {
        match stage {
            Stage::Install => self.install().await,
            Stage::Schemas => self.create_schemas().await,
            Stage::Tables => self.create_tables().await,
            Stage::Logs => self.create_logs().await,
            Stage::Views => self.create_views().await,
            Stage::OneChange => self.change(ONE_CHANGE).await,
            Stage::ManyChanges => self.change(MANY_CHANGES).await,
            Stage::Comparison => {
                let (connection, schema) = (&mut self.session.connection, &self.session.schema);
                refreshes::compare_all(connection, schema, &self.place.views).await
            }
            Stage::Drop => self.drop().await,
            Stage::Leftovers => self.look_for_leftovers().await,
        }
    }

    /// An error with the GRANT that would have helped, if that is what was missing.
    pub(super) async fn explained(&mut self, error: CommandError) -> CommandError {
        privileges::with_missing_grant(error, self.session).await
    }

    async fn install(&mut self) -> Result<Outcome, CommandError> {
        let session = &mut *self.session;
        let found = installation::require(&mut session.connection, &session.schema).await;
        let words = match found {
            Ok(()) => format!("{} is installed", session.schema),
            Err(InstallError::Older { installed: 0, .. }) => {
                let mut connection = session.another("installer").await?;
                let installed = installation::install(&mut connection, &session.schema).await;
                // closing it releases the lock that keeps other installers out
                let _ = connection.close().await;
                let installed = installed?;
                self.has_installed = true;
                if !installed.for_administrator.is_empty() {
                    let message = "the module's roles are missing";
                    let statements = installed.for_administrator.join(" ");
                    return Err(CommandError::new(Exit::Permission, message)
                        .with_hint(format!("As an administrator: {statements}")));
                }
                format!(
                    "{} was not installed, and now is: version {}",
                    session.schema, installed.to
                )
            }
            Err(error) => return Err(session.installation_error(error)),
        };
        let session = &mut *self.session;
        if !outlook::may_install(&mut session.connection, &session.schema).await? {
            let message = "the pipeline takes a member of the role that has installed the module";
            return Err(CommandError::new(Exit::Permission, message));
        }
        self.strays = inventory::strays(&mut session.connection, &session.schema).await?;
        Ok(Outcome::done(words))
    }

    async fn create_schemas(&mut self) -> Result<Outcome, CommandError> {
        let schema = &self.session.schema;
        let mut transaction = self.session.connection.begin().await?;
        create_schemas(&mut transaction, schema, &self.place).await?;
        if self.has_installed {
            // so that a later drop takes it away again
            let note = format!(
                "COMMENT ON SCHEMA {} IS {}",
                quote_identifier(&self.place.source),
                quote_literal(&format!("{MARK}{WITH_MODULE}"))
            );
            transaction.execute(composed(note)).await?;
        }
        transaction.commit().await?;
        self.may_drop = true;
        let [source, views] = self.place.names();
        Ok(Outcome::done(format!(
            "{source} and {views}, of two roles of these names"
        )))
    }

    async fn create_tables(&mut self) -> Result<Outcome, CommandError> {
        let schema = &self.session.schema;
        let mut transaction = self.session.connection.begin().await?;
        create_tables(&mut transaction, schema, &self.place, self.orders).await?;
        transaction.commit().await?;
        Ok(Outcome::done(format!(
            "{} base tables, {} orders",
            TABLES.len(),
            self.orders
        )))
    }

    async fn create_logs(&mut self) -> Result<Outcome, CommandError> {
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        for table in TABLES {
            let name = format!("{}.{table}", quote_identifier(&self.place.source));
            sql::query(schema.sql("SELECT @.create_materialized_view_log($1)"))
                .bind(name)
                .execute(&mut *connection)
                .await?;
        }
        Ok(Outcome::done(format!("{} logs", TABLES.len())))
    }

    async fn create_views(&mut self) -> Result<Outcome, CommandError> {
        use_names(&mut self.session.connection, &self.place).await?;
        let mut outcome = Outcome::default();
        let (mut fast, mut complete) = (0, 0);
        for definition in definitions::all() {
            match self.create_view(&definition).await {
                Ok(Some(Prospect::Yes)) => fast += 1,
                Ok(Some(Prospect::No { clause, reason })) => {
                    complete += 1;
                    let note = format!("{}: {clause}: {reason}", definition.name);
                    outcome.notes.push(note);
                }
                Ok(Some(Prospect::Awaited { reason })) => {
                    let reason = reason.unwrap_or_else(|| "not compiled".to_owned());
                    let problem = format!("{}: {reason}", definition.name);
                    outcome.problems.push(problem);
                }
                Ok(None) => outcome.problems.push(format!("{}: gone", definition.name)),
                Err(error) if error.exit == Exit::Unavailable => return Err(error),
                Err(error) => {
                    let error = self.explained(error).await;
                    let problem = format!("{}: {}", definition.name, error.message);
                    outcome.problems.push(problem);
                }
            }
        }
        outcome.words = format!(
            "{} created: {fast} are refreshed fast, {complete} completely",
            fast + complete
        );
        Ok(outcome)
    }

    async fn create_view(
        &mut self,
        definition: &Definition,
    ) -> Result<Option<Prospect>, CommandError> {
        let view = NewView {
            name: definition.name,
            query: Some(definition.query),
            owner: Some(&self.place.views),
            ..NewView::default()
        };
        let division = definition
            .parallel
            .map(|(sessions, column)| Division { sessions, column });
        let (_, prospect) = create::make(self.session, &view, division).await?;
        Ok(prospect)
    }

    /// Changes base tables, as their owner, and refreshes everything.
    async fn change(&mut self, statements: &str) -> Result<Outcome, CommandError> {
        let source = quote_identifier(&self.place.source);
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        let mut transaction = connection.begin().await?;
        let act = format!("SET LOCAL ROLE {source}; SET LOCAL search_path TO {source}");
        transaction.execute(sqlx::raw_sql(composed(act))).await?;
        transaction
            .execute(sqlx::raw_sql(composed(statements.to_owned())))
            .await?;
        transaction.commit().await?;
        refreshes::refresh_all(connection, schema, &self.place.views).await
    }

    async fn drop(&mut self) -> Result<Outcome, CommandError> {
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        let mut outcome = Outcome::done("nothing had been made");
        let mut with_module = self.has_installed;
        if self.may_drop {
            // of a run before this one, what belonged to nothing then is not known
            if !self.has_installed && self.strays.is_empty() {
                self.strays = inventory::strays(connection, schema).await?;
            }
            with_module |= is_with_module(self.session, &self.place).await?;
            let (connection, schema) = (&mut self.session.connection, &self.session.schema);
            let found = marks(connection, &self.place).await?;
            let kept = drop_all(connection, schema, &self.place).await?;
            if found.any() {
                outcome = Outcome::done("materialized views, logs, tables, schemas and roles");
            }
            outcome.problems = kept;
        }
        if !with_module {
            return Ok(outcome);
        }
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        if inventory::has_others(connection, schema, &self.place.names()).await? {
            outcome.words += "; the module stays, as others use it by now";
            return Ok(outcome);
        }
        let kept = installation::uninstall(connection, schema)
            .await
            .map_err(|error| self.session.installation_error(error))?;
        self.has_uninstalled = true;
        outcome.words += "; the module that was installed for it";
        let kept = kept.into_iter().map(|role| format!("role {role} is kept"));
        outcome.problems.extend(kept);
        Ok(outcome)
    }

    async fn look_for_leftovers(&mut self) -> Result<Outcome, CommandError> {
        let (connection, schema) = (&mut self.session.connection, &self.session.schema);
        if !self.may_drop {
            return Ok(Outcome::done("nothing had been made"));
        }
        let mut problems = Vec::new();
        if self.has_uninstalled {
            let found = marks(connection, &self.place).await?;
            let names = found.schemas.into_iter().chain(found.roles);
            problems.extend(names.map(|name| format!("{name} is left")));
            let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
            let is_there: bool = sql::query_scalar(sql)
                .bind(schema.name())
                .fetch_one(&mut *connection)
                .await?;
            problems.extend(is_there.then(|| format!("schema {schema} is left")));
        } else {
            let left = leftovers(connection, schema, &self.place).await?;
            let strays = inventory::strays(connection, schema).await?;
            let new = strays
                .into_iter()
                .filter(|stray| !self.strays.contains(stray));
            problems.extend(
                left.into_iter()
                    .chain(new)
                    .map(|what| format!("{what} is left")),
            );
        }
        Ok(Outcome {
            words: "no schemas, roles, logs, triggers, functions or dictionary rows".to_owned(),
            notes: Vec::new(),
            problems,
        })
    }
}

/// Whether the module was installed for what is here.
async fn is_with_module(session: &mut Session, place: &Place) -> Result<bool, CommandError> {
    let sql =
        "SELECT coalesce((SELECT pg_catalog.obj_description(oid, 'pg_namespace') LIKE '%' || $2
                                FROM pg_catalog.pg_namespace WHERE nspname = $1), false)";
    sql::query_scalar(sql)
        .bind(&place.source)
        .bind(WITH_MODULE)
        .fetch_one(&mut session.connection)
        .await
        .map_err(|error| CommandError::new(Exit::Unavailable, describe(&error)))
}
