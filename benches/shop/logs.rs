//! What logging costs the writers, beside a trigger written by hand.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use super::Backend;
use crate::common::TestServer;
use crate::measure::server::{pgbench, roomy_server};
use crate::measure::{median, report};

/// Rows of each table, and of a batch.
const ROWS: u32 = 100_000;

/// The tables: without a log, with one by hand, with a materialized view log.
const TABLES: [&str; 3] = ["plain", "by_hand", "logged"];

pub(crate) async fn logs(scale: f64) {
    let (server, mut session) = roomy_server("1GB").await;
    for table in TABLES {
        session.run(&table_of(table)).await;
    }
    session
        .run(
            "SELECT mvrefresh.ensure_log('logged'::regclass, '{order_id,customer_id,product_id,amount}'::name[], 2000)",
        )
        .await;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rows = (f64::from(ROWS) * scale) as u32;
    batches(&mut session, rows).await;
    singles(&server, &mut session, rows).await;
}

/// Statements of many rows, in turn.
async fn batches(session: &mut Backend, rows: u32) {
    let statements = [
        (
            "INSERT",
            format!(
                "INSERT INTO TABLE SELECT i, i % 1000, i % 100, 1, i / 100.0, date '2026-01-01' FROM generate_series(1, {rows}) AS i"
            ),
            "≤ 1.3 × of no log",
        ),
        (
            "UPDATE",
            "UPDATE TABLE SET amount = amount + 1".to_owned(),
            "≤ 1.05 × of by hand",
        ),
        (
            "DELETE",
            "DELETE FROM TABLE".to_owned(),
            "≤ 1.05 × of by hand",
        ),
    ];
    let mut times = vec![[Vec::new(), Vec::new(), Vec::new()]; statements.len()];
    for round in 0..8 {
        for (statement, times) in statements.iter().zip(&mut times) {
            for (table, times) in TABLES.iter().zip(times) {
                let sql = statement.1.replace("TABLE", table);
                let before = session.cpu();
                session.run(&sql).await;
                // the first round fills caches
                if round > 0 {
                    times.push(session.cpu() - before);
                }
            }
        }
        let log = log_table(session).await;
        session
            .run(&format!(
                "TRUNCATE plain, by_hand, by_hand_log; DELETE FROM logged; DELETE FROM {log}"
            ))
            .await;
        session.run("VACUUM").await;
    }
    for ((name, _, reach), times) in statements.iter().zip(&times) {
        let [plain, by_hand, logged] = [0, 1, 2].map(|number| median(&times[number]));
        report(
            &format!("log, {name} of {rows} rows in one statement"),
            &format!(
                "{:.2} × of by hand, {:.2} × of no log (CPU ms: {plain:.0}, {by_hand:.0}, {logged:.0})",
                logged / by_hand,
                logged / plain
            ),
            reach,
        );
    }
}

/// Updates of one row each by key, by 4 clients.
async fn singles(server: &TestServer, session: &mut Backend, rows: u32) {
    for table in TABLES {
        session
            .run(&format!("INSERT INTO {table} SELECT i, i % 1000, i % 100, 1, i / 100.0, date '2026-01-01' FROM generate_series(1, {rows}) AS i"))
            .await;
    }
    session.run("VACUUM ANALYZE").await;
    let directory = tempfile::tempdir().unwrap();
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..7 {
        // in another order each time
        for turn in 0..TABLES.len() {
            let number = (turn + round) % TABLES.len();
            let script = directory.path().join("update.sql");
            let sql = format!(
                "\\set id random(1, {rows})\nUPDATE {} SET amount = amount + 1 WHERE order_id = :id;\n",
                TABLES[number]
            );
            std::fs::write(&script, sql).unwrap();
            let rate = rate_of(server, &script).await;
            if round > 0 {
                rates[number].push(rate);
            }
        }
        let log = log_table(session).await;
        session
            .run(&format!("TRUNCATE by_hand_log; DELETE FROM {log}"))
            .await;
        session.run("VACUUM").await;
    }
    let [plain, by_hand, logged] = [0, 1, 2].map(|number| median(&rates[number]));
    report(
        "log, UPDATE of single rows by key, 4 clients",
        &format!(
            "{:.3} × the TPS of by hand, {:.3} × of no log ({plain:.0}, {by_hand:.0}, {logged:.0})",
            logged / by_hand,
            logged / plain
        ),
        "≥ 0.98 × of by hand",
    );
}

async fn log_table(session: &mut Backend) -> String {
    session
        .text("SELECT mvrefresh.log_table(log_id) FROM mvrefresh.materialized_view_logs")
        .await
}

/// Transactions per second of a script.
async fn rate_of(server: &TestServer, script: &std::path::Path) -> f64 {
    let arguments = ["-c", "4", "-T", "3", "-M", "prepared"];
    let output = pgbench(server, script, &arguments).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
    rate.and_then(|rate| rate.split(' ').next())
        .and_then(|rate| rate.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

/// Like the orders of the other figures, with their indexes.
fn table_of(name: &str) -> String {
    let table = format!(
        "CREATE TABLE {name} (order_id int PRIMARY KEY, customer_id int NOT NULL, product_id int NOT NULL, quantity int NOT NULL,
                              amount numeric(10,2) NOT NULL, ordered_on date NOT NULL) WITH (fillfactor = 70);
         CREATE INDEX ON {name} (customer_id);
         CREATE INDEX ON {name} (product_id, amount);"
    );
    if name != "by_hand" {
        return table;
    }
    format!(
        "{table}
         CREATE TABLE by_hand_log (xid xid8 NOT NULL DEFAULT pg_current_xact_id(), weight smallint NOT NULL, order_id int, customer_id int, product_id int, amount numeric);
         CREATE INDEX ON by_hand_log (xid);
         -- with its owner's rights: whoever may write to the table need not be able to write to its log as he likes
         CREATE FUNCTION by_hand() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
         BEGIN
             IF TG_OP = 'INSERT' THEN
                 INSERT INTO by_hand_log (weight, order_id, customer_id, product_id, amount) SELECT 1, order_id, customer_id, product_id, amount FROM new_rows;
             ELSIF TG_OP = 'UPDATE' THEN
                 INSERT INTO by_hand_log (weight, order_id, customer_id, product_id, amount)
                 SELECT -1, order_id, customer_id, product_id, amount FROM old_rows UNION ALL SELECT 1, order_id, customer_id, product_id, amount FROM new_rows;
             ELSE
                 INSERT INTO by_hand_log (weight, order_id, customer_id, product_id, amount) SELECT -1, order_id, customer_id, product_id, amount FROM old_rows;
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER log_insert AFTER INSERT ON by_hand REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION by_hand();
         CREATE TRIGGER log_update AFTER UPDATE ON by_hand REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION by_hand();
         CREATE TRIGGER log_delete AFTER DELETE ON by_hand REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION by_hand();"
    )
}
