//! `alter`, `resume`.

use crate::shop::{DATA, LOTTERY, Shop, TOTALS, assert_contains};

const SETTINGS: &str =
    "SELECT refresh_rate_in_sec, refresh_cron, refresh_time_zone, refresh_method, complete_form,
     refresh_group, enabled FROM mvrefresh.materialized_views";

#[tokio::test]
async fn alter_changes_what_is_named_and_nothing_else() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS, "--every", "30s"])
        .await;
    for (change, settings) in [
        (&["--every", "5m"][..], "300|||auto|in_place||t"),
        (&["--group", "sales"], "300|||auto|in_place|sales|t"),
        (
            &["--cron", "@daily", "--time-zone", "Europe/Berlin"],
            "|@daily|Europe/Berlin|auto|in_place|sales|t",
        ),
        (
            &["--method", "complete", "--complete-form", "rebuild"],
            "|@daily|Europe/Berlin|complete|rebuild|sales|t",
        ),
        (&["--no-schedule"], "|||complete|rebuild|sales|t"),
        (&["--disable", "--no-group"], "|||complete|rebuild||f"),
        (&["--enable"], "|||complete|rebuild||t"),
    ] {
        let arguments = [&["alter", "totals"], change].concat();
        let printed = shop.does(&arguments).await;
        assert_contains(&printed, &["altered public.totals: refreshed "]);
        assert_eq!(shop.sql(SETTINGS), settings, "{change:?}");
    }
}

#[tokio::test]
async fn alter_refuses_what_can_not_be_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS, "--every", "30s"])
        .await;
    shop.does(&["create", "lottery", "--query", LOTTERY]).await;
    let fast = shop
        .refuses(
            DATA,
            &["alter", "lottery", "--every", "5s", "--method", "fast"],
        )
        .await;
    assert_contains(
        &fast,
        &[
            "public.lottery can not be refreshed fast: ",
            "random",
            "Hint: ",
        ],
    );
    shop.does(&["drop", "lottery"]).await;
    let cron = shop
        .refuses(DATA, &["alter", "totals", "--cron", "61 * * * *"])
        .await;
    assert_contains(&cron, &["minute", "\"61\" is outside"]);
    assert_eq!(shop.sql(SETTINGS), "30|||auto|in_place||t");
}

#[tokio::test]
async fn a_view_switched_to_fast_is_compiled_at_once() {
    let shop = Shop::open().await;
    shop.does(&[
        "create", "totals", "--query", TOTALS, "--method", "complete",
    ])
    .await;
    let printed = shop.does(&["alter", "totals", "--method", "fast"]).await;
    assert_contains(&printed, &["method fast", "fast refresh: yes"]);
    shop.execute("INSERT INTO orders VALUES (4, 3, 1)").await;
    // its rows are of before there were logs
    let first = shop.does(&["refresh", "totals"]).await;
    assert_contains(&first, &["complete (in_place)", "since it was compiled"]);
    shop.execute("INSERT INTO orders VALUES (5, 3, 1)").await;
    assert_contains(&shop.does(&["refresh", "totals"]).await, &[": fast, "]);
    shop.does(&["verify", "totals"]).await;
}

#[tokio::test]
async fn resume_ends_a_suspension() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS, "--every", "30s"])
        .await;
    shop.execute(
        "SELECT mvrefresh.record_failure(mv_id, 'schedule', now(), 'it broke', '42P01', NULL, true)
         FROM mvrefresh.materialized_views",
    )
    .await;
    let status = shop.does(&["status"]).await;
    assert_contains(
        &status,
        &["suspended", "it broke", "mvrefreshd resume 'public.totals'"],
    );
    let printed = shop.does(&["resume", "public.totals"]).await;
    assert_contains(&printed, &["resumed public.totals; due next: "]);
    let status = "SELECT status FROM mvrefresh.materialized_views";
    assert_eq!(shop.sql(status), "failing");
    shop.does(&["refresh", "totals"]).await;
    assert_eq!(shop.sql(status), "ok");
}
