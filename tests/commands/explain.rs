//! `explain`.

use crate::shop::{DATA, Shop, TOTALS, assert_contains};

#[tokio::test]
async fn explain_tells_what_a_view_reads_and_how_its_rows_are_paired() {
    let shop = Shop::open().await;
    shop.execute("CREATE VIEW cheap AS SELECT * FROM orders WHERE price < 15")
        .await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    shop.does(&[
        "create",
        "joined",
        "--query",
        "SELECT cheap.order_id, total, '{}'::json AS doc FROM cheap JOIN totals USING (customer_id)",
    ])
    .await;
    let text = shop.does(&["explain", "joined"]).await;
    assert_contains(
        &text,
        &[
            "public.cheap (view)",
            "public.totals (materialized view)",
            "public.orders (table, through public.cheap)",
            "fast refresh: no: this version knows complete refresh only",
            "rows are paired by: a hash of the whole row",
            "doc (json)",
            "TimeZone=",
            "FROM (public.cheap",
        ],
    );
    shop.execute("CREATE UNIQUE INDEX joined_key ON joined (order_id)")
        .await;
    let text = shop.does(&["explain", "joined", "--sql"]).await;
    assert_contains(
        &text,
        &[
            "unique index public.joined_key (order_id)",
            "CREATE OR REPLACE FUNCTION mvrefresh.\"complete_in_place$2\"",
        ],
    );
    let data = shop.data(&["explain", "joined"]).await;
    assert_eq!(data["refresh"]["paired_by"]["columns"][0], "order_id");
    assert_eq!(data["full_name"], "public.joined");
    assert_eq!(data["functions"].as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn explain_names_what_changes_by_itself() {
    let shop = Shop::open().await;
    shop.execute("CREATE VIEW lucky AS SELECT * FROM orders WHERE random() < 2")
        .await;
    let query = "SELECT order_id, now() AS at, CURRENT_DATE AS today, upper('x') FROM lucky";
    let text = shop.does(&["explain", "--query", query]).await;
    assert_contains(
        &text,
        &[
            "volatile function: random(): verify can't be exact",
            "depends on the time: now()",
            "depends on the time: CURRENT_DATE",
        ],
    );
    assert!(!text.contains("upper(text)"), "{text}");
}

#[tokio::test]
async fn explaining_a_query_leaves_nothing_behind_and_shows_where_it_is_wrong() {
    let shop = Shop::open().await;
    let text = shop.does(&["explain", "--query", TOTALS]).await;
    assert_contains(&text, &["public.orders (table)", "GROUP BY"]);
    let relations = "SELECT count(*) FROM pg_class WHERE relname LIKE 'mvrefreshd%'";
    assert_eq!(shop.sql(relations), "0");
    let wrong = shop
        .refuses(DATA, &["explain", "--query", "SELECT 1 AS a,\n 2 AS a"])
        .await;
    assert_contains(&wrong, &["\"a\" specified more than once"]);
    let no_view = shop
        .refuses(DATA, &["explain", "--query", "DELETE FROM orders"])
        .await;
    assert_contains(&no_view, &["syntax error", "line 1, column 1", "^"]);
}

#[tokio::test]
async fn explain_names_the_missing_privileges() {
    let shop = Shop::open().await;
    shop.server
        .create_role("ann", "IN ROLE mvrefresh_execute")
        .await;
    let finished = shop.run_as("ann", &["explain", "--query", TOTALS]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &["missing: GRANT SELECT ON public.orders TO ann;"],
    );
    // two of its columns are all that the query needs
    shop.execute("GRANT SELECT (customer_id, price) ON orders TO ann")
        .await;
    let finished = shop.run_as("ann", &["explain", "--query", TOTALS]).await;
    assert!(!finished.stdout.contains("missing"), "{finished:?}");
}

#[tokio::test]
async fn explain_tells_what_keeps_a_view_from_being_refreshed() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    shop.execute("DROP TABLE totals").await;
    let text = shop.does(&["explain", "totals"]).await;
    assert_contains(
        &text,
        &["problem: ", "dropped by hand", "recreate_materialized_view"],
    );
}
