//! `refresh`.

use crate::shop::{DATA, LOTTERY, NEGATIVE, PERMISSION, Shop, TOTALS, assert_contains};

/// Makes a view look refreshed so many seconds ago.
async fn age(shop: &Shop, name: &str, seconds: u32) {
    shop.execute(&format!(
        "UPDATE mvrefresh.materialized_view_state
         SET last_refresh = clock_timestamp() - interval '{seconds} s'
         WHERE mv_id = (SELECT mv_id FROM mvrefresh.materialized_views WHERE mv_name = '{name}')"
    ))
    .await;
}

/// The names of what a JSON array tells of.
fn names(data: &serde_json::Value) -> Vec<&str> {
    let rows = data.as_array().unwrap();
    rows.iter()
        .map(|row| row["full_name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn refresh_writes_what_has_changed_and_tells_how_much() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    shop.execute("INSERT INTO orders VALUES (4, 3, 1)").await;
    let printed = shop.does(&["refresh", "totals"]).await;
    assert_contains(
        &printed,
        &["refreshed public.totals: fast, 1 row changed, "],
    );
    assert_eq!(shop.sql("SELECT count(*) FROM totals"), "3");
    let last = shop.data(&["history", "--limit", "1"]).await;
    assert_eq!(last[0]["rows_inserted"], 1);
    assert_eq!(last[0]["outcome"], "succeeded");
    assert_eq!(last[0]["method"], "fast");
    assert_eq!(last[0]["pending_rows"], 1);
    shop.execute("DELETE FROM orders WHERE order_id = 4").await;
    let printed = shop
        .does(&["refresh", "totals", "--method", "complete"])
        .await;
    assert_contains(
        &printed,
        &[
            "refreshed public.totals: complete (in_place), 1 row changed, ",
            "; asked for",
        ],
    );
}

#[tokio::test]
async fn a_view_for_which_nothing_is_pending_is_noted_as_right_and_not_refreshed() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    age(&shop, "totals", 3600).await;
    let printed = shop.does(&["refresh", "totals"]).await;
    assert_eq!(printed, "public.totals is unchanged: nothing pending\n");
    let row =
        "SELECT staleness < '1 h', last_method, last_reason FROM mvrefresh.materialized_views";
    assert_eq!(shop.sql(row), "t|none|nothing pending");
    assert_eq!(shop.data(&["history"]).await.as_array().unwrap().len(), 1);
    let all = shop.does(&["refresh", "--all", "--force"]).await;
    assert!(all.is_empty() || all.ends_with("1 unchanged\n"), "{all}");
    // the snapshot noted is one from which changes can be told
    shop.execute("INSERT INTO orders VALUES (4, 3, 1)").await;
    assert_contains(&shop.does(&["refresh", "totals"]).await, &[": fast, 1 row"]);
    shop.does(&["verify", "totals"]).await;
}

#[tokio::test]
async fn what_a_transaction_writes_before_and_after_an_unchanged_refresh_is_not_lost() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    let refresh = "SELECT mvrefresh.refresh_materialized_view('totals')";
    shop.execute(&format!(
        "BEGIN;
         INSERT INTO orders VALUES (4, 3, 1);
         {refresh}; {refresh};
         INSERT INTO orders VALUES (5, 3, 1);
         COMMIT"
    ))
    .await;
    shop.does(&["refresh", "totals"]).await;
    shop.does(&["verify", "totals"]).await;
    assert_eq!(
        shop.sql("SELECT total FROM totals WHERE customer_id = 3"),
        "2"
    );
}

#[tokio::test]
async fn a_refresh_group_is_refreshed_as_a_whole() {
    let shop = Shop::open().await;
    for name in ["a", "b"] {
        shop.does(&["create", name, "--query", TOTALS, "--group", "sales"])
            .await;
    }
    shop.execute("DELETE FROM orders WHERE order_id = 3").await;
    let data = shop.data(&["refresh", "a"]).await;
    assert_eq!(names(&data), ["public.a", "public.b"]);
    assert_eq!(
        shop.sql("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"),
        "1|1"
    );
    shop.does(&["alter", "a", "--disable"]).await;
    let left_out = shop.refuses(DATA, &["refresh", "a"]).await;
    assert_contains(&left_out, &["public.a is disabled", "sales"]);
}

#[tokio::test]
async fn a_failing_refresh_keeps_the_rows_and_is_recorded() {
    let shop = Shop::open().await;
    shop.does(&[
        "create",
        "inverse",
        "--query",
        "SELECT order_id, 1 / price AS i FROM orders",
    ])
    .await;
    shop.execute("UPDATE orders SET price = 0 WHERE order_id = 1")
        .await;
    let refused = shop.refuses(DATA, &["refresh", "inverse"]).await;
    assert_contains(&refused, &["division by zero"]);
    assert_eq!(shop.sql("SELECT count(*) FROM inverse"), "3");
    let row =
        "SELECT status, failures, last_error, last_error_code FROM mvrefresh.materialized_views";
    assert_eq!(shop.sql(row), "failing|1|division by zero|22012");
    let history = shop.does(&["history", "inverse"]).await;
    assert_contains(&history, &["failed: division by zero"]);
    // an attempt by hand neither ends a suspension nor brings the daemon's next attempt forward
    shop.execute(
        "SELECT mvrefresh.record_failure(mv_id, 'schedule', now(), 'it broke', '42P01', '1 h', true)
         FROM mvrefresh.materialized_views",
    )
    .await;
    shop.refuses(DATA, &["refresh", "inverse"]).await;
    let row = "SELECT status, failures, retry_at > now() + interval '50 min' FROM mvrefresh.materialized_views";
    assert_eq!(shop.sql(row), "suspended|3|t");
}

