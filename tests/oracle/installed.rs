//! Runs cases through the whole of it: logs made on demand, programs compiled and installed as the daemon does, refreshes by
//! SQL at every isolation level, also inside transactions that write.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::common::{Database, TestServer, Upkeep};
use crate::scenario::{Case, Step};
use crate::script::Script;
use crate::subject::{
    Failure, KINDS, Kind, Report, SETTINGS, Subject, compare, described, may_happen, run_in,
    tolerated, unfit,
};
use crate::words::Names;
use mvrefreshd::refresh::compile::Compiled;
use mvrefreshd::sql::identifier;

/// So many sets of tables with their logs are kept: upkeep looks at every log.
const MOST_SHOPS: usize = 8;

/// Two sessions, and the daemon's upkeep.
pub(crate) struct Installed {
    main: PgConnection,
    late: PgConnection,
    options: PgConnectOptions,
    upkeep: Upkeep,
    /// Schemas by the tables that are in them: logs live on, and grow wider, from case to case.
    shops: HashMap<String, String>,
    /// The views that have a program.
    fast: HashSet<usize>,
    /// How to drop what the case has made beside its tables, in reverse.
    made: Vec<String>,
    script: Script,
    /// What is done before each refresh: nothing, but where the oracle itself is tested.
    pub(crate) sabotage: &'static str,
}

impl Installed {
    pub(crate) async fn open(server: TestServer) -> (Self, Database) {
        server.execute(KINDS).await;
        let database = Database::installed_on(server).await;
        let mut main = database.server.connect().await;
        let mut late = database.server.connect().await;
        run_in(&mut main, SETTINGS).await.unwrap();
        run_in(&mut late, SETTINGS).await.unwrap();
        let upkeep = Upkeep::of(&database).await;
        let installed = Self {
            main,
            late,
            options: database.server.url().parse().unwrap(),
            upkeep,
            shops: HashMap::new(),
            fast: HashSet::new(),
            made: Vec::new(),
            script: Script::new(),
            sabotage: "",
        };
        (installed, database)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.script.main(sql);
        run_in(&mut self.main, sql)
            .await
            .map_err(|(code, message)| unfit((code, format!("{message}\nin: {sql}"))))
    }

    async fn drop_views(&mut self) -> Result<(), Failure> {
        run_in(&mut self.late, "ROLLBACK").await.map_err(unfit)?;
        let reset = "ROLLBACK; SET default_transaction_isolation = 'read committed'";
        run_in(&mut self.main, reset).await.map_err(unfit)?;
        for drop in std::mem::take(&mut self.made).iter().rev() {
            match run_in(&mut self.main, drop).await {
                // the case may have failed before it was made
                Err((code, _)) if code == "42P01" || code == "42704" => {}
                done => {
                    done.map_err(|(code, message)| {
                        unfit((code, format!("{message}\nin: {drop}")))
                    })?;
                }
            }
        }
        self.fast.clear();
        Ok(())
    }

    /// Drops the tables with their logs, so that new ones are made.
    async fn drop_shops(&mut self) {
        self.drop_views().await.unwrap();
        for session in [&mut self.main, &mut self.late] {
            run_in(session, "SET search_path = pg_catalog")
                .await
                .unwrap();
        }
        for schema in std::mem::take(&mut self.shops).into_values() {
            run_in(
                &mut self.main,
                // however busy the machine is
                &format!(
                    "BEGIN; SET LOCAL statement_timeout = 0; DROP SCHEMA {schema} CASCADE; COMMIT"
                ),
            )
            .await
            .unwrap();
        }
        self.upkeep.run().await;
    }

    /// The tables of a case, empty, and no materialized views.
    async fn shop(&mut self, case: &Case) -> Result<(), Failure> {
        if self.shops.len() > MOST_SHOPS {
            self.drop_shops().await;
        }
        self.script = Script::new();
        self.script.line(
            "-- in an empty database, after mvrefreshd install, with mvrefreshd run beside it",
        );
        self.script.main(KINDS);
        let ddl: Vec<String> = case
            .tables
            .iter()
            .map(|table| case.names.applied(&table.ddl()))
            .collect();
        let ddl = ddl.join("\n");
        self.drop_views().await?;
        let known = self.shops.get(&ddl).cloned();
        let schema = known
            .clone()
            .unwrap_or_else(|| format!("shop{}", self.shops.len()));
        let path = format!("SET search_path = {schema}, kinds");
        self.script
            .main(&format!("CREATE SCHEMA {schema}; {path}; {ddl}"));
        run_in(&mut self.late, &path).await.map_err(unfit)?;
        if known.is_none() {
            run_in(
                &mut self.main,
                &format!("CREATE SCHEMA {schema}; {path}; {ddl}"),
            )
            .await
            .map_err(unfit)?;
            self.shops.insert(ddl, schema);
            return Ok(());
        }
        let names = &case.names;
        let deletes = case
            .tables
            .iter()
            .map(|table| format!("DELETE FROM {};", identifier(names.of(&table.table.name))));
        let empty = format!(
            "{path}; {} SELECT mvrefresh.prune_logs('0 s')",
            deletes.collect::<String>()
        );
        run_in(&mut self.main, &empty).await.map_err(unfit)
    }

