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
    fast_fixed_ms: f64,
    fast_ms_per_row: f64,
    complete_ms: f64,
}

impl World {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn cost(&self, method: &str, pending: i64) -> f64 {
        match method {
            "fast" => self.fast_fixed_ms + self.fast_ms_per_row * pending as f64,
            _ => self.complete_ms,
        }
    }

    fn least(&self, pending: i64) -> f64 {
        self.cost("fast", pending).min(self.complete_ms)
    }
}

/// What a view's refreshes are believed to cost, in a table of its own.
struct Knowledge<'a> {
    sql: &'a mut Session,
}

impl<'a> Knowledge<'a> {
    async fn of(sql: &'a mut Session, fast: Option<(f64, f64)>, complete_ms: f64) -> Self {
        let part = |part: Option<f64>| part.map_or("NULL".to_owned(), |ms| ms.to_string());
        sql.run("DROP TABLE IF EXISTS knowledge").await;
        sql.run(&format!(
            "CREATE TEMP TABLE knowledge AS
             SELECT (jsonb_populate_record(NULL::mvrefresh.materialized_view_state,
                     jsonb_build_object('fast_fixed_ms', {}::float8, 'fast_ms_per_row', {}::float8, 'complete_ms', {complete_ms}::float8))).*",
            part(fast.map(|(fixed, _)| fixed)),
            part(fast.map(|(_, per_row)| per_row)),
        ))
        .await;
        Self { sql }
    }

    /// The method that is chosen. As `choose_refresh` does, it counts pending rows only as far as need be.
    async fn choice(&mut self, pending: i64) -> String {
        self.sql
            .text(&format!(
                "SELECT c.method
                 FROM knowledge k
                 CROSS JOIN LATERAL mvrefresh.most_rows_for_fast(ROW(k.*)::mvrefresh.materialized_view_state, 1000000) AS most
                 CROSS JOIN LATERAL mvrefresh.cheaper_method(CASE WHEN {pending} > most THEN NULL ELSE {pending} END,
                     ROW(k.*)::mvrefresh.materialized_view_state, 1000000) c"
            ))
            .await
    }

    async fn learn(&mut self, method: &str, pending: i64, cost: f64) {
        self.sql
            .run(&format!(
                "UPDATE knowledge k SET (fast_fixed_ms, fast_ms_per_row, complete_ms, complete_is_fill, dearer_method, auto_method, auto_spent_ms) = (
                     SELECT l.fast_fixed_ms, l.fast_ms_per_row, l.complete_ms, l.complete_is_fill, l.dearer_method, l.auto_method, l.auto_spent_ms
                     FROM mvrefresh.learn_costs(ROW(k.*)::mvrefresh.materialized_view_state, '{method}', true, {pending}, {cost}) l)"
            ))
            .await;
    }

    /// The methods chosen one after the other for these numbers of pending rows.
    async fn live(&mut self, world: &World, pending: impl IntoIterator<Item = i64>) -> Vec<String> {
        let mut chosen = Vec::new();
        for pending in pending {
            let method = self.choice(pending).await;
            self.learn(&method, pending, world.cost(&method, pending))
                .await;
            chosen.push(method);
        }
        chosen
    }

    async fn expected(&mut self, pending: i64) -> f64 {
        self.sql
            .value(&format!("SELECT mvrefresh.expected_fast_ms(ROW(k.*)::mvrefresh.materialized_view_state, {pending}) FROM knowledge k"))
            .await
    }
}

fn share_of(method: &str, chosen: &[String]) -> f64 {
    let count = chosen.iter().filter(|chosen| *chosen == method).count();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = count as f64 / chosen.len() as f64;
    share
}

#[tokio::test]
async fn few_changes_are_refreshed_fast_and_very_many_completely() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    let world = World {
        fast_fixed_ms: 1.0,
        fast_ms_per_row: 0.02,
        complete_ms: 1000.0,
    };
    let mut unknown = Knowledge::of(&mut sql, None, 1000.0).await;
    assert_eq!(unknown.live(&world, [100; 5]).await, ["fast"; 5]);
    // nothing measured yet, and a third of the tables changed
    let mut unknown = Knowledge::of(&mut sql, None, 1000.0).await;
    assert_eq!(unknown.live(&world, [300_000]).await, ["complete"]);
    let mut known = Knowledge::of(&mut sql, Some((1.0, 0.02)), 1000.0).await;
    assert_eq!(known.live(&world, [300_000; 3]).await, ["complete"; 3]);
}

#[tokio::test]
async fn what_few_rows_cost_does_not_hide_what_many_would() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    // most of what few rows cost is fixed, as where a plan for eight tables is made
    let world = World {
        fast_fixed_ms: 10.0,
        fast_ms_per_row: 0.002,
        complete_ms: 100.0,
    };
    let mut knowledge = Knowledge::of(&mut sql, None, 100.0).await;
    assert_eq!(knowledge.live(&world, [1500; 20]).await, ["fast"; 20]);
    assert_eq!(knowledge.live(&world, [15_000; 5]).await, ["fast"; 5]);
    // both sizes in turn: the parts are found
    knowledge.live(&world, [300, 15_000].repeat(30)).await;
    for pending in [300, 3000, 30_000] {
        let expected = knowledge.expected(pending).await;
        let real = world.cost("fast", pending);
        assert!(
            (expected / real - 1.0).abs() < 0.1,
            "{pending}: {expected} instead of {real}"
        );
    }
    // far more than ever: no need to try
    assert_eq!(knowledge.live(&world, [150_000; 5]).await, ["complete"; 5]);
}

