//! `explain`.

use mvrefreshd::dictionary::indexes::{self, Lookup};
use mvrefreshd::sql::ModuleSchema;
use sqlx::Connection;

use crate::shop::{DATA, LOTTERY, Shop, TOTALS, assert_contains};

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
            "fast refresh: yes",
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
    assert_eq!(data["complete"]["paired_by"]["columns"][0], "order_id");
    assert_eq!(data["full_name"], "public.joined");
    assert_eq!(data["functions"].as_object().unwrap().len(), 3);
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

/// Lines of an explanation that are no SQL.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("  query:"))
}

#[tokio::test]
async fn explain_tells_how_a_view_is_refreshed_fast_and_what_comes_next() {
    let shop = Shop::open().await;
    let query = "SELECT customer_id, count(*) AS orders, sum(price) AS total FROM orders \
                 WHERE price > 1 GROUP BY customer_id";
    let create = ["create", "totals", "--method", "fast", "--query", query];
    shop.does(&create).await;
    let quiet = shop.does(&["explain", "totals"]).await;
    assert_contains(
        &quiet,
        &[
            "next refresh: none needed: nothing pending",
            "fast refresh: yes\n",
            "GROUP BY",
            "a change of public.orders: ",
            "mvrefresh.\"log$1\" of public.orders: 0 rows pending",
            "complete refresh: in place",
        ],
    );
    shop.execute("UPDATE orders SET price = price + 1 WHERE order_id = 1")
        .await;
    shop.does(&["refresh", "totals"]).await;
    shop.execute("UPDATE orders SET price = price + 1 WHERE order_id = 1")
        .await;
    let text = shop.does(&["explain", "totals"]).await;
    assert_contains(
        &text,
        &[
            "next refresh: fast: its refresh method",
            "pending: 2 logged changes",
            "log$1\" of public.orders: 2 rows pending",
            "expected cost now: ",
            " fast, ",
            " completely",
        ],
    );
    let widest = prose(&text).map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 80, "{text}");
    let sql = shop.does(&["explain", "totals", "--sql"]).await;
    assert_contains(
        &sql,
        &[
            "fast$1",
            "CREATE TABLE mvrefresh.\"state$1\"",
            "CREATE INDEX ON ",
        ],
    );
    let data = shop.data(&["explain", "totals"]).await;
    assert_eq!(data["next_refresh"]["method"], "fast");
    assert_eq!(data["next_refresh"]["pending_rows"], 2);
    assert_eq!(data["logs"][0]["pending_rows"], 2);
    assert_eq!(data["fast"]["is_possible"], true);
    assert_eq!(data["program"]["is_fast"], true);
}

#[tokio::test]
async fn explain_names_the_clause_that_rules_out_fast_refresh() {
    let shop = Shop::open().await;
    shop.does(&["create", "lottery", "--query", LOTTERY]).await;
    let text = shop.does(&["explain", "lottery"]).await;
    assert_contains(
        &text,
        &["fast refresh: no: ", "random", "next refresh: complete"],
    );
    let text = shop.does(&["explain", "--query", LOTTERY]).await;
    assert_contains(&text, &["fast refresh: no: ", "random"]);
    let data = shop.data(&["explain", "--query", LOTTERY]).await;
    assert_eq!(data["fast"]["is_possible"], false);
    assert_contains(
        data["fast"]["refused_clause"].as_str().unwrap(),
        &["random"],
    );
}

