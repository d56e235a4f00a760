//! Complete refresh in place beside PostgreSQL's own, turn by turn in one run.
//!
//! `cargo bench --bench complete_refresh`

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::time::Instant;

use common::TestServer;
use measure::{median, report};
use mvrefreshd::dictionary::installation;
use mvrefreshd::sql::ModuleSchema;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

const ROWS: u32 = 1_000_000;
const ROUNDS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = TestServer::start().await;
    let mut connection = server.connect().await;
    prepare(&mut connection).await;

    println!("| complete refresh of {ROWS} rows, median of {ROUNDS} rounds | measured | reach |");
    println!("| --- | --- | --- |");
    for (changed, every) in [("nothing", 0), ("1 %", 100), ("10 %", 10)] {
        let mut keyed = Vec::new();
        let mut unkeyed = Vec::new();
        let mut plain = Vec::new();
        for _ in 0..ROUNDS {
            change(&mut connection, every).await;
            let concurrently = timed(
                &mut connection,
                "REFRESH MATERIALIZED VIEW CONCURRENTLY native",
            )
            .await;
            keyed.push(
                timed(
                    &mut connection,
                    "SELECT mvrefresh.refresh_materialized_view('keyed')",
                )
                .await
                    / concurrently,
            );
            unkeyed.push(
                timed(
                    &mut connection,
                    "SELECT mvrefresh.refresh_materialized_view('unkeyed')",
                )
                .await
                    / concurrently,
            );
            plain.push(
                timed(&mut connection, "REFRESH MATERIALIZED VIEW native").await / concurrently,
            );
        }
        let reach = if every == 100 { "≤ 0.5" } else { "" };
        let figure = |name: &str| format!("{name}, {changed} changed, in times of CONCURRENTLY");
        report(
            &figure("in place, unique index"),
            &format!("{:.2}", median(&keyed)),
            reach,
        );
        report(
            &figure("in place, no index"),
            &format!("{:.2}", median(&unkeyed)),
            "",
        );
        report(
            &figure("REFRESH MATERIALIZED VIEW"),
            &format!("{:.2}", median(&plain)),
            "",
        );
    }
}

async fn prepare(connection: &mut PgConnection) {
    installation::install(connection, &ModuleSchema::new("mvrefresh"))
        .await
        .unwrap();
    connection.execute("RESET search_path").await.unwrap();
    let statements = format!(
        "CREATE TABLE base (id int PRIMARY KEY, amount numeric, customer int, note text, at timestamptz);
         INSERT INTO base SELECT i, i * 1.5, i % 1000, 'order number ' || i, now() FROM generate_series(1, {ROWS}) i;
         SELECT mvrefresh.create_materialized_view('keyed', 'SELECT * FROM base');
         CREATE UNIQUE INDEX ON keyed (id);
         SELECT mvrefresh.create_materialized_view('unkeyed', 'SELECT * FROM base');
         CREATE MATERIALIZED VIEW native AS SELECT * FROM base;
         CREATE UNIQUE INDEX ON native (id);
         ANALYZE"
    );
    connection.execute(AssertSqlSafe(statements)).await.unwrap();
}

async fn change(connection: &mut PgConnection, every: u32) {
    if every > 0 {
        let update = format!("UPDATE base SET customer = customer + 1 WHERE id % {every} = 0");
        connection.execute(AssertSqlSafe(update)).await.unwrap();
    }
    // every round begins alike, whatever autovacuum would have done by chance
    for table in ["base", "keyed", "unkeyed", "native"] {
        connection
            .execute(AssertSqlSafe(format!("VACUUM {table}")))
            .await
            .unwrap();
    }
}

async fn timed(connection: &mut PgConnection, statement: &'static str) -> f64 {
    let begun = Instant::now();
    connection.execute(statement).await.unwrap();
    begun.elapsed().as_secs_f64()
}
