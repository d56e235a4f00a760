//! One random case: tables with logs, a query, changes and refreshes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use fastrand::Rng;
use mvrefreshd::definition::{self, Catalog, TypeName};
use mvrefreshd::incremental::{self, FastRefresh, Target};
use mvrefreshd::sql::ModuleSchema;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::catalog;
use crate::common::TestServer;
use crate::generate::{self, COLUMNS, Queries, Table};

/// Two sessions: one for nearly everything, one whose transactions commit late.
pub(crate) struct Session {
    main: PgConnection,
    late: PgConnection,
    facts: Catalog,
    types: HashMap<i64, TypeName>,
    /// What has been run in this case, as a script.
    script: String,
}

/// How a case ended that did not fail.
pub(crate) enum Outcome {
    Equal,
    Refused(String),
}

impl Session {
    pub(crate) async fn open(server: &TestServer) -> Self {
        let mut main = server.connect().await;
        let late = server.connect().await;
        raw(&mut main, "SET jit = off").await.unwrap();
        let (facts, types) = catalog::server_facts(&mut main).await;
        Self {
            main,
            late,
            facts,
            types,
            script: String::new(),
        }
    }

    /// Runs the case of a seed; fails with a script that shows the difference.
    pub(crate) async fn run(&mut self, seed: u64) -> Result<Outcome, String> {
        let mut rng = Rng::with_seed(seed);
        self.script.clear();
        self.begin("").await?;
        let tables = generate::tables(&mut rng);
        for (number, table) in tables.iter().enumerate() {
            self.execute(&table_with_log(table, number + 1)).await?;
            for _ in 0..rng.u8(..4) {
                let rows = generate::insert(&mut rng, table, 0);
                self.execute(&rows).await?;
            }
        }
        let query = Queries {
            rng: &mut rng,
            tables: &tables,
        }
        .query();
        self.execute(&format!("CREATE VIEW the_query AS {query};"))
            .await?;
        let refresh = match self
            .compile(
                &tables
                    .iter()
                    .map(|table| table.name.as_str())
                    .collect::<Vec<_>>(),
            )
            .await
        {
            Ok(refresh) => refresh,
            Err(refusal) => return Ok(Outcome::Refused(format!("{refusal}: {query}"))),
        };
        let mut watermark = self.fill(&refresh).await?;
        self.define(&refresh, &mut rng).await?;
        for _ in 0..rng.u8(3..6) {
            let is_late = rng.u8(..3) == 0;
            if is_late {
                self.late_changes(&mut rng, &tables).await?;
            }
            for _ in 0..rng.u8(1..3) {
                self.changes(&mut rng, &tables).await?;
            }
            watermark = self.refresh(&refresh, &watermark, &mut rng).await?;
            if is_late {
                let end = if rng.u8(..4) == 0 {
                    "ROLLBACK"
                } else {
                    "COMMIT"
                };
                self.execute_late(end).await?;
                if rng.bool() {
                    self.changes(&mut rng, &tables).await?;
                }
                watermark = self.refresh(&refresh, &watermark, &mut rng).await?;
            }
        }
        Ok(Outcome::Equal)
    }

    /// Empty schemas, and these tables.
    pub(crate) async fn begin(&mut self, tables: &str) -> Result<(), String> {
        self.script.clear();
        let schemas = "SET search_path = pg_catalog; DROP SCHEMA IF EXISTS shop CASCADE; DROP SCHEMA IF EXISTS mvrefresh CASCADE;
            CREATE SCHEMA shop; CREATE SCHEMA mvrefresh; SET search_path = shop";
        self.execute(schemas).await?;
        self.execute(tables).await
    }

    /// A collation in which different strings are equal.
    pub(crate) async fn begin_more(&mut self, sql: &str) {
        raw(&mut self.main, sql).await.unwrap();
        let names = "SELECT '\"' || collnamespace::regnamespace || '\".\"' || collname || '\"' FROM pg_collation WHERE NOT collisdeterministic";
        let names: Vec<String> = sqlx::query_scalar(names)
            .fetch_all(&mut self.main)
            .await
            .unwrap();
        self.facts.nondeterministic_collations.extend(names);
    }

    /// The fast refresh of a query over tables with the logs 1, 2, …
    pub(crate) async fn compiled(
        &mut self,
        query: &str,
        tables: &[&str],
    ) -> Result<FastRefresh, String> {
        self.execute(&format!("CREATE OR REPLACE VIEW the_query AS {query}"))
            .await?;
        let compiled = self.compile(tables).await;
        self.execute("DROP VIEW the_query").await?;
        compiled
    }