#[tokio::test]
async fn a_method_that_can_not_be_had_is_no_failure_of_the_view() {
    let shop = Shop::open().await;
    shop.does(&["create", "lottery", "--query", LOTTERY]).await;
    let refused = shop
        .refuses(DATA, &["refresh", "lottery", "--method", "fast"])
        .await;
    assert_contains(
        &refused,
        &["public.lottery can not be refreshed fast: ", "random"],
    );
    shop.does(&["alter", "lottery", "--group", "g"]).await;
    let all = ["refresh", "--all", "--force", "--method", "fast"];
    let finished = shop.run(&all).await;
    assert_eq!(finished.code, Some(NEGATIVE), "{finished:?}");
    assert_contains(&finished.stdout, &["public.lottery failed: ", "1 failed"]);
    assert_eq!(
        shop.sql("SELECT status, failures FROM mvrefresh.materialized_views"),
        "ok|0"
    );
}

#[tokio::test]
async fn all_that_are_due_are_refreshed_those_below_first_and_a_failing_one_stops_no_other() {
    let shop = Shop::open().await;
    shop.execute("CREATE VIEW source AS SELECT count(*) AS n FROM orders")
        .await;
    shop.does(&["create", "above", "--view", "source", "--every", "1h"])
        .await;
    for (name, query) in [
        ("base", "SELECT order_id, price FROM orders"),
        ("broken", "SELECT order_id, 1 / price AS i FROM orders"),
        ("fresh", "SELECT order_id FROM orders"),
    ] {
        shop.does(&["create", name, "--query", query, "--every", "1h"])
            .await;
    }
    // from now on the first one reads the second
    shop.execute("CREATE OR REPLACE VIEW source AS SELECT count(*) AS n FROM base")
        .await;
    shop.does(&["refresh", "above"]).await;
    shop.does(&["create", "by_request", "--query", TOTALS])
        .await;
    for name in ["base", "broken", "above"] {
        age(&shop, name, 3601).await;
    }
    shop.execute("INSERT INTO orders VALUES (4, 3, 0)").await;
    let finished = shop.run(&["refresh", "--all"]).await;
    assert_eq!(finished.code, Some(NEGATIVE), "{finished:?}");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_contains(lines[0], &["refreshed public.base"]);
    assert_contains(lines[1], &["public.broken failed: division by zero"]);
    assert_contains(lines[2], &["refreshed public.above", "2 rows changed"]);
    assert_eq!(lines[3..], ["2 refreshed, 1 failed"]);
    assert_eq!(shop.sql("SELECT n FROM above"), "4");
    let recorded =
        "SELECT failures, last_error FROM mvrefresh.materialized_views WHERE mv_name = 'broken'";
    assert_eq!(shop.sql(recorded), "1|division by zero");
    // the failing one is still due
    shop.execute("DELETE FROM orders WHERE order_id = 4").await;
    let again = shop.data(&["refresh", "--all"]).await;
    assert_eq!(names(&again), ["public.broken"]);
    let forced = shop.data(&["refresh", "--all", "--force"]).await;
    assert_eq!(forced.as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn all_refreshes_by_crontab_too_and_a_group_only_once() {
    let shop = Shop::open().await;
    shop.does(&[
        "create",
        "minutely",
        "--query",
        TOTALS,
        "--cron",
        "* * * * *",
    ])
    .await;
    for name in ["a", "b"] {
        shop.does(&[
            "create", name, "--query", TOTALS, "--group", "g", "--every", "1h",
        ])
        .await;
    }
    for name in ["minutely", "a", "b"] {
        age(&shop, name, 7200).await;
    }
    let data = shop.data(&["refresh", "--all"]).await;
    assert_eq!(names(&data), ["public.minutely", "public.a", "public.b"]);
    // freshly refreshed, only a minute boundary could make one due again
    for name in ["minutely", "a", "b"] {
        shop.does(&["alter", name, "--every", "1h"]).await;
    }
    assert_eq!(
        shop.does(&["refresh", "--all"]).await,
        "no materialized view is due; --force refreshes all\n"
    );
}

#[tokio::test]
async fn anothers_view_is_not_refreshed() {
    let shop = Shop::open().await;
    shop.server
        .create_role("ann", "IN ROLE mvrefresh_execute")
        .await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    let finished = shop.run_as("ann", &["refresh", "totals"]).await;
    assert_eq!(finished.code, Some(PERMISSION), "{finished:?}");
    assert_contains(&finished.stderr, &["public.totals belongs to another role"]);
    let all = shop.run_as("ann", &["refresh", "--all", "--force"]).await;
    assert_eq!(all.code, Some(0), "{all:?}");
    assert_contains(&all.stdout, &["no materialized view is due"]);
    assert_eq!(
        shop.sql("SELECT failures FROM mvrefresh.materialized_views"),
        "0"
    );
}
