//! Runs cases through what the compiler writes: tables with plain logs, the statement, and the comparison.

mod logged;
mod single;

use std::collections::{BTreeMap, HashMap};

use mvrefreshd::definition::{self, Catalog, Relation};
use mvrefreshd::dictionary::catalog::{ServerFacts, server_facts};
use mvrefreshd::incremental::{self, FastRefresh, Target};
use mvrefreshd::sql::{ModuleSchema, identifier};
use pg_query::protobuf::Token;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use crate::catalog;
use crate::common::TestServer;
use crate::scenario::{Case, Form, Step};
use crate::script::Script;
use crate::subject::{
    Failure, KINDS, Kind, Report, SETTINGS, Subject, compare, described, run_in, tolerated, unfit,
};
use crate::words::replaced;
use logged::table_with_log;

/// How a statement sees that no more than few rows are pending.
const FEW: &str = "count(*) <= coalesce(least($2, 200), 200)";

/// Two sessions: one for nearly everything, one whose transactions commit late.
pub(crate) struct Session {
    main: PgConnection,
    late: PgConnection,
    options: PgConnectOptions,
    facts: ServerFacts,
    /// The same with the relations of the case.
    known: Catalog,
    /// Tables are made once and emptied for every case that has the same.
    shops: HashMap<String, Shop>,
    script: Script,
    /// What is done to a statement before it runs: nothing, but where the oracle itself is tested.
    pub(crate) distortion: fn(&str) -> String,
    /// How refreshes are run, whatever the case says.
    pub(crate) form: Option<Form>,
}

/// Tables and their logs.
#[derive(Debug, Clone)]
struct Shop {
    schema: String,
    module: String,
    relations: Vec<Relation>,
    logs: BTreeMap<u32, i32>,
}

/// A materialized view of a running case.
struct Kept {
    refresh: FastRefresh,
    /// With the watermark as `$1`.
    statement: String,
    watermark: String,
}

impl Session {
    pub(crate) async fn open(server: &TestServer) -> Self {
        let mut main = server.connect().await;
        let mut late = server.connect().await;
        raw(&mut main, SETTINGS).await.unwrap();
        raw(&mut late, SETTINGS).await.unwrap();
        raw(&mut main, KINDS).await.unwrap();
        let facts = server_facts(&mut main).await.unwrap();
        let options: PgConnectOptions = server.url().parse().unwrap();
        Self {
            main,
            late,
            options: options.disable_statement_logging(),
            known: facts.with_relations(Vec::new()),
            facts,
            shops: HashMap::new(),
            script: Script::new(),
            distortion: str::to_owned,
            form: None,
        }
    }

    /// The tables of a case, empty, and nothing else.
    async fn shop(&mut self, case: &Case) -> Result<Shop, Failure> {
        self.script = Script::new();
        let ddl: Vec<String> = case
            .tables
            .iter()
            .enumerate()
            .map(|(number, table)| table_with_log(table, &case.names, number + 1))
            .collect();
        let ddl = ddl.join("\n");
        let number = self.shops.get(&ddl).map_or(self.shops.len(), |shop| {
            shop.schema.trim_start_matches("shop").parse().unwrap()
        });
        let ddl_here = ddl.replace("%module%", &format!("logs{number}"));
        let path = format!("SET search_path = shop{number}, kinds");
        self.script
            .line("-- in an empty database:\nSET client_min_messages = error;");
        self.script.main(KINDS);
        self.script.main(&format!(
            "CREATE SCHEMA shop{number}; CREATE SCHEMA logs{number}; {path}"
        ));
        self.script.main(&ddl_here);
        self.end_transactions().await?;
        run_in(&mut self.main, &path).await.map_err(unfit)?;
        run_in(&mut self.late, &path).await.map_err(unfit)?;
        if let Some(shop) = self.shops.get(&ddl).cloned() {
            self.empty(&shop, case).await?;
            return Ok(shop);
        }
        let schemas = format!(
            "CREATE SCHEMA shop{number}; CREATE SCHEMA logs{number}; SET search_path = shop{number}, kinds; {ddl_here}"
        );
        if let Err(failure) = run_in(&mut self.main, &schemas).await {
            return Err(unfit(failure));
        }
        raw(&mut self.main, "SET search_path = pg_catalog")
            .await
            .unwrap();
        let schema = format!("shop{number}");
        let relations = catalog::relations(&mut self.main, &schema, &self.facts).await;
        raw(&mut self.main, &path).await.unwrap();
        let logs = case.tables.iter().zip(1..).map(|(table, log)| {
            let name = case.names.of(&table.table.name);
            let relation = relations.iter().find(|relation| relation.name == name);
            (relation.unwrap().oid, log)
        });
        let shop = Shop {
            schema,
            module: format!("logs{number}"),
            logs: logs.collect(),
            relations,
        };
        self.shops.insert(ddl, shop.clone());
        Ok(shop)
    }

