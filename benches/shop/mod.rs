//! A shop with materialized views, kept fresh by this module and by hand.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

pub(crate) mod logs;
pub(crate) mod views;

use std::time::Instant;

use fastrand::Rng;
use mvrefreshd::dictionary::catalog::server_facts;
use mvrefreshd::refresh::compile::{Compiled, compile};
use mvrefreshd::sql::ModuleSchema;

use crate::common::TestServer;
use crate::measure::backend::Backend;
use crate::measure::server::roomy_server;
use crate::measure::{median, report};
use views::{JOIN_MERGES, VIEWS, View};

/// A number from the environment.
pub(crate) fn number(name: &str, default: f64) -> f64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// What is changed before a refresh.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// So many orders: of ten, eight updated, one inserted, one deleted; a single one updated.
    Orders(u32),
    /// The price of one product, which is in 1,000 orders.
    Product,
    /// The regions of 100 customers, who have 1,000 orders.
    Customers,
}

/// Times of refreshes in milliseconds: the sum of processor time, and every single one by the clock.
#[derive(Debug, Default)]
struct Times {
    cpu: f64,
    wall: Vec<f64>,
}

impl Times {
    /// Adds what `sql` takes.
    async fn add(&mut self, backend: &mut Backend, sql: &str) {
        let before = backend.cpu();
        let begun = Instant::now();
        backend.run(sql).await;
        self.wall.push(begun.elapsed().as_secs_f64() * 1000.0);
        self.cpu += backend.cpu() - before;
    }

    /// Adds what `sql` takes within a transaction that ends like this, in a session that has done the same before: it has its
    /// plans, and the rows are in the caches.
    async fn add_rehearsed(&mut self, backend: &mut Backend, sql: &str, end: &str) {
        for statement in ["BEGIN", sql, "ROLLBACK", "BEGIN"] {
            backend.run(statement).await;
        }
        self.add(backend, sql).await;
        backend.run(end).await;
    }

    #[allow(clippy::cast_precision_loss)]
    fn each(&self) -> f64 {
        self.cpu / self.wall.len() as f64
    }
}

pub(crate) struct Shop {
    rng: Rng,
    orders: u32,
    customers: u32,
    next_order: u32,
    writer: Backend,
    /// Runs nothing but whole refreshes, their functions alone, and what is written by hand.
    whole: Backend,
    alone: Backend,
    hand: Backend,
    hand_is_first: bool,
    /// Removed when dropped.
    _server: TestServer,
    figures: Vec<&'static str>,
}

impl Shop {
    /// With the views of these figures, so many millions of orders, and so many times 100,000 customers.
    pub(crate) async fn open(orders: f64, customers: f64, wants: &dyn Fn(&str) -> bool) -> Self {
        let (server, mut writer) = roomy_server("2GB").await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let (orders, customers) = ((1e6 * orders) as u32, (1e5 * customers) as u32);
        writer.run(&tables(orders, customers)).await;
        let mut shop = Self {
            rng: Rng::with_seed(20_261_121),
            orders,
            customers,
            next_order: orders + 1,
            writer,
            whole: Backend::open(&server).await,
            alone: Backend::open(&server).await,
            hand: Backend::open(&server).await,
            hand_is_first: false,
            _server: server,
            figures: Vec::new(),
        };
        for view in VIEWS.iter().filter(|view| wants(view.figure)) {
            shop.create(view).await;
            shop.figures.push(view.figure);
        }
        shop.writer.run("VACUUM ANALYZE").await;
        // as the compiled functions have it
        shop.hand.run("SET random_page_cost TO 1.1").await;
        shop
    }

    async fn create(&mut self, view: &View) {
        let View {
            figure, query, key, ..
        } = view;
        let writer = &mut self.writer;
        writer
            .run(&format!(
                "SELECT mvrefresh.create_materialized_view('{figure}', $q${query}$q$, 3600)"
            ))
            .await;
        let id: i32 =
            sqlx::query_scalar("SELECT mv_id FROM mvrefresh.materialized_views WHERE mv_name = $1")
                .bind(figure)
                .fetch_one(&mut writer.connection)
                .await
                .unwrap();
        let facts = server_facts(&mut writer.connection).await.unwrap();
        let module = ModuleSchema::new("mvrefresh");
        let compiled = compile(&mut writer.connection, &module, &facts, id, 2000).await;
        assert_eq!(compiled.unwrap(), Compiled::Fast, "{query}");
        writer.run("RESET search_path").await;
        writer
            .run(&format!("SELECT mvrefresh.perform_refresh({id}, 'bench')"))
            .await;
        let filled_by = view.extra.map_or(*query, |(_, with_more)| with_more);
        writer
            .run(&format!(
                "CREATE TABLE hand_{figure} AS {filled_by}; CREATE UNIQUE INDEX ON hand_{figure} ({key})"
            ))
            .await;
    }

