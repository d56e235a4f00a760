//! `verify`.

use crate::shop::{DATA, NEGATIVE, Shop, TOTALS, assert_contains};

#[tokio::test]
async fn verify_shows_the_rows_that_differ() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    assert_eq!(
        shop.does(&["verify", "totals"]).await,
        "public.totals: equal (2 rows compared)\n"
    );
    shop.execute("UPDATE totals SET total = 31 WHERE customer_id = 1")
        .await;
    let finished = shop.run(&["verify", "totals"]).await;
    assert_eq!(finished.code, Some(NEGATIVE), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &[
            "different: 2 rows compared, 1 missing, 1 unexpected",
            r#"missing: {"customer_id":1,"total":30}"#,
            r#"unexpected: {"customer_id":1,"total":31}"#,
        ],
    );
    let finished = shop.run(&["verify", "totals", "--json"]).await;
    let data: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(data["verdict"], "different");
    assert_eq!(data["rows_missing"], 1);
}

#[tokio::test]
async fn last_digits_of_sums_of_floating_point_numbers_are_no_difference() {
    let shop = Shop::open().await;
    shop.execute("CREATE TABLE measured AS SELECT i % 2 AS k, 0.1 * i::float8 AS x FROM generate_series(1, 100) AS i")
        .await;
    shop.does(&[
        "create",
        "sums",
        "--query",
        "SELECT k, sum(x) AS total FROM measured GROUP BY k",
    ])
    .await;
    assert_contains(
        &shop.does(&["explain", "sums"]).await,
        &["groups that changed are computed anew from"],
    );
    for (change, code) in [
        ("total = total * (1 + 2.3e-16)", 0),
        ("total = total + 0.0001", NEGATIVE),
    ] {
        shop.execute(&format!("UPDATE sums SET {change} WHERE k = 1"))
            .await;
        let finished = shop.run(&["verify", "sums"]).await;
        assert_eq!(finished.code, Some(code), "{change}: {finished:?}");
    }
}

#[tokio::test]
async fn verifying_all_goes_on_after_differences_and_errors() {
    let shop = Shop::open().await;
    for name in ["a_wrong", "b_broken", "c_right"] {
        shop.does(&[
            "create",
            name,
            "--query",
            "SELECT order_id, 1 / price AS i FROM orders WHERE order_id < 3",
        ])
        .await;
    }
    shop.execute("DELETE FROM a_wrong; ALTER TABLE b_broken ADD extra integer")
        .await;
    let finished = shop.run(&["verify", "--all"]).await;
    assert_eq!(finished.code, Some(NEGATIVE), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &[
            "public.a_wrong: different",
            "public.b_broken: failed: ",
            "\"extra\"",
            "public.c_right: equal",
            "1 equal, 1 different, 0 undecidable, 1 failed",
        ],
    );
    shop.execute("DROP TABLE b_broken").await;
    // nothing is pending, so no other method would look
    shop.does(&["refresh", "a_wrong", "--method", "complete"])
        .await;
    shop.execute("SELECT mvrefresh.drop_materialized_view('b_broken')")
        .await;
    shop.does(&["verify", "--all"]).await;
}

#[tokio::test]
async fn a_volatile_query_is_not_called_different() {
    let shop = Shop::open().await;
    shop.does(&[
        "create",
        "lottery",
        "--query",
        "SELECT order_id, random() AS r FROM orders",
    ])
    .await;
    let finished = shop.run(&["verify", "lottery"]).await;
    assert_eq!(finished.code, Some(DATA), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &["cannot be verified: its query calls random()"],
    );
    // nobody can do anything about it, so a check of all does not fail for ever
    let all = shop.does(&["verify", "--all"]).await;
    assert_contains(&all, &["1 undecidable"]);
}