    async fn end_transactions(&mut self) -> Result<(), Failure> {
        run_in(&mut self.late, "ROLLBACK").await.map_err(unfit)?;
        run_in(&mut self.main, "ROLLBACK").await.map_err(unfit)
    }

    async fn empty(&mut self, shop: &Shop, case: &Case) -> Result<(), Failure> {
        let mut sql = String::from("SET session_replication_role = replica;");
        for table in &case.tables {
            sql += &format!(
                "DELETE FROM {};",
                identifier(case.names.of(&table.table.name))
            );
        }
        for log in shop.logs.values() {
            sql += &format!("DELETE FROM {}.\"log${log}\";", shop.module);
        }
        for view in 0..3 {
            let more: String = (2..20)
                .map(|number| format!(", {}.\"state${view}_{number}\"", shop.module))
                .collect();
            sql += &format!(
                "DROP TABLE IF EXISTS mv{view}, {}.\"state${view}\"{more}; DROP VIEW IF EXISTS query{view};",
                shop.module
            );
        }
        sql += "SET session_replication_role = origin";
        run_in(&mut self.main, &sql).await.map_err(unfit)
    }

    /// A materialized view with its contents, or why it can't be refreshed fast.
    async fn create(
        &mut self,
        shop: &Shop,
        view: usize,
        query: &str,
        form: Form,
    ) -> Result<Result<Kept, String>, Failure> {
        self.execute(&format!("CREATE VIEW query{view} AS {query}"))
            .await?;
        let refresh = match self.compile(shop, view).await? {
            Ok(refresh) => refresh,
            Err(refusal) => return Ok(Err(format!("{refusal}\n    {query}"))),
        };
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.execute(&format!(
            "CREATE TABLE mv{view} AS SELECT * FROM query{view}"
        ))
        .await?;
        if let Some(row_index) = &refresh.row_index {
            self.execute(row_index).await?;
        }
        for state in &refresh.states {
            self.execute(&state.create).await?;
        }
        self.fill_state(shop, view, &refresh).await?;
        let watermark = self.watermark(view).await?;
        let statement = self.define(shop, view, &refresh, form).await?;
        self.execute("COMMIT").await?;
        Ok(Ok(Kept {
            refresh,
            statement,
            watermark,
        }))
    }