    async fn create(&mut self, view: usize, query: &str, names: &Names) -> Result<(), Failure> {
        self.made.push(format!("DROP VIEW query{view}"));
        self.execute(&format!("CREATE VIEW query{view} AS {query}"))
            .await?;
        self.made.push(format!(
            "SELECT mvrefresh.drop_materialized_view('mv{view}')"
        ));
        self.execute(&format!(
            "SELECT mvrefresh.create_materialized_view('mv{view}', view_name => 'query{view}')"
        ))
        .await?;
        if view == 0 {
            // as of any table that queries read
            let over = identifier(names.of("view_mv0"));
            self.made.push(format!("DROP VIEW {over}"));
            self.execute(&format!("CREATE VIEW {over} AS SELECT * FROM mv0"))
                .await?;
        }
        Ok(())
    }

    /// Compiles and repairs; notes what is refused.
    async fn look_after(&mut self, case: &Case, report: &mut Report) {
        self.script
            .line("\\echo the daemon compiles, repairs\nSELECT pg_sleep(3);");
        for (name, compiled) in self.upkeep.run().await {
            let view = name.chars().last().and_then(|last| last.to_digit(10));
            let view = usize::try_from(view.unwrap()).unwrap();
            self.fast.remove(&view);
            match compiled {
                Compiled::Fast => _ = self.fast.insert(view),
                Compiled::Refused(refusal) => {
                    let query = &case.queries[view];
                    report.refused.push(format!("{refusal}\n    {query}"));
                }
                _ => {}
            }
        }
    }

    async fn refresh(&mut self, view: usize, report: &mut Report) -> Result<(), Failure> {
        run_in(&mut self.main, self.sabotage).await.map_err(unfit)?;
        // tables of a few rows are refreshed completely if costs decide
        let by_cost = (report.fast + report.unchanged) % 6 == 5 || !self.fast.contains(&view);
        let method = if by_cost { "auto" } else { "fast" };
        let sql = format!(
            "SELECT status, coalesce(method, ''), coalesce(reason, '') FROM mvrefresh.refresh_materialized_view('mv{view}', '{method}')"
        );
        self.script.main(&sql);
        let refreshed = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&mut self.main)
            .await;
        let rows = match refreshed {
            Ok(rows) => rows,
            Err(error) => {
                let (code, message) = described(&error);
                // as part of a transaction that has failed, or as one that came too late
                if may_happen(&code) && code != "55P03" && !code.starts_with("23") {
                    report.failed_changes += 1;
                    return Ok(());
                }
                return Err(Failure {
                    kind: Kind::Error(code),
                    details: message,
                });
            }
        };
        let text = |column: usize| rows[0].get::<String, _>(column);
        match (text(0).as_str(), text(1).as_str()) {
            ("unchanged", _) => report.unchanged += 1,
            ("refreshed", "fast") => report.fast += 1,
            ("refreshed", _) => *report.complete.entry(text(2)).or_insert(0) += 1,
            (status, method) => {
                return Err(Failure {
                    kind: Kind::Marked,
                    details: format!("{status} {method} {}", text(2)),
                });
            }
        }
        compare(
            &mut self.main,
            &mut self.script,
            &format!("mv{view}"),
            &format!("query{view}"),
            None,
        )
        .await
    }
}

impl Subject for Installed {
    async fn run(&mut self, case: &Case) -> Result<Report, Failure> {
        self.shop(case).await?;
        let mut report = Report::default();
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
                    self.create(*view, &query, &case.names).await?;
                }
                Step::Refresh(view) => self.refresh(*view, &mut report).await?,
                Step::Upkeep => self.look_after(case, &mut report).await,
            }
        }
        Ok(report)
    }

    fn script(&self) -> &str {
        self.script.text()
    }

    async fn tidy(&mut self) {
        self.drop_shops().await;
        for sql in ["SET statement_timeout = 0", "VACUUM"] {
            run_in(&mut self.main, sql).await.unwrap();
        }
        // a session keeps the plans of every function there ever was
        for connection in [&mut self.main, &mut self.late] {
            *connection = PgConnection::connect_with(&self.options).await.unwrap();
            run_in(connection, SETTINGS).await.unwrap();
        }
    }
}