    async fn change(&mut self, change: Change) {
        let statements = match change {
            Change::Orders(1) => format!(
                "UPDATE orders SET amount = (random() * 1000)::numeric(10,2) WHERE order_id = {}",
                self.rng.u32(1..=self.orders)
            ),
            Change::Orders(rows) => {
                let tenth = rows / 10;
                let first = self.next_order;
                self.next_order += tenth;
                let updated: Vec<String> = (0..rows - 2 * tenth)
                    .map(|_| self.rng.u32(1..=self.orders).to_string())
                    .collect();
                format!(
                    "BEGIN;
                     UPDATE orders SET amount = (random() * 1000)::numeric(10,2) WHERE order_id = ANY ('{{{}}}');
                     DELETE FROM orders WHERE order_id = ANY (ARRAY(SELECT order_id FROM orders WHERE order_id > {} ORDER BY order_id LIMIT {tenth}));
                     INSERT INTO orders SELECT i, 1 + i * 7919::bigint % (SELECT count(*) FROM customers), 1 + i * 104729::bigint % 1000, 1 + i % 9, (random() * 1000)::numeric(10,2), date '2026-01-01'
                         FROM generate_series({first}, {}) AS i;
                     COMMIT",
                    updated.join(","),
                    self.rng.u32(0..self.orders / 2),
                    first + tenth - 1,
                )
            }
            Change::Product => format!(
                "UPDATE products SET price = price + 1 WHERE product_id = {}",
                self.rng.u32(1..=1000)
            ),
            Change::Customers => {
                let first = self.rng.u32(1..=self.customers - 100);
                format!(
                    "UPDATE customers SET region = CASE region WHEN 'north' THEN 'south' ELSE 'north' END WHERE customer_id BETWEEN {first} AND {}",
                    first + 99
                )
            }
        };
        self.writer.run(&statements).await;
    }

    async fn view_id(&mut self, view: &View) -> String {
        self.writer
            .text(&format!(
                "SELECT mv_id::text FROM mvrefresh.materialized_views WHERE mv_name = '{}'",
                view.figure
            ))
            .await
    }

    async fn settle(&mut self, view: &View) {
        let others: Vec<&str> = self
            .figures
            .iter()
            .copied()
            .filter(|figure| *figure != view.figure)
            .collect();
        // the other views' refreshes read the same logs
        for figure in others {
            let id = format!(
                "(SELECT mv_id FROM mvrefresh.materialized_views WHERE mv_name = '{figure}')"
            );
            self.writer
                .run(&format!(
                    "SELECT mvrefresh.perform_refresh({id}, 'bench', 'fast')"
                ))
                .await;
        }
        self.writer
            .run("TRUNCATE hand_log, hand_products, hand_customers; SELECT mvrefresh.prune_log(log_id, (SELECT min(pg_snapshot_xmin(last_snapshot)::text::bigint)::text::xid8 FROM mvrefresh.materialized_view_state), 10000000) FROM mvrefresh.materialized_view_logs")
            .await;
        self.writer.run("VACUUM").await;
    }

    /// Fills the table by hand anew, which the figures of other views have passed by.
    pub(crate) async fn begin(&mut self, view: &View) {
        let View { figure, query, .. } = view;
        let filled_by = view.extra.map_or(*query, |(_, with_more)| with_more);
        self.writer
            .run(&format!(
                "TRUNCATE hand_{figure}; INSERT INTO hand_{figure} {filled_by}; ANALYZE hand_{figure}"
            ))
            .await;
        self.settle(view).await;
    }

    /// The call of a view's compiled function.
    async fn fast_function(&mut self, id: &str) -> String {
        let watermark = format!(
            "SELECT last_snapshot::text FROM mvrefresh.materialized_view_state WHERE mv_id = {id}"
        );
        let watermark = self.writer.text(&watermark).await;
        format!("SELECT * FROM mvrefresh.\"fast${id}\"('{watermark}', NULL)")
    }