    /// The statement that refreshes, and the function if it calls one.
    async fn define(
        &mut self,
        shop: &Shop,
        view: usize,
        refresh: &FastRefresh,
        form: Form,
    ) -> Result<String, Failure> {
        if form == Form::Statement {
            return Ok((self.distortion)(&refresh.statement));
        }
        let mut body = (self.distortion)(&refresh.body());
        let counts_few = refresh.variants.iter().any(|variant| variant.few.is_some());
        assert_eq!(counts_few, body.contains(FEW), "{body}");
        if view.is_multiple_of(2) {
            // few changes, but counted first and planned like many
            body = body.replace(FEW, "count(*) <= 2");
            body = body.replace("pending <= 200", "pending <= 2");
            for comparison in ["<=", ">"] {
                body = body.replace(
                    &format!("pending {comparison} 3000"),
                    &format!("pending {comparison} 4"),
                );
            }
        }
        if form == Form::Unforeseen {
            // as if other transactions had committed since the count
            for number in 1..=refresh.logs.len() {
                let limit = format!("at_most_{number} := ");
                body = body.replace(
                    &format!("{limit}pending_{number} + 100"),
                    &format!("{limit}1"),
                );
            }
            body = body.replace("count(*) < 3 AND", "count(*) < 1 AND");
            body = body.replace("pg_current_snapshot()::text = snapshot::text", "false");
            body = body.replace(FEW, "false");
        }
        let settings: Vec<String> = FastRefresh::settings()
            .iter()
            .map(|(name, value)| format!(" SET {name} = {value}"))
            .collect();
        let settings = settings.concat();
        self.execute(&format!(
            "CREATE OR REPLACE FUNCTION {}.\"fast${view}\"(watermark pg_snapshot, most int8, OUT snapshot pg_snapshot, OUT rows_inserted int8, OUT rows_updated int8,
    OUT rows_deleted int8, OUT rows_missing int8, OUT must_complete boolean, OUT pending_rows int8) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp{settings} AS $body$
#variable_conflict use_column
BEGIN
{body}
END $body$",
            shop.module
        ))
        .await?;
        Ok(format!(
            "SELECT * FROM {}.\"fast${view}\"($1, NULL)",
            shop.module
        ))
    }

    async fn fill_state(
        &mut self,
        shop: &Shop,
        view: usize,
        refresh: &FastRefresh,
    ) -> Result<(), Failure> {
        let Some(outputs) = &refresh.outputs else {
            return Ok(());
        };
        let fresh = refresh.states.iter().zip(1..);
        let fresh = fresh.map(|(state, number)| {
            format!(
                "fresh_state_{number} AS MATERIALIZED (\n{rows}\n), filled_{number} AS (\nINSERT INTO {}.\"{}\" ({columns}) SELECT {columns} FROM fresh_state_{number}\n)",
                shop.module,
                state.table,
                columns = state.columns.join(", "),
                rows = state.rows,
            )
        });
        let fresh = fresh.collect::<Vec<_>>().join(", ");
        // the rows as a complete refresh tells them, which must be those of the query, too
        self.execute(&format!(
            "DELETE FROM mv{view}; WITH {fresh} INSERT INTO mv{view}\n{outputs}"
        ))
        .await
    }

    async fn watermark(&mut self, view: usize) -> Result<String, Failure> {
        self.script.main(&format!(
            "SELECT pg_current_snapshot() AS watermark{view} \\gset"
        ));
        sqlx::query_scalar("SELECT pg_current_snapshot()::text")
            .fetch_one(&mut self.main)
            .await
            .map_err(|error| unfit(described(&error)))
    }

    async fn compile(
        &mut self,
        shop: &Shop,
        view: usize,
    ) -> Result<Result<FastRefresh, String>, Failure> {
        run_in(&mut self.main, "SET search_path = pg_catalog")
            .await
            .map_err(unfit)?;
        let text = sqlx::query_scalar::<_, String>(AssertSqlSafe(format!(
            "SELECT pg_get_viewdef('{}.query{view}'::regclass)",
            shop.schema
        )))
        .fetch_one(&mut self.main)
        .await
        .map_err(|error| unfit(described(&error)))?;
        let back = format!("SET search_path = {}, kinds", shop.schema);
        run_in(&mut self.main, &back).await.map_err(unfit)?;
        self.known.relations.clone_from(&shop.relations);
        let target = Target {
            module: ModuleSchema::new(&shop.module),
            mv_id: i32::try_from(view).unwrap(),
            schema: shop.schema.clone(),
            name: format!("mv{view}"),
            logs: shop.logs.clone(),
        };
        let compiled = definition::read(&text, &self.known)
            .and_then(|query| incremental::compile(&query, &target));
        Ok(compiled.map_err(|refusal| refusal.to_string()))
    }

    /// Refreshes and compares; gives whether the refresh had to be complete.
    async fn refresh(
        &mut self,
        view: usize,
        kept: &mut Kept,
        shop: &Shop,
        may_be_marked: bool,
    ) -> Result<bool, Failure> {
        let statement = kept.statement.clone();
        let with = |watermark: &str| {
            replaced(&statement, &|token, word| {
                (token == Token::Param && word == "$1").then(|| watermark.to_owned())
            })
        };
        self.execute("SET search_path = pg_catalog, pg_temp")
            .await?;
        self.script.line("\\echo the fast refresh:");
        self.script
            .main(&with(&format!(":'watermark{view}'::pg_snapshot")));
        let row = sqlx::raw_sql(AssertSqlSafe(with(&format!(
            "'{}'::pg_snapshot",
            kept.watermark
        ))))
        .fetch_one(&mut self.main)
        .await
        .map_err(|error| {
            let (code, message) = described(&error);
            Failure {
                kind: Kind::Error(code),
                details: message,
            }
        })?;
        self.execute(&format!("SET search_path = {}, kinds", shop.schema))
            .await?;
        let is_marked = raw_text(&row, 5) == "t";
        if is_marked && !may_be_marked {
            return Err(Failure {
                kind: Kind::Marked,
                details: "must_complete without a cause".to_owned(),
            });
        }
        if is_marked {
            self.complete(view, kept, shop).await?;
        } else {
            // what psql takes for the next refresh: nothing has changed since the statement, but by the late session
            self.script.main(&format!(
                "SELECT pg_current_snapshot() AS watermark{view} \\gset"
            ));
            kept.watermark = raw_text(&row, 0);
            if raw_text(&row, 4) != "0" {
                return Err(Failure {
                    kind: Kind::Missing,
                    details: format!("rows_missing: {}", raw_text(&row, 4)),
                });
            }
        }
        let (table, query) = (format!("mv{view}"), format!("query{view}"));
        let tolerance = kept.refresh.tolerance.as_ref();
        compare(&mut self.main, &mut self.script, &table, &query, tolerance).await?;
        Ok(is_marked)
    }

    async fn complete(&mut self, view: usize, kept: &mut Kept, shop: &Shop) -> Result<(), Failure> {
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.execute(&format!(
            "DELETE FROM mv{view}; INSERT INTO mv{view} SELECT * FROM query{view}"
        ))
        .await?;
        for state in &kept.refresh.states {
            self.execute(&format!("DELETE FROM {}.\"{}\"", shop.module, state.table))
                .await?;
        }
        self.fill_state(shop, view, &kept.refresh).await?;
        kept.watermark = self.watermark(view).await?;
        self.execute("COMMIT").await
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.script.main(sql);
        run_in(&mut self.main, sql).await.map_err(unfit)
    }
}

