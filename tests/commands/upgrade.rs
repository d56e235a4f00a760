//! `upgrade`.

use crate::shop::{NEGATIVE, Shop, TOTALS, assert_contains};

#[tokio::test]
async fn upgrade_keeps_settings_and_reports_what_no_longer_fits() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS, "--every", "42s"])
        .await;
    shop.does(&["create", "ids", "--query", "SELECT order_id FROM orders"])
        .await;
    let dropped = shop.does(&["upgrade", "drop"]).await;
    assert_contains(&dropped, &["dropped public.totals", "dropped public.ids"]);
    assert_eq!(shop.sql("SELECT to_regclass('totals') IS NULL"), "t");
    assert_contains(&shop.does(&["status"]).await, &["dropped"]);
    shop.execute("ALTER TABLE orders RENAME order_id TO id")
        .await;
    let finished = shop.run(&["upgrade", "recreate"]).await;
    assert_eq!(finished.code, Some(NEGATIVE), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &[
            "recreated public.totals",
            "public.ids failed: column",
            "order_id",
        ],
    );
    let rate =
        "SELECT refresh_rate_in_sec FROM mvrefresh.materialized_views WHERE mv_name = 'totals'";
    assert_eq!(shop.sql(rate), "42");
    shop.does(&["verify", "totals"]).await;
    shop.execute("ALTER TABLE orders RENAME id TO order_id")
        .await;
    shop.does(&["upgrade", "recreate"]).await;
    let nothing = shop.does(&["upgrade", "recreate"]).await;
    assert_contains(&nothing, &["no materialized view was dropped"]);
}
