//! The choice between fast and complete refresh, by what they have cost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};

/// A view whose refreshes really cost what is given here, in milliseconds.
struct World {
    fast_ms_per_row: f64,
    complete_ms: f64,
}

/// The methods chosen one after the other, from a state of knowledge on.
async fn methods(
    sql: &mut Session,
    world: &World,
    known: (&str, &str),
    pending: i64,
    times: u32,
) -> Vec<String> {
    sql.run("DROP TABLE IF EXISTS knowledge").await;
    sql.run(&format!(
        "CREATE TEMP TABLE knowledge AS
         SELECT (jsonb_populate_record(NULL::mvrefresh.materialized_view_state,
                 jsonb_build_object('fast_ms_per_row', {}::float8, 'complete_ms', {}::float8))).*",
        known.0, known.1
    ))
    .await;
    let mut chosen = Vec::new();
    for _ in 0..times {
        let method = sql
            .text(&format!(
                "SELECT method FROM knowledge k, mvrefresh.cheaper_method({pending}, ROW(k.*)::mvrefresh.materialized_view_state, 1000000)"
            ))
            .await;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let cost = match method.as_str() {
            "fast" => world.fast_ms_per_row * (pending + 50) as f64,
            _ => world.complete_ms,
        };
        sql.run(&format!(
            "UPDATE knowledge k SET (fast_ms_per_row, complete_ms, auto_method, auto_spent_ms) = (
                 SELECT l.fast_ms_per_row, l.complete_ms, l.auto_method, l.auto_spent_ms
                 FROM mvrefresh.learn_costs(ROW(k.*)::mvrefresh.materialized_view_state, '{method}', true, {pending}, {cost}) l)"
        ))
        .await;
        chosen.push(method);
    }
    chosen
}

fn last(chosen: &[String], count: usize) -> Vec<&str> {
    chosen[chosen.len() - count..]
        .iter()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn few_changes_are_refreshed_fast_and_very_many_completely() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    let world = World {
        fast_ms_per_row: 0.02,
        complete_ms: 1000.0,
    };
    let few = methods(&mut sql, &world, ("NULL", "1000"), 100, 5).await;
    assert_eq!(few, ["fast"; 5]);
    // nothing measured yet, and a third of the tables changed
    let many = methods(&mut sql, &world, ("NULL", "1000"), 300_000, 1).await;
    assert_eq!(many, ["complete"]);
    let many = methods(&mut sql, &world, ("0.02", "1000"), 300_000, 3).await;
    assert_eq!(many, ["complete"; 3]);
}

#[tokio::test]
async fn one_outlier_never_keeps_a_method_out_for_long() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    // fast is the better one; the first measurement of it was taken on a server at its limits
    let world = World {
        fast_ms_per_row: 0.1,
        complete_ms: 1000.0,
    };
    let chosen = methods(&mut sql, &world, ("1.9", "1000"), 1000, 30).await;
    assert_eq!(chosen[0], "complete");
    assert_eq!(last(&chosen, 5), ["fast"; 5], "{chosen:?}");
    // complete is the better one by far, and was once measured otherwise
    let world = World {
        fast_ms_per_row: 1.0,
        complete_ms: 100.0,
    };
    let chosen = methods(&mut sql, &world, ("0.5", "10000"), 1000, 300).await;
    assert_eq!(chosen[0], "fast");
    let complete = chosen
        .iter()
        .rev()
        .take(40)
        .filter(|method| *method == "complete")
        .count();
    assert!(complete >= 36, "{chosen:?}");
}

#[tokio::test]
async fn trying_the_other_method_again_costs_a_twentieth_at_most() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    for (fast_ms_per_row, complete_ms) in
        [(1.0, 10_000.0), (1.0, 1200.0), (1.0, 700.0), (5.0, 500.0)]
    {
        let world = World {
            fast_ms_per_row,
            complete_ms,
        };
        let known = (fast_ms_per_row.to_string(), complete_ms.to_string());
        let chosen = methods(&mut sql, &world, (&known.0, &known.1), 950, 400).await;
        let costs: [f64; 2] = [fast_ms_per_row * 1000.0, complete_ms];
        let spent: f64 = chosen
            .iter()
            .map(|method| costs[usize::from(method == "complete")])
            .sum();
        let least = costs[0].min(costs[1]) * 400.0;
        assert!(
            spent <= least * 1.1,
            "{fast_ms_per_row} {complete_ms}: {spent} instead of {least}"
        );
    }
}

#[tokio::test]
async fn what_is_chosen_by_cost_is_chosen_for_a_reason_that_is_kept() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.base (id integer PRIMARY KEY, n integer NOT NULL);
             INSERT INTO alice.base SELECT i, i FROM generate_series(1, 1000) AS i; ANALYZE alice.base;
             SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT id, n FROM alice.base')",
        )
        .await;
    let mut module = database.session("refresher").await;
    module.make_fast("alice.mv").await;
    module
        .run("UPDATE mvrefresh.materialized_view_state SET complete_ms = 100000, fast_ms_per_row = 0.01")
        .await;
    alice.run("DELETE FROM alice.base WHERE id = 1").await;
    let refreshed = module.refresh("alice.mv", None).await;
    assert_eq!(refreshed.method, "fast");
    assert_eq!(
        refreshed.reason,
        "1 pending row: 0.5 ms expected fast, 100000.0 ms completely"
    );
    module
        .run("UPDATE mvrefresh.materialized_view_state SET complete_ms = 0.001, fast_ms_per_row = 10")
        .await;
    alice.run("DELETE FROM alice.base WHERE id = 2").await;
    let refreshed = module.refresh("alice.mv", None).await;
    assert_eq!(refreshed.method, "complete");
    assert_eq!(
        module
            .text("SELECT reason FROM mvrefresh.refresh_history ORDER BY refresh_id DESC LIMIT 1")
            .await,
        "1 pending row: 510.0 ms expected fast, 0.0 ms completely"
    );
    module.assert_exact("alice.mv").await;
}
