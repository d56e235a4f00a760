//! Makes the fast refresh of a materialized view: reads its definition, compiles it, has its base tables logged, and
//! installs the program.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::connect::{describe, sqlstate};
use crate::definition::{self, Catalog, Query, Refusal};
use crate::dictionary::catalog::ServerFacts;
use crate::dictionary::programs::{self, Program, Source, UsedLog};
use crate::incremental::{self, FastRefresh, LoggedTable, Target};
use crate::sql::ModuleSchema;

/// Grows with every change of what the compiler makes of a query; programs of another revision are compiled again.
pub const COMPILER: i32 = 1;

/// How often a definition is compiled that changes while it is.
const ATTEMPTS: u32 = 3;

/// What became of compiling a materialized view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiled {
    /// It has a fast refresh.
    Fast,
    /// It has none, for this reason.
    Refused(Refusal),
    /// Its user wants complete refreshes.
    NotWanted,
    /// Not now: a refresh is running, or a base table is in use.
    Later(String),
    /// It, or its defining view, is gone.
    Gone,
}

/// What is compiled but not installed: whether and how a query can be refreshed fast.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The query.
    pub query: Query,
    /// Its fast refresh, with a 0 for the number of each log that was not given.
    pub fast: FastRefresh,
    catalog: Catalog,
}

/// Compiles without a trace in the database, for logs as far as there are any.
pub fn draft(
    schema: &ModuleSchema,
    facts: &ServerFacts,
    mv_id: i32,
    source: &Source,
    logs: &BTreeMap<u32, i32>,
) -> Result<Draft, Refusal> {
    let catalog = facts.with_relations(source.relations.clone());
    let query = definition::read(&source.definition, &catalog)?;
    let oids = catalog.relations.iter().map(|relation| relation.oid);
    let logs = oids.map(|oid| (oid, logs.get(&oid).copied().unwrap_or(0)));
    let target = target(schema, mv_id, source, logs.collect());
    let fast = incremental::compile(&query, &target)?;
    Ok(Draft {
        query,
        fast,
        catalog,
    })
}

/// Compiles a materialized view and installs or records the result. Waits for base tables so many milliseconds.
///
/// Locks that it takes on base tables last until the end of the caller's transaction, if there is one: have the
/// tables logged before, see [`log_tables`].
pub async fn compile(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    facts: &ServerFacts,
    mv_id: i32,
    lock_timeout_ms: i32,
) -> sqlx::Result<Compiled> {
    for _ in 0..ATTEMPTS {
        let Some(source) = programs::source(connection, schema, facts, mv_id).await? else {
            return Ok(Compiled::Gone);
        };
        if source.refresh_method == "complete" {
            let reason = "its refresh method is complete";
            programs::refuse(
                connection,
                schema,
                mv_id,
                COMPILER,
                "refresh_method",
                reason,
            )
            .await?;
            return Ok(Compiled::NotWanted);
        }
        let mut making = Making {
            connection: &mut *connection,
            schema,
            mv_id,
            lock_timeout_ms,
        };
        match making.from(&source, facts).await? {
            Step::Done(compiled) => return Ok(compiled),
            Step::Changed => {}
        }
    }
    Ok(Compiled::Later("its definition keeps changing".to_owned()))
}

enum Step {
    Done(Compiled),
    Changed,
}

struct Making<'a> {
    connection: &'a mut PgConnection,
    schema: &'a ModuleSchema,
    mv_id: i32,
    lock_timeout_ms: i32,
}

impl Making<'_> {
    async fn from(&mut self, source: &Source, facts: &ServerFacts) -> sqlx::Result<Step> {
        let draft = match draft(self.schema, facts, self.mv_id, source, &BTreeMap::new()) {
            Ok(draft) => draft,
            Err(refusal) => return self.refuse(refusal).await,
        };
        let logged = &draft.fast.logged;
        let logs = log_tables(self.connection, self.schema, logged, self.lock_timeout_ms).await?;
        match logs {
            Logs::Made(logs) => self.install(source, &draft, logs).await,
            Logs::Later(reason) => Ok(Step::Done(Compiled::Later(reason))),
            Logs::Changed => Ok(Step::Changed),
            Logs::Refused(refusal) => self.refuse(refusal).await,
        }
    }

    async fn install(
        &mut self,
        source: &Source,
        draft: &Draft,
        logs: BTreeMap<u32, i32>,
    ) -> sqlx::Result<Step> {
        let target = target(self.schema, self.mv_id, source, logs.clone());
        let fast = match incremental::compile(&draft.query, &target) {
            Ok(fast) => fast,
            Err(refusal) => return self.refuse(refusal).await,
        };
        let program = program(&fast, &draft.catalog, &logs);
        let outcome = programs::install(
            self.connection,
            self.schema,
            self.mv_id,
            COMPILER,
            &source.inputs,
            &program,
        )
        .await?;
        Ok(match outcome.as_str() {
            "installed" => Step::Done(Compiled::Fast),
            "busy" => Step::Done(Compiled::Later("it is being refreshed".to_owned())),
            "changed" => Step::Changed,
            _ => Step::Done(Compiled::Refused(Refusal {
                clause: "privileges".to_owned(),
                reason: outcome,
            })),
        })
    }

    async fn refuse(&mut self, refusal: Refusal) -> sqlx::Result<Step> {
        programs::refuse(
            self.connection,
            self.schema,
            self.mv_id,
            COMPILER,
            &refusal.clause,
            &refusal.reason,
        )
        .await?;
        Ok(Step::Done(Compiled::Refused(refusal)))
    }
}

