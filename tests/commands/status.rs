//! `status`, `history`, `self-check`.

use crate::shop::{DATA, LOTTERY, NEGATIVE, Shop, TOTALS, assert_contains};

#[tokio::test]
async fn status_shows_every_view_its_schedule_and_its_staleness() {
    let shop = Shop::open().await;
    assert_contains(&shop.does(&["status"]).await, &["no materialized views"]);
    shop.does(&["create", "late", "--query", TOTALS, "--every", "30s"])
        .await;
    shop.does(&["create", "daily", "--query", TOTALS, "--cron", "@daily"])
        .await;
    shop.does(&["create", "empty", "--query", TOTALS, "--no-data"])
        .await;
    shop.does(&["create", "off", "--query", TOTALS, "--every", "1h"])
        .await;
    shop.does(&["alter", "off", "--disable"]).await;
    shop.execute(
        "UPDATE mvrefresh.materialized_view_state SET last_refresh = clock_timestamp() - interval '95 s'
         WHERE mv_id = (SELECT mv_id FROM mvrefresh.materialized_views WHERE mv_name = 'late')",
    )
    .await;
    let text = shop.does(&["status"]).await;
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert_contains(
        line("public.late"),
        &["ok", "auto: complete", "every 30s", "1m 35s (late)", "now"],
    );
    assert_contains(line("public.daily"), &["cron @daily (UTC)", "in "]);
    assert_contains(line("public.empty"), &["empty", "on request"]);
    assert_contains(line("public.off"), &["disabled", "never"]);
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 110, "{text}");

    let data = shop.data(&["status"]).await;
    let rows = data.as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["mv_name"] == name).unwrap();
    assert_eq!(of("late")["late"], true);
    assert_eq!(of("daily")["late"], false);
    assert!(of("daily")["next_due"].is_string());
    assert!(of("off")["next_due"].is_null());
    assert_eq!(of("late")["refresh_rate_in_sec"], 30);
    assert_eq!(of("late")["pending_rows"], 0);
    assert_eq!(of("late")["program"]["is_fast"], true);
    assert_eq!(of("late")["last_reason"], "first fill");
}

#[tokio::test]
async fn status_counts_what_is_pending_and_tells_why_a_view_is_not_refreshed_fast() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    shop.does(&["create", "lottery", "--query", LOTTERY]).await;
    shop.execute("UPDATE orders SET price = price + 1 WHERE order_id < 3")
        .await;
    let data = shop.data(&["status"]).await;
    let rows = data.as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["mv_name"] == name).unwrap();
    assert_eq!(of("totals")["pending_rows"], 4);
    assert!(of("lottery")["pending_rows"].is_null());
    let text = shop.does(&["status"]).await;
    assert_contains(
        &text,
        &["public.lottery is refreshed completely: ", "random"],
    );
    shop.does(&["refresh", "totals"]).await;
    let text = shop.does(&["status"]).await;
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert_contains(line("public.totals"), &["auto: fast"]);
    let history = shop.does(&["history", "--limit", "1"]).await;
    assert_contains(&history, &["sql  fast", "4 pending rows"]);
}

#[tokio::test]
async fn history_shows_the_latest_of_all_or_of_one_also_after_its_end() {
    let shop = Shop::open().await;
    assert_eq!(shop.does(&["history"]).await, "no refreshes yet\n");
    for name in ["a", "b"] {
        shop.does(&["create", name, "--query", TOTALS]).await;
    }
    shop.execute("INSERT INTO orders VALUES (4, 3, 1)").await;
    shop.does(&["refresh", "a"]).await;
    let all = shop.data(&["history"]).await;
    let triggers: Vec<_> = all.as_array().unwrap().iter().collect();
    assert_eq!(triggers.len(), 3);
    assert_eq!(triggers[0]["mv_name"], "public.a");
    assert_eq!(triggers[0]["trigger"], "sql");
    let latest = shop.data(&["history", "--limit", "1"]).await;
    assert_eq!(latest.as_array().unwrap().len(), 1);
    shop.does(&["drop", "a"]).await;
    for name in ["a", "public.a", "PUBLIC.\"a\""] {
        let of_a = shop.data(&["history", name]).await;
        assert_eq!(of_a.as_array().unwrap().len(), 2, "{name}");
    }
    let unknown = shop.refuses(DATA, &["history", "other.a"]).await;
    assert_contains(&unknown, &["\"other.a\" does not exist"]);
}

#[tokio::test]
async fn self_check_names_what_is_damaged() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    let fine = shop.does(&["self-check"]).await;
    assert_contains(&fine, &["objects, all fine"]);
    shop.execute(
        "DROP TRIGGER announce_settings ON mvrefresh.materialized_view_settings; DROP TABLE totals",
    )
    .await;
    let finished = shop.run(&["self-check"]).await;
    assert_eq!(finished.code, Some(NEGATIVE), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &[
            "announce_settings on materialized_view_settings",
            "missing",
            "dropped by hand",
            "2 not fine",
        ],
    );
}

#[tokio::test]
async fn whoever_may_read_the_dictionary_sees_status_and_history() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    shop.server
        .create_role("viewer", "IN ROLE mvrefresh_view")
        .await;
    for command in ["status", "history"] {
        let finished = shop.run_as("viewer", &[command]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_contains(&finished.stdout, &["public.totals"]);
    }
}