#[tokio::test]
async fn one_outlier_never_keeps_a_method_out_for_long() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    // fast is the better one; the first measurement of it was taken on a server at its limits
    let world = World {
        fast_fixed_ms: 5.0,
        fast_ms_per_row: 0.1,
        complete_ms: 1000.0,
    };
    let mut wrong = Knowledge::of(&mut sql, Some((95.0, 1.9)), 1000.0).await;
    let chosen = wrong.live(&world, [1000; 30]).await;
    assert_eq!(chosen[0], "complete");
    assert_eq!(chosen[25..], ["fast"; 5], "{chosen:?}");
    // a single one while fast is known well
    wrong.learn("fast", 1000, 50_000.0).await;
    assert_eq!(wrong.live(&world, [1000; 3]).await[1..], ["fast"; 2]);
    // complete is the better one by far, and was once measured otherwise
    let world = World {
        fast_fixed_ms: 50.0,
        fast_ms_per_row: 1.0,
        complete_ms: 100.0,
    };
    let mut wrong = Knowledge::of(&mut sql, Some((25.0, 0.5)), 10_000.0).await;
    let chosen = wrong.live(&world, [1000; 300]).await;
    assert_eq!(chosen[0], "fast");
    assert!(share_of("complete", &chosen[260..]) >= 0.9, "{chosen:?}");
}

#[tokio::test]
async fn a_first_refresh_that_makes_all_plans_is_no_reason_to_leave_its_method() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    let world = World {
        fast_fixed_ms: 5.0,
        fast_ms_per_row: 0.01,
        complete_ms: 20.0,
    };
    let mut known = Knowledge::of(&mut sql, None, 20.0).await;
    known.learn("fast", 100, 150.0).await;
    assert_eq!(known.live(&world, [100; 5]).await, ["fast"; 5]);
    // where it is as dear again, it is left; where a second one could be a great loss, at once
    for (complete_ms, pending, expected) in [
        (20.0, 100, ["fast", "complete", "complete"]),
        (1000.0, 10_000, ["complete", "complete", "complete"]),
    ] {
        let world = World {
            fast_fixed_ms: 50.0,
            fast_ms_per_row: 1.0,
            complete_ms,
        };
        let mut known = Knowledge::of(&mut sql, None, complete_ms).await;
        known
            .learn("fast", pending, world.cost("fast", pending))
            .await;
        assert_eq!(known.live(&world, [pending; 3]).await, expected);
    }
}

#[tokio::test]
async fn a_first_fill_is_not_believed_to_be_what_a_complete_refresh_costs() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    // a first fill takes longer than any later one; and so it does where fast is the better method
    for (fast_fixed_ms, complete_ms, last) in [
        (500.0, 300.0, "complete"),
        (500.0, 700.0, "fast"),
        (300.0, 600.0, "fast"),
    ] {
        let world = World {
            fast_fixed_ms,
            fast_ms_per_row: 0.001,
            complete_ms,
        };
        let mut known = Knowledge::of(&mut sql, None, 1000.0).await;
        known
            .sql
            .run("UPDATE knowledge SET complete_is_fill = true, last_refresh = now()")
            .await;
        let chosen = known.live(&world, [100; 20]).await;
        // the other one is tried again now and then
        assert!(share_of(last, &chosen[8..]) >= 0.8, "{chosen:?}");
    }
}

#[tokio::test]
async fn a_method_that_has_become_dear_is_left_after_two_refreshes() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    // as when statistics go out of date and the planner takes another plan
    let world = World {
        fast_fixed_ms: 10.0,
        fast_ms_per_row: 50.0,
        complete_ms: 1000.0,
    };
    let mut knowledge = Knowledge::of(&mut sql, Some((10.0, 0.1)), 1000.0).await;
    let chosen = knowledge.live(&world, [1000; 5]).await;
    assert_eq!(chosen, ["fast", "fast", "complete", "complete", "complete"]);
}

#[tokio::test]
async fn trying_the_other_method_again_costs_a_twentieth_at_most() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    for (fast_ms_per_row, complete_ms) in
        [(1.0, 10_000.0), (1.0, 1200.0), (1.0, 700.0), (5.0, 500.0)]
    {
        let world = World {
            fast_fixed_ms: 50.0 * fast_ms_per_row,
            fast_ms_per_row,
            complete_ms,
        };
        let known = Some((world.fast_fixed_ms, fast_ms_per_row));
        let chosen = Knowledge::of(&mut sql, known, complete_ms)
            .await
            .live(&world, [950; 400])
            .await;
        let spent: f64 = chosen.iter().map(|method| world.cost(method, 950)).sum();
        let least = world.least(950) * 400.0;
        assert!(
            spent <= least * 1.1,
            "{fast_ms_per_row} {complete_ms}: {spent} instead of {least}"
        );
    }
}

