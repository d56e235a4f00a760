//! Views over views and over materialized views, groups, versions of the server.

use crate::common::{Database, TestServer, Upkeep, covered_majors};
use crate::{CHANGES, OTHER_CHANGES, Shop, TABLES, VIEWS};

#[tokio::test]
async fn views_over_views_and_over_materialized_views_follow_fast() {
    let mut shop = Shop::open().await;
    shop.sql
        .run("CREATE VIEW dear AS SELECT * FROM orders WHERE amount > 20;
              SELECT mvrefresh.create_materialized_view('dear_ones', 'SELECT d.order_id, c.region FROM dear d JOIN customers c USING (customer_id)');
              SELECT mvrefresh.create_materialized_view('by_total', 'SELECT t.region, t.total, d.order_id FROM totals t JOIN dear_ones d USING (region)');
              SELECT mvrefresh.create_materialized_view('counted', 'SELECT region, count(*) AS n FROM by_total GROUP BY region')")
        .await;
    shop.upkeep.run().await;
    let above = ["dear_ones", "by_total", "counted"];
    for name in above {
        shop.sql.refresh_fast(name).await;
    }
    let mut writer = shop.writer().await;
    for (number, change) in [
        CHANGES,
        OTHER_CHANGES,
        "UPDATE customers SET region = 'r1' WHERE region = 'r2'",
    ]
    .iter()
    .enumerate()
    {
        writer.run("BEGIN").await;
        writer.run(change).await;
        shop.sql
            .run(&format!(
                "INSERT INTO orders VALUES (10000 + {number}, 8, 30)"
            ))
            .await;
        shop.all_fast("beside").await;
        for name in above {
            shop.sql.assert_fast_after(name, "beside").await;
        }
        writer.run("COMMIT").await;
        // a refresh of the lower view that commits late, too
        writer.run("BEGIN").await;
        writer.refresh_fast("totals").await;
        shop.sql.assert_fast_after("dear_ones", change).await;
        shop.sql.assert_fast_after("by_total", change).await;
        writer.run("COMMIT").await;
        for name in ["joined", "totals", "by_total", "counted"] {
            shop.sql.assert_fast_after(name, change).await;
        }
    }
}

#[tokio::test]
async fn a_refresh_group_is_refreshed_fast_as_of_one_snapshot() {
    let mut shop = Shop::open().await;
    shop.sql
        .run("UPDATE mvrefresh.materialized_views SET refresh_group = 'all'")
        .await;
    let mut writer = shop.writer().await;
    writer.run("BEGIN").await;
    writer.run(CHANGES).await;
    shop.sql.run(OTHER_CHANGES).await;
    for end in ["", "COMMIT"] {
        if !end.is_empty() {
            writer.run(end).await;
        }
        shop.sql.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
        let methods: Vec<String> = shop
            .sql
            .values("SELECT coalesce(method, status) FROM mvrefresh.refresh_materialized_view('joined', 'fast')")
            .await;
        shop.sql.run("COMMIT").await;
        assert_eq!(methods, ["fast"; 4], "{end}");
        for (name, _) in VIEWS {
            shop.sql.assert_same(name, end).await;
        }
    }
}

#[tokio::test]
async fn every_version_of_the_server_refreshes_fast() {
    for major in covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::installed_on(server).await;
        let mut sql = database.admin().await;
        sql.run(TABLES).await;
        let upkeep = Upkeep::of(&database).await;
        let mut shop = Shop {
            database,
            sql,
            upkeep,
        };
        shop.create(VIEWS).await;
        let mut writer = shop.writer().await;
        writer.run("BEGIN").await;
        writer.run(CHANGES).await;
        shop.sql.run(OTHER_CHANGES).await;
        shop.all_fast("the other changes").await;
        writer.run("COMMIT").await;
        shop.all_fast("the late changes").await;
    }
}