/// What became of having base tables logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// The numbers of the logs by the oid of the table.
    Made(BTreeMap<u32, i32>),
    /// Not now: a table is in use.
    Later(String),
    /// A table was dropped or altered meanwhile.
    Changed,
    /// A table can't be logged, or the right to do so is lacking.
    Refused(Refusal),
}

/// Has these tables logged, each in a transaction (or savepoint) of its own: nobody waits for one while another is
/// waited for.
pub async fn log_tables(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    logged: &[LoggedTable],
    lock_timeout_ms: i32,
) -> sqlx::Result<Logs> {
    let mut logs = BTreeMap::new();
    for table in logged {
        let (oid, columns) = (table.oid, &table.columns);
        let made = if connection.is_in_transaction() {
            let mut savepoint = connection.begin().await?;
            let made =
                programs::ensure_log(&mut savepoint, schema, oid, columns, lock_timeout_ms).await;
            match &made {
                Ok(_) => savepoint.commit().await?,
                Err(_) => savepoint.rollback().await?,
            }
            made
        } else {
            // One message, one transaction: should our side fall silent, no lock on the table waits for its end.
            programs::ensure_log(connection, schema, oid, columns, lock_timeout_ms).await
        };
        match made {
            Ok(log_id) => {
                logs.insert(oid, log_id);
            }
            Err(error) => {
                let reason = describe(&error).replace('\n', " ");
                let ended = match sqlstate(&error).as_deref() {
                    Some("55P03") => Logs::Later(reason),
                    Some("42P01" | "42703") => Logs::Changed,
                    Some("42809" | "42501") => Logs::Refused(Refusal {
                        clause: "materialized view log".to_owned(),
                        reason,
                    }),
                    _ => return Err(error),
                };
                return Ok(ended);
            }
        }
    }
    Ok(Logs::Made(logs))
}

fn target(schema: &ModuleSchema, mv_id: i32, source: &Source, logs: BTreeMap<u32, i32>) -> Target {
    Target {
        module: schema.clone(),
        mv_id,
        schema: source.mv_schema.clone(),
        name: source.mv_name.clone(),
        logs,
    }
}

fn program(fast: &FastRefresh, catalog: &Catalog, logs: &BTreeMap<u32, i32>) -> Program {
    let used = fast.logged.iter().filter_map(|table| {
        let relation = catalog.relations.iter().find(|r| r.oid == table.oid)?;
        let attnums = relation
            .columns
            .iter()
            .filter(|column| table.columns.contains(&column.name))
            .map(|column| column.attnum);
        Some(UsedLog {
            log_id: *logs.get(&table.oid)?,
            attnums: attnums.collect(),
        })
    });
    Program {
        body: fast.body(),
        settings: FastRefresh::settings(),
        reads_settings: fast.reads_settings,
        logs: used.collect(),
        row_index: fast.row_index.clone(),
        state: fast.outputs.as_ref().map(|outputs| {
            let tables = fast.states.iter().map(|state| {
                json!({
                    "table": state.table,
                    "definition": state.create,
                    "columns": state.columns,
                    "rows": state.rows,
                    "difference": state.difference,
                })
            });
            json!({"tables": tables.collect::<Vec<_>>(), "outputs": outputs})
        }),
        tolerance: fast.tolerance.as_ref().map(|tolerance| {
            json!({
                "columns": tolerance.columns,
                "keys": tolerance.keys,
                "bounds": tolerance.bounds,
                "rows": tolerance.rows,
            })
        }),
        plan: json!({"tables": fast.plan.tables, "clauses": fast.plan.clauses}),
    }
}