    /// Measures changes: by turns the whole refresh and its function alone, and always by hand.
    async fn measured(&mut self, view: &View, change: Change, times: u32) -> [Times; 3] {
        let merge = match change {
            Change::Orders(_) => view.merge,
            Change::Product => JOIN_MERGES[1],
            Change::Customers => JOIN_MERGES[2],
        };
        let id = self.view_id(view).await;
        let whole = format!("SELECT mvrefresh.perform_refresh({id}, 'bench', 'fast')");
        let mut found = [Times::default(), Times::default(), Times::default()];
        for time in 0..times {
            self.change(change).await;
            // so that by hand takes the plan that is best for what there is; who refreshes by hand would have to see to that
            self.writer
                .run("ANALYZE hand_log, hand_products, hand_customers")
                .await;
            // by turns: one after the other would find the other's dead rows
            let is_whole = times == 1 || time % 2 == 1;
            self.hand_is_first ^= !is_whole;
            if self.hand_is_first {
                let hand = &mut self.hand;
                found[2].add_rehearsed(hand, merge, "COMMIT").await;
            }
            if is_whole {
                let session = &mut self.whole;
                found[0].add_rehearsed(session, &whole, "COMMIT").await;
            } else {
                let alone = self.fast_function(&id).await;
                let session = &mut self.alone;
                found[1].add_rehearsed(session, &alone, "ROLLBACK").await;
            }
            if !self.hand_is_first {
                let hand = &mut self.hand;
                found[2].add_rehearsed(hand, merge, "COMMIT").await;
            }
            if !is_whole {
                self.writer.run(&whole).await;
            }
            self.writer
                .run("TRUNCATE hand_log, hand_products, hand_customers")
                .await;
            if matches!(change, Change::Orders(1_000..)) {
                let figure = view.figure;
                self.writer
                    .run(&format!("VACUUM \"{figure}\", hand_{figure}"))
                    .await;
            }
        }
        found
    }

    /// The processor time in milliseconds of one whole refresh, and of one by hand.
    pub(crate) async fn cost(&mut self, view: &View, change: Change, times: u32) -> [f64; 2] {
        self.begin(view).await;
        self.measured(view, change, 1).await;
        self.settle(view).await;
        let [whole, _, hand] = self.measured(view, change, times).await;
        [whole.each(), hand.each()]
    }

    /// Compares our refresh with the one by hand, in turn.
    pub(crate) async fn compare(&mut self, view: &View, change: Change, times: u32) {
        // plans and caches; and statistics, of which autovacuum takes care elsewhere
        self.measured(view, change, 2).await;
        self.change(change).await;
        self.writer
            .run(
                "DO $$ DECLARE log integer; BEGIN
                      FOR log IN SELECT log_id FROM mvrefresh.materialized_view_logs LOOP
                          EXECUTE 'ANALYZE ' || mvrefresh.log_table(log);
                      END LOOP; END $$",
            )
            .await;
        self.measured(view, change, 1).await;
        self.settle(view).await;
        let mut all: [Times; 3] = [Times::default(), Times::default(), Times::default()];
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rounds = number("ROUNDS", 5.0) as u32;
        for _ in 0..rounds {
            let found = self.measured(view, change, times).await;
            for (sum, times) in all.iter_mut().zip(found) {
                sum.cpu += times.cpu;
                sum.wall.extend(times.wall);
            }
            self.settle(view).await;
        }
        let [whole, alone, hand] = &all;
        let what = match change {
            Change::Orders(1) => "1 changed order".to_owned(),
            Change::Orders(rows) => format!("{rows} changed orders"),
            Change::Product => "1 changed product of 1,000 orders".to_owned(),
            Change::Customers => "100 changed customers with 1,000 orders".to_owned(),
        };
        report(
            &format!("{}, {what}: in times of by hand", view.title),
            &format!(
                "{:.2} × CPU ({:.2} ms; whole refresh {:.2}, by hand {:.2}), {:.2} × wall ({:.2} ms; {:.2}, {:.2})",
                alone.each() / hand.each(),
                alone.each(),
                whole.each(),
                hand.each(),
                median(&alone.wall) / median(&hand.wall),
                median(&alone.wall),
                median(&whole.wall),
                median(&hand.wall),
            ),
            view.reach,
        );
    }

    /// What `PostgreSQL`'s own refreshes take.
    pub(crate) async fn native(&mut self, view: &View) {
        let View {
            figure, query, key, ..
        } = view;
        self.writer
            .run(&format!("CREATE MATERIALIZED VIEW native AS {query}; CREATE UNIQUE INDEX ON native ({key}); ANALYZE native"))
            .await;
        let mut plain = Times::default();
        let mut concurrent = Times::default();
        for _ in 0..3 {
            self.change(Change::Orders(10)).await;
            plain
                .add(&mut self.hand, "REFRESH MATERIALIZED VIEW native")
                .await;
            self.change(Change::Orders(10)).await;
            concurrent
                .add(
                    &mut self.hand,
                    "REFRESH MATERIALIZED VIEW CONCURRENTLY native",
                )
                .await;
        }
        report(
            &format!(
                "{}: REFRESH, CONCURRENTLY with 10 changed orders",
                view.title
            ),
            &format!(
                "{:.0}, {:.0} ms CPU; {:.0}, {:.0} ms wall",
                plain.each(),
                concurrent.each(),
                median(&plain.wall),
                median(&concurrent.wall)
            ),
            "",
        );
        self.writer.run("DROP MATERIALIZED VIEW native").await;
        let id =
            format!("(SELECT mv_id FROM mvrefresh.materialized_views WHERE mv_name = '{figure}')");
        self.writer
            .run(&format!(
                "SELECT mvrefresh.perform_refresh({id}, 'bench', 'fast')"
            ))
            .await;
        self.settle(view).await;
    }

