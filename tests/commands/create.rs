//! `create`, `drop`.

use crate::shop::{DATA, Shop, TOTALS, assert_contains};

#[tokio::test]
async fn create_from_a_query_fills_and_schedules() {
    let shop = Shop::open().await;
    let printed = shop
        .does(&["create", "totals", "--query", TOTALS, "--every", "30s"])
        .await;
    assert_eq!(
        printed,
        "created public.totals: 2 rows, refreshed every 30s\n"
    );
    assert_eq!(shop.sql("SELECT * FROM totals ORDER BY 1"), "1|30\n2|5");
    let row =
        "SELECT refresh_rate_in_sec, refresh_method, status FROM mvrefresh.materialized_views";
    assert_eq!(shop.sql(row), "30|auto|ok");
}

#[tokio::test]
async fn every_option_of_create_reaches_the_dictionary() {
    let shop = Shop::open().await;
    shop.execute("CREATE VIEW source AS SELECT * FROM orders")
        .await;
    let printed = shop
        .does(&[
            "create",
            "report",
            "--view",
            "source",
            "--cron",
            " 15 6 * * mon-fri ",
            "--time-zone",
            "europe/paris",
            "--method",
            "complete",
            "--complete-form",
            "rebuild",
            "--group",
            "sales",
            "--no-data",
        ])
        .await;
    assert_eq!(
        printed,
        "created public.report: left empty until its first refresh, refreshed cron 15 6 * * mon-fri (Europe/Paris)\n"
    );
    let row = "SELECT refresh_cron, refresh_time_zone, refresh_method, complete_form, refresh_group, v_name, status
               FROM mvrefresh.materialized_views";
    assert_eq!(
        shop.sql(row),
        "15 6 * * mon-fri|Europe/Paris|complete|rebuild|sales|source|empty"
    );
    assert_eq!(shop.sql("SELECT count(*) FROM report"), "0");
}

#[tokio::test]
async fn create_takes_its_query_from_a_file_and_without_schedule_waits_for_requests() {
    let shop = Shop::open().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("totals.sql");
    std::fs::write(&file, format!("{TOTALS};\n")).unwrap();
    let path = file.to_str().unwrap();
    let data = shop.data(&["create", "totals", "--query-file", path]).await;
    assert_eq!(data["full_name"], "public.totals");
    assert_eq!(data["last_rows_changed"], 2);
    assert!(data["refresh_rate_in_sec"].is_null());
    let missing = shop
        .refuses(DATA, &["create", "x", "--query-file", "/no/such/file"])
        .await;
    assert_contains(&missing, &["/no/such/file", "cannot be read"]);
}

#[tokio::test]
async fn names_mean_what_they_mean_in_the_users_search_path() {
    let shop = Shop::open().await;
    shop.execute(
        "CREATE SCHEMA other;
         CREATE TABLE other.orders AS SELECT 7 AS customer_id, 100 AS price;
         ALTER DATABASE postgres SET search_path TO other, public",
    )
    .await;
    let printed = shop.does(&["create", "totals", "--query", TOTALS]).await;
    assert_contains(&printed, &["created other.totals: 1 row"]);
    assert_eq!(shop.sql("SELECT * FROM other.totals"), "7|100");
    shop.does(&["refresh", "totals"]).await;
    shop.does(&["drop", "totals"]).await;
}

#[tokio::test]
async fn names_are_written_as_in_sql_up_to_63_bytes_of_any_script() {
    let shop = Shop::open().await;
    shop.execute("CREATE SCHEMA \"My Shop\"").await;
    let longest = "x".repeat(63);
    for (given, created) in [
        ("Totals", "public.totals".to_owned()),
        ("\"Totals\"", "public.\"Totals\"".to_owned()),
        (
            "\"My Shop\".\"Größe; €\"",
            "\"My Shop\".\"Größe; €\"".to_owned(),
        ),
        (longest.as_str(), format!("public.{longest}")),
    ] {
        let printed = shop.does(&["create", given, "--query", TOTALS]).await;
        assert_contains(&printed, &[&format!("created {created}:")]);
        let refreshed = shop.does(&["refresh", given]).await;
        assert_contains(&refreshed, &[&format!("refreshed {created}:")]);
        shop.does(&["verify", given]).await;
        shop.does(&["explain", given]).await;
        let dropped = shop.does(&["drop", given]).await;
        assert_eq!(dropped, format!("dropped {created}\n"));
    }
    assert_eq!(
        shop.sql("SELECT count(*) FROM mvrefresh.materialized_views"),
        "0"
    );
}

#[tokio::test]
async fn drop_keeps_what_the_module_has_not_made() {
    let shop = Shop::open().await;
    shop.execute("CREATE VIEW source AS SELECT * FROM orders")
        .await;
    shop.does(&["create", "report", "--view", "source"]).await;
    shop.execute("CREATE VIEW reader AS SELECT * FROM report")
        .await;
    let refused = shop.refuses(DATA, &["drop", "report"]).await;
    assert_contains(
        &refused,
        &["other objects depend on it", "Detail: ", "reader"],
    );
    shop.execute("DROP VIEW reader").await;
    shop.does(&["drop", "report"]).await;
    assert_eq!(shop.sql("SELECT count(*) FROM source"), "3");
    assert_eq!(shop.sql("SELECT to_regclass('report') IS NULL"), "t");
}

#[tokio::test]
async fn a_view_created_here_keeps_the_users_settings_as_one_created_in_psql() {
    let shop = Shop::open().await;
    let day = "SELECT date_trunc('day', timestamptz '2024-06-30 23:30+00')::text AS day";
    for (setting, zone) in [
        ("SELECT 1", None),
        (
            "ALTER DATABASE postgres SET timezone TO 'Asia/Tokyo'",
            Some("Asia/Tokyo"),
        ),
        (
            "ALTER ROLE postgres SET \"TimeZone\" TO 'Europe/Berlin'; ALTER ROLE postgres SET datestyle TO 'German'",
            Some("Europe/Berlin"),
        ),
    ] {
        shop.execute(setting).await;
        shop.does(&["create", "here", "--query", day]).await;
        shop.sql(&format!(
            "SELECT mvrefresh.create_materialized_view('there', $${day}$$)"
        ));
        assert_eq!(
            shop.sql("SELECT (TABLE here) = (TABLE there)"),
            "t",
            "{setting}"
        );
        let kept = shop.sql(
            "SELECT DISTINCT session_settings ->> 'TimeZone', session_settings ->> 'DateStyle'
             FROM mvrefresh.materialized_view_settings",
        );
        assert_eq!(kept.lines().count(), 1, "{kept}");
        assert_contains(&kept, &[zone.unwrap_or_default()]);
        shop.does(&["drop", "here"]).await;
        shop.does(&["drop", "there"]).await;
    }
}