    async fn compile(&mut self, tables: &[&str]) -> Result<FastRefresh, String> {
        raw(&mut self.main, "SET search_path = pg_catalog").await?;
        let mut facts = self.facts.clone();
        facts.relations = catalog::relations(&mut self.main, "shop", &self.types).await;
        let definition =
            sqlx::query_scalar::<_, String>("SELECT pg_get_viewdef('shop.the_query'::regclass)")
                .fetch_one(&mut self.main)
                .await;
        let definition = definition.map_err(|error| error.to_string())?;
        raw(&mut self.main, "SET search_path = shop").await?;
        let query = definition::read(&definition, &facts).map_err(|refusal| refusal.to_string())?;
        let mut logs = BTreeMap::new();
        for (table, log_id) in tables.iter().zip(1..) {
            logs.insert(facts.relation("shop", table).unwrap().oid, log_id);
        }
        let target = Target {
            module: ModuleSchema::new("mvrefresh"),
            mv_id: 1,
            schema: "shop".to_owned(),
            name: "mv".to_owned(),
            logs,
        };
        incremental::compile(&query, &target).map_err(|refusal| refusal.to_string())
    }

    async fn fill(&mut self, refresh: &FastRefresh) -> Result<String, String> {
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.execute("CREATE TABLE mv AS SELECT * FROM the_query")
            .await?;
        if let Some(row_index) = &refresh.row_index {
            self.execute(row_index).await?;
        }
        if let Some(state) = &refresh.state {
            self.execute(&state.create).await?;
            self.execute(&format!(
                "INSERT INTO mvrefresh.\"state$1\" ({})\n{}",
                state.columns.join(", "),
                state.rows
            ))
            .await?;
        }
        let watermark = sqlx::query_scalar("SELECT pg_current_snapshot()::text")
            .fetch_one(&mut self.main)
            .await;
        self.execute("COMMIT").await?;
        watermark.map_err(|error| error.to_string())
    }

    /// A transaction of changes, some of them in a subtransaction, perhaps undone.
    async fn changes(&mut self, rng: &mut Rng, tables: &[Table]) -> Result<(), String> {
        self.execute("BEGIN").await?;
        for _ in 0..rng.u8(1..5) {
            let table = &tables[rng.usize(..tables.len())];
            let change = generate::change(rng, table, 0, 1000);
            let savepoint = rng.u8(..6) == 0;
            if savepoint {
                self.execute("SAVEPOINT before").await?;
            }
            self.execute(&change).await?;
            if savepoint {
                let end = if rng.bool() {
                    "ROLLBACK TO before"
                } else {
                    "RELEASE before"
                };
                self.execute(end).await?;
            }
        }
        let end = if rng.u8(..8) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        self.execute(end).await
    }

    /// A transaction that is left open; its rows are its own.
    async fn late_changes(&mut self, rng: &mut Rng, tables: &[Table]) -> Result<(), String> {
        self.execute_late("SET search_path = shop; BEGIN").await?;
        for _ in 0..rng.u8(1..5) {
            let table = &tables[rng.usize(..tables.len())];
            let change = generate::change(rng, table, 1000, 2000);
            self.execute_late(&change).await?;
        }
        Ok(())
    }