impl Subject for Session {
    async fn run(&mut self, case: &Case) -> Result<Report, Failure> {
        let shop = self.shop(case).await?;
        let mut report = Report::default();
        let mut kept = HashMap::new();
        for step in &case.steps {
            match step {
                Step::Main(sql) => {
                    let sql = case.names.applied(sql);
                    self.script.main(&sql);
                    let done = run_in(&mut self.main, &sql).await;
                    report.failed_changes += tolerated(done, &sql)?;
                }
                Step::Late(sql) => {
                    let sql = case.names.applied(sql);
                    self.script.late(&sql);
                    let done = run_in(&mut self.late, &sql).await;
                    report.failed_changes += tolerated(done, &sql)?;
                }
                Step::Create(view) => {
                    let query = case.names.applied(&case.queries[*view]);
                    let form = self.form.unwrap_or(case.form);
                    match self.create(&shop, *view, &query, form).await? {
                        Ok(made) => _ = kept.insert(*view, made),
                        Err(reason) => report.refused.push(reason),
                    }
                }
                Step::Upkeep => {}
                Step::Refresh(view) => {
                    if let Some(kept) = kept.get_mut(view) {
                        let marks = case.steps.iter().any(
                            |step| matches!(step, Step::Main(sql) if sql.starts_with("TRUNCATE")),
                        );
                        if self.refresh(*view, kept, &shop, marks).await? {
                            *report.complete.entry("truncated".to_owned()).or_insert(0) += 1;
                        } else {
                            report.fast += 1;
                        }
                    }
                }
            }
        }
        Ok(report)
    }

    async fn tidy(&mut self) {
        self.end_transactions().await.unwrap();
        for sql in ["SET statement_timeout = 0; SET lock_timeout = 0", "VACUUM"] {
            raw(&mut self.main, sql).await.unwrap();
        }
        // a session keeps what it knows of every table there ever was
        for connection in [&mut self.main, &mut self.late] {
            *connection = PgConnection::connect_with(&self.options).await.unwrap();
            raw(connection, SETTINGS).await.unwrap();
        }
    }

    fn script(&self) -> &str {
        self.script.text()
    }
}

fn raw_text(row: &sqlx::postgres::PgRow, column: usize) -> String {
    use sqlx::ValueRef as _;
    let value = row.try_get_raw(column).unwrap();
    assert!(!value.is_null(), "column {column} of the outcome is NULL");
    value.as_str().unwrap().to_owned()
}

async fn raw(connection: &mut PgConnection, sql: &str) -> Result<(), String> {
    run_in(connection, sql)
        .await
        .map_err(|(_, message)| message)
}
