//! Materialized views over materialized views: fast at every level, and those without a schedule follow when they are needed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Database, Session, TestServer, Upkeep, execute, holds, install, spawn, until};

const TABLES: &str =
    "CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int NOT NULL, amount int NOT NULL);
    INSERT INTO orders SELECT i, i % 20, i % 7 FROM generate_series(1, 200) AS i;";

/// What a change is made of.
const CHANGE: &str = "UPDATE orders SET amount = amount + 1 WHERE customer_id = 3; DELETE FROM orders WHERE order_id % 20 = 5;
    INSERT INTO orders SELECT i, i % 25, 1 FROM generate_series(1000, 1010) AS i ON CONFLICT DO NOTHING;";

/// A chain: sums by customer, and over that a copy of a copy, so many levels; the top first.
async fn chain(sql: &mut Session, levels: usize) -> Vec<String> {
    sql.run(TABLES).await;
    sql.run("SELECT mvrefresh.create_materialized_view('level_1', 'SELECT customer_id, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer_id')").await;
    for level in 2..=levels {
        sql.run(&format!(
            "SELECT mvrefresh.create_materialized_view('level_{level}', 'SELECT customer_id, n, total + 1 AS total FROM level_{}')",
            level - 1
        ))
        .await;
    }
    (1..=levels)
        .rev()
        .map(|level| format!("level_{level}"))
        .collect()
}

/// Everything compiled, and refreshed fast whatever it costs.
async fn by_fast_refresh(database: &Database, sql: &mut Session) {
    Upkeep::of(database).await.run().await;
    sql.run("UPDATE mvrefresh.materialized_views SET refresh_method = 'fast'")
        .await;
}

async fn methods(sql: &mut Session) -> Vec<String> {
    sql.values("SELECT concat_ws(' ', mv_name, trigger, method) FROM mvrefresh.refresh_history WHERE outcome = 'succeeded' ORDER BY refresh_id")
        .await
}

#[tokio::test]
async fn a_chain_without_a_schedule_follows_its_top_fast_at_every_level() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    let names = chain(&mut sql, 10).await;
    by_fast_refresh(&database, &mut sql).await;
    sql.refresh_fast(&names[0]).await;
    for round in ["one", "two"] {
        sql.run(CHANGE).await;
        sql.run("DELETE FROM mvrefresh.refresh_history").await;
        sql.assert_fast_after(&names[0], round).await;
        for name in &names {
            sql.assert_same(name, round).await;
        }
        let refreshed = methods(&mut sql).await;
        let mut expected: Vec<String> = (1..10)
            .map(|level| format!("public.level_{level} needed fast"))
            .collect();
        expected.push("public.level_10 sql fast".to_owned());
        assert_eq!(refreshed, expected, "from the bottom up, each once");
    }
    sql.run("DELETE FROM mvrefresh.refresh_history").await;
    assert_eq!(sql.refresh_fast(&names[0]).await.status, "unchanged");
    assert_eq!(methods(&mut sql).await, [""; 0]);
}

#[tokio::test]
async fn a_diamond_without_a_schedule_is_refreshed_once_from_the_bottom_up() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    sql.run(TABLES).await;
    sql.run("SELECT mvrefresh.create_materialized_view('bottom', 'SELECT order_id, customer_id, amount FROM orders WHERE amount > 0');
             SELECT mvrefresh.create_materialized_view('counts', 'SELECT customer_id, count(*) AS n FROM bottom GROUP BY customer_id');
             SELECT mvrefresh.create_materialized_view('sums', 'SELECT customer_id, sum(amount) AS total FROM bottom GROUP BY customer_id');
             SELECT mvrefresh.create_materialized_view('top', 'SELECT customer_id, n, total FROM counts JOIN sums USING (customer_id)', 1)")
        .await;
    by_fast_refresh(&database, &mut sql).await;
    sql.refresh_fast("top").await;
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        sql.run(CHANGE).await;
        sql.run("DELETE FROM mvrefresh.refresh_history").await;
        sql.run(&format!("BEGIN ISOLATION LEVEL {isolation}")).await;
        sql.assert_fast_after("top", isolation).await;
        // a writer in the refresh's own transaction: what comes after the refresh is for the next one
        sql.run("UPDATE orders SET amount = amount + 10 WHERE customer_id = 4; COMMIT")
            .await;
        let refreshed = methods(&mut sql).await;
        assert_eq!(
            refreshed,
            [
                "public.bottom needed fast",
                "public.counts needed fast",
                "public.sums needed fast",
                "public.top sql fast"
            ],
            "{isolation}"
        );
        for name in ["top", "counts", "sums", "bottom"] {
            sql.refresh_fast(name).await;
            sql.assert_same(name, isolation).await;
        }
    }
}

