//! A server with TPC-H's tables, and each query as a materialized view of ours and as one of `PostgreSQL`'s.

use std::path::Path;
use std::time::Instant;

use fastrand::Rng;
use mvrefreshd::dictionary::catalog::server_facts;
use mvrefreshd::dictionary::installation;
use mvrefreshd::refresh::compile::{Compiled, compile};
use mvrefreshd::sql::ModuleSchema;

use crate::common::{TestServer, options};
use crate::data;
use crate::figures::{Figures, Time};
use crate::measure::backend::Backend;
use crate::queries::{queries, view};

async fn timed(backend: &mut Backend, sql: &str) -> Time {
    let (before, begun) = (backend.cpu(), Instant::now());
    backend.run(sql).await;
    Time {
        wall: begun.elapsed().as_secs_f64() * 1000.0,
        cpu: backend.cpu() - before,
    }
}

pub(crate) struct Warehouse {
    /// Names of the views with their numbers in the dictionary.
    views: Vec<(String, i32)>,
    orders: u32,
    rng: Rng,
    writer: Backend,
    ours: Backend,
    native: Backend,
    server: TestServer,
}

impl Warehouse {
    /// With the views of these names, or all.
    pub(crate) async fn open(scale: f64, wanted: &[String]) -> Self {
        let mut settings = options();
        for (name, value) in [
            ("shared_buffers", "2GB"),
            ("max_wal_size", "16GB"),
            ("work_mem", "64MB"),
            ("autovacuum", "off"),
            // the processor time of one process is to be all there is
            ("max_parallel_workers_per_gather", "0"),
        ] {
            settings.settings.push((name.to_owned(), value.to_owned()));
        }
        let server = TestServer::start_with(settings).await;
        let mut writer = Backend::open(&server).await;
        installation::install(&mut writer.connection, &ModuleSchema::new("mvrefresh"))
            .await
            .unwrap();
        writer.run("RESET search_path").await;
        data::load(&mut writer.connection, scale).await;
        writer.run("VACUUM ANALYZE").await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let orders = (1_500_000.0 * scale) as u32;
        let mut warehouse = Self {
            views: Vec::new(),
            orders,
            rng: Rng::with_seed(22),
            writer,
            ours: Backend::open(&server).await,
            native: Backend::open(&server).await,
            server,
        };
        for (number, query) in (1..).zip(queries(scale)) {
            let name = view(number);
            if wanted.is_empty() || wanted.contains(&name) {
                warehouse.create(&name, &query).await;
            }
        }
        // the checks of the first ones are to be remembered also where nothing is ever pending, as a daemon sees to it
        for (_, id) in &warehouse.views {
            let noted = format!("SELECT mvrefresh.perform_refresh({id}, 'sql')");
            warehouse.writer.run(&noted).await;
        }
        warehouse.writer.run("VACUUM ANALYZE").await;
        warehouse
    }

    async fn create(&mut self, name: &str, query: &str) {
        let writer = &mut self.writer;
        writer
            .run(&format!(
                "SELECT mvrefresh.create_materialized_view('{name}', $query${query}$query$, 3600);
                 CREATE MATERIALIZED VIEW native_{name} AS {query}"
            ))
            .await;
        let id: i32 =
            sqlx::query_scalar("SELECT mv_id FROM mvrefresh.materialized_views WHERE mv_name = $1")
                .bind(name)
                .fetch_one(&mut writer.connection)
                .await
                .unwrap();
        let facts = server_facts(&mut writer.connection).await.unwrap();
        let module = ModuleSchema::new("mvrefresh");
        let compiled = compile(&mut writer.connection, &module, &facts, id, 2000).await;
        assert_eq!(compiled.unwrap(), Compiled::Fast, "{name}");
        writer.run("RESET search_path").await;
        writer.run(&refresh(id, "NULL")).await;
        self.views.push((name.to_owned(), id));
    }

    /// Both streams: this share of the orders come, and as many go.
    async fn change(&mut self, rate: f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = (f64::from(self.orders) * rate).round() as u32;
        let (connection, rng) = (&mut self.writer.connection, &mut self.rng);
        data::insert_orders(connection, rng, count).await;
        data::delete_orders(connection, rng, count).await;
    }

    /// One change, and then every view refreshed in every way; those before the last one are rolled back.
    pub(crate) async fn round(&mut self, rate: f64, figures: &mut Figures) {
        self.change(rate).await;
        for (name, id) in self.views.clone() {
            let figure = figures.views.entry(name.clone()).or_default();
            // VACUUM has made the session forget the plans that it keeps
            self.undone(id, "'fast'").await;
            figure.fast.push(self.undone(id, "'fast'").await);
            figure.complete.push(self.undone(id, "'complete'").await);
            // under the same circumstances as these; later it would find what they have left behind
            figure.auto.push(self.undone(id, "NULL").await);
            let native = format!("REFRESH MATERIALIZED VIEW native_{name}");
            figure.native.push(timed(&mut self.native, &native).await);
            // once more in earnest, which chooses the same
            self.ours.run(&refresh(id, "NULL")).await;
            let method = format!(
                "SELECT last_method FROM mvrefresh.materialized_view_state WHERE mv_id = {id}"
            );
            figure.methods.push(self.writer.text(&method).await);
        }
        self.tidy().await;
    }

    /// One change, and then every view refreshed by what `auto` takes.
    pub(crate) async fn change_and_refresh(&mut self, rate: f64) {
        self.change(rate).await;
        for (_, id) in self.views.clone() {
            self.ours.run(&refresh(id, "NULL")).await;
        }
        self.tidy().await;
    }

    async fn tidy(&mut self) {
        self.writer
            .run("SELECT mvrefresh.prune_log(log_id, (SELECT min(pg_snapshot_xmin(last_snapshot)::text::bigint)::text::xid8 FROM mvrefresh.materialized_view_state), 10000000) FROM mvrefresh.materialized_view_logs")
            .await;
        self.writer.run("VACUUM").await;
    }

    /// A refresh that is rolled back.
    async fn undone(&mut self, id: i32, method: &str) -> Time {
        self.ours.run("BEGIN").await;
        let time = timed(&mut self.ours, &refresh(id, method)).await;
        self.ours.run("ROLLBACK").await;
        time
    }

    /// Asserts that all views hold the rows of their queries.
    pub(crate) async fn verify(&mut self) {
        for (name, _) in self.views.clone() {
            let wrong = self
                .writer
                .text(&format!("SELECT (rows_missing + rows_unexpected)::text FROM mvrefresh.verify_materialized_view('{name}')"))
                .await;
            assert_eq!(wrong, "0", "{name}");
        }
    }

    /// Writes the plans of all statements of a fast refresh that take more than a millisecond, for each view.
    pub(crate) async fn explain(&mut self, rate: f64, directory: &Path) {
        self.change(rate).await;
        std::fs::create_dir_all(directory).unwrap();
        self.ours
            .run(
                "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 1; SET auto_explain.log_analyze = on;
                 SET auto_explain.log_nested_statements = on; SET log_min_messages = log",
            )
            .await;
        for (name, id) in self.views.clone() {
            self.undone(id, "'fast'").await;
            let known = self.server.log().len();
            self.undone(id, "'fast'").await;
            let plans = self.server.log().split_off(known);
            std::fs::write(directory.join(format!("{name}.plan")), plans).unwrap();
        }
        self.ours
            .run("SET auto_explain.log_min_duration = -1")
            .await;
    }
}

fn refresh(id: i32, method: &str) -> String {
    format!("SELECT mvrefresh.perform_refresh({id}, 'bench', {method})")
}
