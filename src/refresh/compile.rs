//! Makes the fast refresh of a materialized view: reads its definition, compiles it, has its base tables logged, and
//! installs the program.

use std::collections::BTreeMap;

use serde_json::json;
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

/// Compiles a materialized view and installs or records the result. Waits for base tables so many milliseconds.
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
        let catalog = facts.with_relations(source.relations.clone());
        let drafted = definition::read(&source.definition, &catalog).and_then(|query| {
            let draft = incremental::compile(&query, &self.target(source, draft_logs(&catalog)))?;
            Ok((query, draft))
        });
        let (query, draft) = match drafted {
            Ok(drafted) => drafted,
            Err(refusal) => return self.refuse(refusal).await,
        };
        let logs = match self.logs(&draft.logged).await? {
            Ok(logs) => logs,
            Err(step) => return Ok(step),
        };
        self.install(source, &query, &catalog, logs).await
    }

    fn target(&self, source: &Source, logs: BTreeMap<u32, i32>) -> Target {
        Target {
            module: self.schema.clone(),
            mv_id: self.mv_id,
            schema: source.mv_schema.clone(),
            name: source.mv_name.clone(),
            logs,
        }
    }

    async fn logs(
        &mut self,
        logged: &[LoggedTable],
    ) -> sqlx::Result<Result<BTreeMap<u32, i32>, Step>> {
        let mut logs = BTreeMap::new();
        for table in logged {
            let made = programs::ensure_log(
                self.connection,
                self.schema,
                table.oid,
                &table.columns,
                self.lock_timeout_ms,
            )
            .await;
            match made {
                Ok(log_id) => {
                    logs.insert(table.oid, log_id);
                }
                Err(error) => {
                    return match sqlstate(&error).as_deref() {
                        // in use
                        Some("55P03") => Ok(Err(Step::Done(Compiled::Later(describe(&error))))),
                        // dropped or altered meanwhile
                        Some("42P01" | "42703") => Ok(Err(Step::Changed)),
                        // can't be logged, or the right to do so is lacking
                        Some("42809" | "42501") => {
                            let message = describe(&error).replace('\n', " ");
                            let refusal = Refusal {
                                clause: "materialized view log".to_owned(),
                                reason: message,
                            };
                            self.refuse(refusal).await.map(Err)
                        }
                        _ => Err(error),
                    };
                }
            }
        }
        Ok(Ok(logs))
    }

    async fn install(
        &mut self,
        source: &Source,
        query: &Query,
        catalog: &Catalog,
        logs: BTreeMap<u32, i32>,
    ) -> sqlx::Result<Step> {
        let fast = match incremental::compile(query, &self.target(source, logs.clone())) {
            Ok(fast) => fast,
            Err(refusal) => return self.refuse(refusal).await,
        };
        let program = program(&fast, catalog, &logs);
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

/// Numbers that stand for logs until it is known which are needed.
fn draft_logs(catalog: &Catalog) -> BTreeMap<u32, i32> {
    let relations = catalog.relations.iter();
    relations.map(|relation| (relation.oid, 0)).collect()
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
        logs: used.collect(),
        row_index: fast.row_index.clone(),
        state: fast.state.as_ref().map(|state| {
            json!({"definition": state.create, "columns": state.columns, "rows": state.rows})
        }),
        plan: json!({"tables": fast.plan.tables, "clauses": fast.plan.clauses}),
    }
}