#[tokio::test]
async fn what_has_a_schedule_is_disabled_or_in_a_group_is_left_to_that() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    chain(&mut sql, 2).await;
    by_fast_refresh(&database, &mut sql).await;
    sql.refresh_fast("level_2").await;
    for left_alone in [
        "refresh_rate_in_sec = 3600",
        "refresh_cron = '0 3 * * *'",
        "refresh_group = 'g'",
        "enabled = false",
    ] {
        sql.run(&format!(
            "UPDATE mvrefresh.materialized_views SET {left_alone} WHERE mv_name = 'level_1'"
        ))
        .await;
        sql.run(CHANGE).await;
        assert_eq!(
            sql.refresh_fast("level_2").await.status,
            "unchanged",
            "{left_alone}"
        );
        sql.run("UPDATE mvrefresh.materialized_views SET refresh_rate_in_sec = NULL, refresh_cron = NULL, refresh_group = NULL, enabled = true WHERE mv_name = 'level_1'").await;
        sql.assert_fast_after("level_2", left_alone).await;
        sql.assert_same("level_1", left_alone).await;
    }
}

#[tokio::test]
async fn a_needed_view_that_fails_is_suspended_and_holds_up_none_that_read_it() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    sql.run("CREATE TABLE numbers (id int PRIMARY KEY, n int NOT NULL); INSERT INTO numbers VALUES (1, 1), (2, 2);
             CREATE TABLE others (id int PRIMARY KEY); INSERT INTO others VALUES (1), (2);
             SELECT mvrefresh.create_materialized_view('divided', 'SELECT id, 10 / n AS part FROM numbers');
             SELECT mvrefresh.create_materialized_view('joined', 'SELECT id, part FROM divided JOIN others USING (id)')")
        .await;
    by_fast_refresh(&database, &mut sql).await;
    sql.refresh_fast("joined").await;
    sql.run("UPDATE numbers SET n = 0 WHERE id = 1; DELETE FROM others WHERE id = 2")
        .await;
    sql.assert_fast_after("joined", "a division by zero below")
        .await;
    let state: Vec<String> = sql
        .values("SELECT concat_ws(' ', last_error_code, suspended_at IS NOT NULL) FROM mvrefresh.materialized_view_state ORDER BY mv_id LIMIT 1")
        .await;
    assert_eq!(state, ["22012 t"]);
    sql.run("UPDATE numbers SET n = 5 WHERE id = 1; SELECT mvrefresh.resume_materialized_view('divided')")
        .await;
    sql.assert_fast_after("joined", "resumed").await;
    sql.assert_same("divided", "resumed").await;
}

#[tokio::test]
async fn the_daemon_refreshes_what_a_due_view_needs() {
    let server = TestServer::start().await;
    install(&server).await;
    let mut sql = server.connect().await;
    execute(&mut sql, TABLES).await;
    execute(
        &mut sql,
        "SELECT mvrefresh.create_materialized_view('below', 'SELECT customer_id, sum(amount) AS total FROM orders GROUP BY customer_id');
         SELECT mvrefresh.create_materialized_view('above', 'SELECT count(*) AS n, sum(total) AS total FROM below', 1);",
    )
    .await;
    let _daemon = spawn(&server, &[("MVREFRESHD_SCHEDULER__POLL_INTERVAL", "10m")]);
    for round in 1..=3 {
        execute(
            &mut sql,
            &format!("INSERT INTO orders VALUES (100000 + {round}, 3, 1000)"),
        )
        .await;
        until(
            &mut sql,
            "SELECT (SELECT total FROM above) = (SELECT sum(amount) FROM orders)",
        )
        .await;
    }
    assert!(
        holds(
            &mut sql,
            "SELECT count(*) FILTER (WHERE trigger = 'needed') >= 3 AND bool_and(trigger IN ('needed', 'create'))
             FROM mvrefresh.refresh_history WHERE mv_name = 'public.below'"
        )
        .await
    );
}
