//! `uninstall`.

use crate::shop::{CONFIGURATION, NEGATIVE, Shop, TOTALS, USAGE, assert_contains};

const TRACES: &str = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'mvrefresh%')
                           + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'mvrefresh%')
                           + (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)";

#[tokio::test]
async fn uninstall_leaves_the_views_as_plain_tables_and_no_other_trace() {
    let shop = Shop::open().await;
    shop.execute("CREATE VIEW source AS SELECT * FROM orders")
        .await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    shop.execute("SELECT mvrefresh.create_materialized_view_as('source')")
        .await;
    let asked = shop.refuses(USAGE, &["uninstall"]).await;
    assert_contains(&asked, &["no terminal", "--yes"]);
    let printed = shop.does(&["uninstall", "--yes"]).await;
    assert_contains(
        &printed,
        &[
            "removed the module schema \"mvrefresh\"",
            "public.totals stays as a plain table",
            "public.source_mt_base",
        ],
    );
    assert_eq!(shop.sql(TRACES), "0");
    assert_eq!(shop.sql("SELECT count(*) FROM totals"), "2");
    let again = shop.refuses(CONFIGURATION, &["uninstall", "--yes"]).await;
    assert_contains(&again, &["is not installed"]);
}

#[tokio::test]
async fn uninstall_drops_the_views_when_told_to_all_or_none() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    shop.does(&["create", "read_by_a_user", "--query", TOTALS])
        .await;
    shop.execute("CREATE VIEW reader AS SELECT * FROM read_by_a_user")
        .await;
    let refused = shop
        .refuses(NEGATIVE, &["uninstall", "--drop-views", "--yes"])
        .await;
    assert_contains(
        &refused,
        &["nothing was changed", "public.read_by_a_user failed: "],
    );
    assert_eq!(shop.sql("SELECT count(*) FROM totals"), "2");
    shop.does(&["self-check"]).await;
    shop.execute("DROP VIEW reader").await;
    shop.does(&["uninstall", "--drop-views", "--yes"]).await;
    assert_eq!(shop.sql(TRACES), "0");
    assert_eq!(
        shop.sql("SELECT to_regclass('totals') IS NULL AND to_regclass('read_by_a_user') IS NULL"),
        "t"
    );
}

#[tokio::test]
async fn roles_that_are_used_elsewhere_stay_and_are_named() {
    let shop = Shop::open().await;
    shop.execute("GRANT SELECT ON orders TO mvrefresh_view")
        .await;
    let data = shop.data(&["uninstall", "--yes"]).await;
    assert_eq!(data["roles_left"], serde_json::json!(["mvrefresh_view"]));
}
