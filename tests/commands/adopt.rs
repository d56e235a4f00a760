//! `adopt`.

use crate::shop::{DATA, Shop, TOTALS, assert_contains};

#[tokio::test]
async fn adopt_puts_a_native_view_on_a_schedule_and_drop_takes_it_off_again() {
    let shop = Shop::open().await;
    shop.execute(&format!("CREATE MATERIALIZED VIEW native AS {TOTALS}"))
        .await;
    let printed = shop.does(&["adopt", "native", "--every", "10m"]).await;
    assert_eq!(printed, "adopted public.native: refreshed every 10m\n");
    shop.execute("DELETE FROM orders WHERE order_id = 3").await;
    let refreshed = shop.does(&["refresh", "native"]).await;
    assert_contains(&refreshed, &["refreshed public.native: complete (plain)"]);
    assert_eq!(shop.sql("SELECT count(*) FROM native"), "1");
    shop.does(&["verify", "native"]).await;
    let explained = shop.does(&["explain", "native"]).await;
    assert_contains(
        &explained,
        &["REFRESH MATERIALIZED VIEW", "public.orders (table)"],
    );
    let again = shop
        .refuses(DATA, &["adopt", "native", "--every", "10m"])
        .await;
    assert_contains(&again, &["adopted already"]);
    let dropped = shop.does(&["drop", "native"]).await;
    assert_contains(&dropped, &["native MATERIALIZED VIEW stays"]);
    assert_eq!(shop.sql("SELECT count(*) FROM native"), "1");
}

#[tokio::test]
async fn adopting_all_takes_those_that_are_not_adopted_yet_and_the_user_s_own() {
    let shop = Shop::open().await;
    shop.server
        .create_role("ann", "IN ROLE mvrefresh_execute")
        .await;
    shop.execute(&format!(
        "CREATE MATERIALIZED VIEW one AS {TOTALS};
         CREATE MATERIALIZED VIEW \"Two\" AS {TOTALS};
         CREATE MATERIALIZED VIEW hers AS SELECT 1 AS one;
         ALTER MATERIALIZED VIEW hers OWNER TO ann"
    ))
    .await;
    let finished = shop
        .run_as("ann", &["adopt", "--all", "--cron", "0 3 * * *"])
        .await;
    // the module's role is a member of every role, being a superuser
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        finished.stdout,
        "adopted public.hers: refreshed cron 0 3 * * * (UTC)\n1 adopted\n"
    );
    let data = shop.data(&["adopt", "--all", "--every", "1h"]).await;
    let names: Vec<&str> = data
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["mv_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["public.\"Two\"", "public.one"]);
    assert_contains(
        &shop.does(&["adopt", "--all", "--every", "1h"]).await,
        &["no native materialized view is left to adopt"],
    );
}

#[tokio::test]
async fn an_adopted_view_is_refreshed_with_the_settings_it_was_adopted_with() {
    let shop = Shop::open().await;
    shop.execute("ALTER DATABASE postgres SET timezone TO 'Asia/Tokyo'")
        .await;
    shop.sql(
        "CREATE MATERIALIZED VIEW native AS SELECT date_trunc('day', timestamptz '2024-06-30 23:30+00')::text AS day",
    );
    let day = shop.sql("TABLE native");
    assert_eq!(day, "2024-07-01 00:00:00+09");
    shop.does(&["adopt", "native", "--every", "1h"]).await;
    // as the daemon, whose sessions have other settings
    shop.sql(
        "SET timezone TO 'UTC'; SELECT mvrefresh.perform_refresh(mv_id, 'schedule') FROM mvrefresh.materialized_views",
    );
    assert_eq!(shop.sql("TABLE native"), day);
}