#[tokio::test]
async fn what_is_not_compiled_yet_or_not_created_yet_is_explained_to_everybody() {
    let shop = Shop::open().await;
    shop.server
        .create_role("ann", "IN ROLE mvrefresh_execute")
        .await;
    shop.execute("GRANT SELECT ON orders TO ann").await;
    shop.sql(&format!(
        "SELECT mvrefresh.create_materialized_view('totals', $${TOTALS}$$)"
    ));
    let view = ["explain", "totals", "--sql"];
    let query = ["explain", "--query", TOTALS, "--sql"];
    for role in ["postgres", "ann"] {
        let finished = shop.run_as(role, &view).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_contains(
            &finished.stdout,
            &[
                "next refresh: complete (in_place): not compiled yet",
                "the daemon compiles it",
                "fast refresh: yes",
                "pg_current_snapshot()",
            ],
        );
        let finished = shop.run_as(role, &query).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_contains(
            &finished.stdout,
            &["fast refresh: yes", "GROUP BY", "state$"],
        );
    }
    let finished = shop.run_as("ann", &["explain", "totals", "--json"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn an_index_is_missing_only_where_none_leads_with_the_column_and_the_table_is_not_small() {
    let shop = Shop::open().await;
    shop.execute(
        "CREATE TABLE \"Big\" (a integer, b integer, \"C c\" integer);
         INSERT INTO \"Big\" SELECT n, n, n FROM generate_series(1, 5000) n;
         CREATE TABLE parts (a integer) PARTITION BY LIST (a);
         CREATE TABLE parts_1 PARTITION OF parts DEFAULT;
         INSERT INTO parts SELECT n FROM generate_series(1, 5000) n;
         CREATE INDEX ON \"Big\" (b, a);
         CREATE INDEX ON \"Big\" (a) WHERE a > 10;
         CREATE INDEX ON \"Big\" ((a + 1));
         ANALYZE",
    )
    .await;
    let number = |table: &str| {
        let number = shop.sql(&format!("SELECT coalesce(to_regclass('{table}')::oid, 1)"));
        number.parse().unwrap()
    };
    let lookup = |table: &str, columns: &[&str]| Lookup {
        table: number(table),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
    };
    let lookups = [
        lookup("public.\"Big\"", &["a"]),
        lookup("public.\"Big\"", &["b"]),
        lookup("public.\"Big\"", &["a", "b"]),
        lookup("public.\"Big\"", &["a", "C c"]),
        lookup("public.parts", &["a"]),
        lookup("public.orders", &["customer_id"]),
        lookup("public.gone", &["a"]),
    ];
    let mut connection = shop.server.connect().await;
    let schema = ModuleSchema::new("mvrefresh");
    let missing = indexes::missing(&mut connection, &schema, &lookups)
        .await
        .unwrap();
    let statements: Vec<&str> = missing
        .iter()
        .map(|index| index.statement.as_str())
        .collect();
    assert_eq!(
        statements,
        [
            "CREATE INDEX CONCURRENTLY ON public.\"Big\" (a);",
            "CREATE INDEX CONCURRENTLY ON public.\"Big\" (a, \"C c\");",
            "CREATE INDEX ON public.parts (a);",
        ]
    );
    for statement in statements {
        shop.execute(statement).await;
    }
    let missing = indexes::missing(&mut connection, &schema, &lookups)
        .await
        .unwrap();
    assert_eq!(missing, []);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn explain_gives_the_statements_for_missing_indexes() {
    let shop = Shop::open().await;
    shop.execute(
        "CREATE TABLE customers (customer_id integer PRIMARY KEY, region text);
         INSERT INTO customers SELECT n, 'r' || n % 5 FROM generate_series(1, 2000) n;
         INSERT INTO orders SELECT n, n % 2000, n FROM generate_series(10, 5000) n;
         ANALYZE",
    )
    .await;
    let query = "SELECT order_id, region FROM orders JOIN customers USING (customer_id)";
    let explain = ["explain", "--query", query];
    let text = shop.does(&explain).await;
    let statement = "CREATE INDEX CONCURRENTLY ON public.orders (customer_id);";
    assert_contains(
        &text,
        &[
            "missing indexes:",
            "public.orders (about 5000 rows) is looked up by customer_id: no index",
            statement,
        ],
    );
    assert_eq!(text.matches("CREATE INDEX").count(), 1, "{text}");
    shop.execute(statement).await;
    let text = shop.does(&explain).await;
    assert!(!text.contains("missing indexes"), "{text}");
}