    /// The function that refreshes; in some cases one that never foresees enough.
    async fn define(&mut self, refresh: &FastRefresh, rng: &mut Rng) -> Result<(), String> {
        let mut body = refresh.body();
        if rng.u8(..5) == 0 {
            // as if other transactions had committed since the count
            body = body
                .replace("at_most := pending + 100", "at_most := 1")
                .replace("pg_current_snapshot()::text = snapshot::text", "false");
        }
        let settings: String = FastRefresh::settings()
            .iter()
            .map(|(name, value)| format!(" SET {name} = {value}"))
            .collect();
        self.execute(&format!(
            "CREATE FUNCTION mvrefresh.\"fast$1\"(watermark pg_snapshot, OUT snapshot pg_snapshot, OUT rows_inserted int8, OUT rows_updated int8,
                OUT rows_deleted int8, OUT rows_missing int8, OUT must_complete boolean) LANGUAGE plpgsql
                SET search_path = pg_catalog, pg_temp{settings} AS $body$
#variable_conflict use_column
BEGIN
{body}
END $body$"
        ))
        .await
    }

    async fn refresh(
        &mut self,
        refresh: &FastRefresh,
        watermark: &str,
        rng: &mut Rng,
    ) -> Result<String, String> {
        raw(&mut self.main, "SET search_path = pg_catalog, pg_temp").await?;
        let literal = format!("'{watermark}'::pg_snapshot)");
        let statement = if rng.u8(..4) == 0 {
            refresh.statement.replace("$1)", &literal)
        } else {
            format!("SELECT * FROM mvrefresh.\"fast$1\"({literal}")
        };
        writeln!(self.script, "{statement};").unwrap();
        let row = sqlx::raw_sql(AssertSqlSafe(statement))
            .fetch_one(&mut self.main)
            .await;
        let row = row.map_err(|error| self.failed(&error.to_string()))?;
        let snapshot: String = raw_text(&row, 0);
        if raw_text(&row, 4) != "0" || raw_text(&row, 5) != "f" {
            return Err(self.failed(&format!(
                "rows_missing {}, must_complete {}",
                raw_text(&row, 4),
                raw_text(&row, 5)
            )));
        }
        raw(&mut self.main, "SET search_path = shop").await?;
        let difference = "SELECT 'missing' AS what, r::text AS a_row FROM the_query r EXCEPT ALL SELECT 'missing', r::text FROM mv r
            UNION ALL (SELECT 'unexpected', r::text FROM mv r EXCEPT ALL SELECT 'unexpected', r::text FROM the_query r) LIMIT 10";
        let rows = sqlx::query(difference)
            .fetch_all(&mut self.main)
            .await
            .map_err(|error| error.to_string())?;
        if rows.is_empty() {
            return Ok(snapshot);
        }
        let shown: Vec<String> = rows
            .iter()
            .map(|row| format!("{}: {}", row.get::<String, _>(0), row.get::<String, _>(1)))
            .collect();
        Err(self.failed(&shown.join("\n")))
    }

    fn failed(&self, what: &str) -> String {
        format!("{}\n-- {}", self.script, what.replace('\n', "\n-- "))
    }

    async fn execute(&mut self, sql: &str) -> Result<(), String> {
        writeln!(self.script, "{};", sql.trim_end_matches(';')).unwrap();
        raw(&mut self.main, sql)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn execute_late(&mut self, sql: &str) -> Result<(), String> {
        writeln!(
            self.script,
            "/* second session */ {};",
            sql.trim_end_matches(';')
        )
        .unwrap();
        raw(&mut self.late, sql)
            .await
            .map_err(|error| self.failed(&error))
    }
}

fn raw_text(row: &sqlx::postgres::PgRow, column: usize) -> String {
    use sqlx::ValueRef as _;
    let value = row.try_get_raw(column).unwrap();
    assert!(!value.is_null(), "column {column} of the outcome is NULL");
    value.as_str().unwrap().to_owned()
}

async fn raw(connection: &mut PgConnection, sql: &str) -> Result<(), String> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// A table with a log of the shape that the engine reads, and plain triggers that fill it.
fn table_with_log(table: &Table, number: usize) -> String {
    let name = &table.name;
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(column, data_type)| format!("{column} {data_type}"))
        .collect();
    let key = if table.has_key {
        ", PRIMARY KEY (id)"
    } else {
        ""
    };
    let logged: Vec<String> = COLUMNS
        .iter()
        .enumerate()
        .map(|(n, (_, data_type))| format!("c{} {data_type}", n + 1))
        .collect();
    let listed: Vec<String> = (1..=COLUMNS.len()).map(|n| format!("c{n}")).collect();
    let log = format!("mvrefresh.\"log${number}\"");
    let into = format!("INSERT INTO {log} (weight, {}) SELECT", listed.join(", "));
    format!(
        "CREATE TABLE {name} ({columns}{key});
CREATE VIEW view_{name} AS SELECT * FROM {name} WHERE d IS NOT FALSE;
CREATE TABLE {log} (xid xid8 NOT NULL DEFAULT pg_current_xact_id(), weight smallint NOT NULL, {logged});
CREATE INDEX ON {log} (xid);
CREATE FUNCTION mvrefresh.log_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN {into} -1, r.* FROM old_rows r; END IF;
    IF TG_OP <> 'DELETE' THEN {into} 1, r.* FROM new_rows r; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER log_insert AFTER INSERT ON {name} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mvrefresh.log_{name}();
CREATE TRIGGER log_update AFTER UPDATE ON {name} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mvrefresh.log_{name}();
CREATE TRIGGER log_delete AFTER DELETE ON {name} REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION mvrefresh.log_{name}()",
        columns = columns.join(", "),
        logged = logged.join(", "),
    )
}