    /// What a refresh takes with nothing pending.
    pub(crate) async fn nothing(&mut self, view: &View) {
        let id = self.view_id(view).await;
        let looks = [
            (
                "nothing pending, as the daemon looks before it refreshes",
                format!("SELECT mvrefresh.quiet_views('{{{id}}}')"),
                "≤ 1 ms",
            ),
            (
                "nothing pending, refreshed by a user",
                format!("SELECT mvrefresh.perform_refresh({id}, 'bench', 'fast')"),
                "",
            ),
        ];
        for (figure, sql, reach) in looks {
            self.whole.run(&sql).await;
            let mut times = Times::default();
            for _ in 0..200 {
                times.add(&mut self.whole, &sql).await;
            }
            let (each, wall) = (times.each(), median(&times.wall));
            report(
                figure,
                &format!("{each:.2} ms CPU, {wall:.2} ms wall"),
                reach,
            );
        }
    }

    /// Asserts that both ways led to the rows of the query.
    pub(crate) async fn verify(&mut self, view: &View) {
        let figure = view.figure;
        let by_hand = match view.extra {
            None => format!("SELECT * FROM hand_{figure}"),
            Some(_) => format!("SELECT {} FROM hand_{figure}", view.key),
        };
        for rows in [format!("SELECT * FROM \"{figure}\""), by_hand] {
            let query = view.query;
            let wrong = self
                .writer
                .text(&format!(
                    "SELECT count(*)::text FROM (({query} EXCEPT ALL {rows}) UNION ALL ({rows} EXCEPT ALL {query})) AS wrong"
                ))
                .await;
            assert_eq!(wrong, "0", "{rows}");
        }
    }
}

/// The base tables and the log by hand, of what its merges need.
fn tables(orders: u32, customers: u32) -> String {
    format!(
        "CREATE TABLE customers (customer_id int PRIMARY KEY, name text NOT NULL, region text NOT NULL);
         CREATE TABLE products (product_id int PRIMARY KEY, title text NOT NULL, price numeric(10,2) NOT NULL);
         CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int NOT NULL, product_id int NOT NULL, quantity int NOT NULL,
                              amount numeric(10,2) NOT NULL, ordered_on date NOT NULL);
         INSERT INTO customers SELECT i, 'customer ' || i, (ARRAY['north', 'south', 'east', 'west', 'overseas'])[1 + i % 5] FROM generate_series(1, {customers}) AS i;
         INSERT INTO products SELECT i, 'product ' || i, i % 500 + 0.99 FROM generate_series(1, 1000) AS i;
         INSERT INTO orders SELECT i, 1 + i * 7919::bigint % {customers}, 1 + i * 104729::bigint % 1000, 1 + i % 9, (random() * 1000)::numeric(10,2), date '2024-01-01' + i % 700
             FROM generate_series(1, {orders}) AS i;
         CREATE INDEX ON orders (customer_id);
         CREATE INDEX ON orders (product_id, amount);
         ANALYZE;
         CREATE TABLE hand_log (weight int NOT NULL, order_id int, customer_id int, product_id int, amount numeric);
         CREATE TABLE hand_products (product_id int);
         CREATE TABLE hand_customers (customer_id int);
         CREATE FUNCTION hand_log() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF TG_OP <> 'INSERT' THEN INSERT INTO hand_log SELECT -1, order_id, customer_id, product_id, amount FROM old_rows; END IF;
             IF TG_OP <> 'DELETE' THEN INSERT INTO hand_log SELECT 1, order_id, customer_id, product_id, amount FROM new_rows; END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER hand_insert AFTER INSERT ON orders REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION hand_log();
         CREATE TRIGGER hand_update AFTER UPDATE ON orders REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION hand_log();
         CREATE TRIGGER hand_delete AFTER DELETE ON orders REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION hand_log();
         CREATE FUNCTION hand_products() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO hand_products SELECT product_id FROM new_rows; RETURN NULL; END $$;
         CREATE TRIGGER hand_update AFTER UPDATE ON products REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION hand_products();
         CREATE FUNCTION hand_customers() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO hand_customers SELECT customer_id FROM new_rows; RETURN NULL; END $$;
         CREATE TRIGGER hand_update AFTER UPDATE ON customers REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION hand_customers();"
    )
}