#[tokio::test]
async fn pending_rows_are_not_counted_beyond_what_decides() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.base (id integer PRIMARY KEY, n integer NOT NULL);
             SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT id, n FROM alice.base')",
        )
        .await;
    let mut module = database.session("refresher").await;
    module.make_fast("alice.mv").await;
    module
        .run("UPDATE mvrefresh.materialized_view_state SET complete_ms = 10, fast_fixed_ms = 5, fast_ms_per_row = 1")
        .await;
    alice
        .run("INSERT INTO alice.base SELECT i, i FROM generate_series(1, 50) AS i")
        .await;
    let refreshed = module.refresh("alice.mv", None).await;
    assert_eq!(refreshed.method, "complete");
    assert_eq!(
        refreshed.reason,
        "more than 4 pending rows: 10.0 ms expected fast or more, 10.0 ms completely; fast is to save a tenth"
    );
    assert_eq!(
        module
            .text("SELECT pending_rows FROM mvrefresh.refresh_history ORDER BY refresh_id DESC LIMIT 1")
            .await,
        "NULL"
    );
    module.assert_exact("alice.mv").await;
}

/// A fast materialized view for which so many rows are pending, and a session of the module.
async fn with_pending(rows: u32) -> (Database, Session) {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.base (id integer PRIMARY KEY, n integer NOT NULL);
             SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT id, n FROM alice.base')",
        )
        .await;
    let mut module = database.session("refresher").await;
    module.make_fast("alice.mv").await;
    let insert = format!("INSERT INTO alice.base SELECT i, i FROM generate_series(1, {rows}) AS i");
    alice.run(&insert).await;
    (database, module)
}

#[tokio::test]
async fn of_a_large_log_a_few_pages_tell_that_there_is_far_more_than_decides() {
    let (_database, mut module) = with_pending(100_000).await;
    let log = "(SELECT log_id FROM mvrefresh.materialized_view_logs), (SELECT last_snapshot FROM mvrefresh.materialized_view_state)";
    for (most, counted) in [("10000", 10_000_i64), ("90000", 90_000), ("NULL", 100_000)] {
        let pending: i64 = module
            .value(&format!(
                "SELECT pending_rows FROM mvrefresh.pending_in_log({log}, {most})"
            ))
            .await;
        assert_eq!(pending, counted, "{most}");
    }
    let read = |most: i64| {
        format!(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS, FORMAT JSON) SELECT mvrefresh.pending_in_log({log}, {most})"
        )
    };
    let mut blocks = Vec::new();
    // a bound that the sample says is far exceeded, and one that it says is not
    for most in [20_000, 90_000] {
        let plan: serde_json::Value = module.value(&read(most)).await;
        blocks.push(plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap());
    }
    // a sample in the one case, and a count besides in the other
    assert!(blocks[0] * 3 < blocks[1], "{blocks:?}");
    module
        .run("UPDATE mvrefresh.materialized_view_state SET complete_ms = 10, fast_fixed_ms = 5, fast_ms_per_row = 0.001")
        .await;
    let refreshed = module.refresh("alice.mv", None).await;
    assert_eq!(refreshed.method, "complete");
    module.assert_exact("alice.mv").await;
}

#[tokio::test]
async fn looking_for_what_is_pending_reads_nothing_of_a_log_that_is_not() {
    let (_database, mut module) = with_pending(50_000).await;
    module.refresh("alice.mv", Some("fast")).await;
    let look = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS, FORMAT JSON)
        SELECT mvrefresh.pending_in_log((SELECT log_id FROM mvrefresh.materialized_view_logs), (SELECT last_snapshot FROM mvrefresh.materialized_view_state))";
    // the first one fills the catalog's caches
    let _: serde_json::Value = module.value(look).await;
    let plan: serde_json::Value = module.value(look).await;
    let blocks = plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap();
    assert!(blocks < 30, "{plan}");
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
        .run("UPDATE mvrefresh.materialized_view_state SET complete_ms = 100000, fast_fixed_ms = 0.5, fast_ms_per_row = 0.01")
        .await;
    alice.run("DELETE FROM alice.base WHERE id = 1").await;
    let refreshed = module.refresh("alice.mv", None).await;
    assert_eq!(refreshed.method, "fast");
    assert_eq!(
        refreshed.reason,
        "1 pending row: 0.5 ms expected fast, 100000.0 ms completely"
    );
    module
        .run("UPDATE mvrefresh.materialized_view_state SET complete_ms = 0.001, fast_fixed_ms = 500, fast_ms_per_row = 10")
        .await;
    alice.run("DELETE FROM alice.base WHERE id = 2").await;
    let refreshed = module.refresh("alice.mv", None).await;
    assert_eq!(refreshed.method, "complete");
    assert_eq!(
        module
            .text("SELECT reason FROM mvrefresh.refresh_history ORDER BY refresh_id DESC LIMIT 1")
            .await,
        "pending rows: 510.0 ms expected fast or more, 0.0 ms completely"
    );
    module.assert_exact("alice.mv").await;
}
