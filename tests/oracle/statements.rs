//! What the compiler writes for a few views, and why it refuses others. After a change that is meant:
//! `UPDATE_STATEMENTS=1 cargo test --test oracle`, and read the difference.

use std::path::Path;
use std::{env, fs};

use mvrefreshd::incremental::FastRefresh;

use crate::case::Session;
use crate::common::TestServer;

const TABLES: &str = "
    CREATE TABLE customers (customer_id integer PRIMARY KEY, name text NOT NULL, region text);
    CREATE TABLE orders (order_id integer PRIMARY KEY, customer_id integer NOT NULL, ordered_on date, amount numeric(10,2) NOT NULL,
                         weight numeric, discount float8, is_paid boolean, product_id integer);
    CREATE TABLE products (product_id integer PRIMARY KEY, title text NOT NULL, is_sold boolean NOT NULL);
    CREATE TABLE \"Odd\"\"Names\" (\"select\" integer, \"a b\" text);
    CREATE VIEW paid_orders AS SELECT * FROM orders WHERE is_paid;";

const CANONICAL: &[(&str, &str)] = &[
    (
        "filter",
        "SELECT order_id, amount * 2 AS twice FROM orders WHERE amount > 10 OR is_paid IS NULL",
    ),
    (
        "join",
        "SELECT o.order_id, c.name, o.amount FROM orders o JOIN customers c USING (customer_id)",
    ),
    (
        "star",
        "SELECT o.order_id, c.name, p.title, o.amount FROM orders o JOIN customers c USING (customer_id) JOIN products p USING (product_id) WHERE p.is_sold",
    ),
    (
        "self_join",
        "SELECT a.order_id, b.order_id AS later FROM paid_orders a JOIN paid_orders b ON a.customer_id = b.customer_id AND a.ordered_on < b.ordered_on",
    ),
    (
        "group_by",
        "SELECT c.region, count(*) AS n, sum(o.amount) AS total, avg(o.amount) AS mean FROM orders o JOIN customers c USING (customer_id) GROUP BY c.region HAVING count(*) > 1",
    ),
    (
        "chain_of_joins",
        "SELECT later.name, sum(o.amount * (1 - o.discount::numeric)) AS total, sum(o.amount * o.order_id) AS weighed FROM orders o, customers c, customers later WHERE o.customer_id = c.customer_id AND later.name > c.name AND o.is_paid GROUP BY later.name",
    ),
    (
        "min_max",
        "SELECT customer_id, min(ordered_on) AS first, max(ordered_on) FILTER (WHERE is_paid) AS last_paid FROM orders GROUP BY customer_id",
    ),
    ("distinct", "SELECT DISTINCT region FROM customers"),
    (
        "union_all",
        "SELECT name FROM customers UNION ALL SELECT \"a b\" FROM \"Odd\"\"Names\" WHERE \"select\" = 1",
    ),
    (
        "total",
        "SELECT count(*) AS n, sum(weight) AS weight, bool_and(is_paid) AS all_paid FROM orders",
    ),
    (
        "left_join",
        "SELECT c.name, o.order_id, o.amount FROM customers c LEFT JOIN orders o USING (customer_id)",
    ),
    (
        "not_exists",
        "SELECT c.name FROM customers c WHERE NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND o.is_paid)",
    ),
    (
        "histogram",
        "SELECT n, count(*) AS customers FROM (SELECT c.customer_id, count(o.order_id) AS n FROM customers c LEFT JOIN orders o USING (customer_id) GROUP BY c.customer_id) x GROUP BY n",
    ),
    (
        "scalar_subquery",
        "WITH paid AS (SELECT customer_id, amount FROM orders WHERE is_paid) SELECT c.name, (SELECT sum(p.amount) FROM paid p WHERE p.customer_id = c.customer_id) AS paid FROM customers c",
    ),
    (
        "division",
        "SELECT name FROM customers c WHERE NOT EXISTS (SELECT FROM orders o WHERE NOT EXISTS (SELECT FROM orders e WHERE e.customer_id = c.customer_id AND e.ordered_on = o.ordered_on))",
    ),
    (
        "ordered_aggregates",
        "SELECT region, count(DISTINCT name) AS names, string_agg(name, ', ' ORDER BY name) AS listed FROM customers GROUP BY region",
    ),
    (
        "float_sums",
        "SELECT c.region, count(*) AS orders, sum(o.discount) AS discounts, avg(o.discount::real) AS mean FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id GROUP BY c.region HAVING count(*) > 1",
    ),
    (
        "except_all",
        "SELECT customer_id FROM customers EXCEPT ALL SELECT customer_id FROM orders",
    ),
    (
        "window",
        "SELECT order_id, rank() OVER (PARTITION BY customer_id ORDER BY amount DESC) AS place, sum(amount) OVER (PARTITION BY ordered_on) AS of_day FROM orders",
    ),
    (
        "limit",
        "SELECT name, amount FROM orders JOIN customers USING (customer_id) ORDER BY amount DESC, order_id LIMIT 10",
    ),
    (
        "distinct_on",
        "SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders ORDER BY customer_id, ordered_on DESC, order_id",
    ),
    (
        "rollup",
        "SELECT region, name, count(*) AS n, grouping(region, name) AS level FROM customers GROUP BY ROLLUP (region, name)",
    ),
];

const REFUSED: &[(&str, &str)] = &[
    (
        "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT order_id FROM orders WHERE order_id IN (SELECT n FROM x)",
        "WITH RECURSIVE: its rows depend on rows of itself",
    ),
    (
        "SELECT name, (SELECT amount FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c",
        "a subquery as a value: that it gives at most one row can't be told",
    ),
    (
        "SELECT order_id, (SELECT count(*) FROM orders e WHERE e.weight < o.weight) FROM orders o",
        "a subquery that depends on the row outside: equal values of numeric may differ in their digits (1.0 and 1.00); cast to numeric(precision, scale)",
    ),
    (
        "SELECT customer_id, (SELECT sum(o.amount) FROM customers) FROM orders o GROUP BY customer_id",
        "an aggregate in a subquery: it reads columns of the query outside alone, and so is an aggregate of that one",
    ),
    (
        "SELECT c.name FROM customers c LEFT JOIN orders o ON EXISTS (SELECT FROM orders e WHERE e.customer_id = c.customer_id AND e.amount = o.amount)",
        "a subquery in ON: it depends on rows of both sides of an outer join",
    ),
    (
        "SELECT order_id FROM orders LIMIT 3",
        "LIMIT: which rows it takes depends on the order in which they are read; add ORDER BY",
    ),
    (
        "SELECT order_id FROM orders ORDER BY ordered_on OFFSET 3",
        "LIMIT: which of the rows that ORDER BY takes for equal it takes depends on the order in which they are read; order by a unique key, too",
    ),
    (
        "SELECT DISTINCT ON (customer_id) customer_id, order_id FROM orders ORDER BY customer_id, ordered_on",
        "DISTINCT ON: which of the rows that ORDER BY takes for equal it takes depends on the order in which they are read; order by a unique key, too",
    ),
    (
        "SELECT order_id, now() FROM orders",
        "now(…): it depends on the time of the refresh",
    ),
    (
        "SELECT sum(discount) AS discounts FROM orders GROUP BY customer_id",
        "sum(…): sum of floating-point numbers depends on the order of the rows, and rows can't be found by their groups, as not all that is grouped by is shown; cast to numeric, or add ORDER BY of what it is over",
    ),
    (
        "SELECT customer_id, sqrt(avg(discount)) AS root FROM orders GROUP BY customer_id",
        "avg(…): avg of floating-point numbers depends on the order of the rows, and bounds of what is computed from it are not known; cast to numeric, or add ORDER BY of what it is over",
    ),
    (
        "SELECT customer_id FROM orders GROUP BY customer_id HAVING sum(discount) > 1",
        "sum(…): sum of floating-point numbers depends on the order of the rows, and HAVING depends on it; cast to numeric, or add ORDER BY of what it is over",
    ),
    (
        "SELECT name, (SELECT sum(discount) FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c",
        "sum(…): sum of floating-point numbers depends on the order of the rows, and it is not in the select list of the outermost GROUP BY; cast to numeric, or add ORDER BY of what it is over",
    ),
    (
        "SELECT customer_id, sum(discount) OVER (PARTITION BY customer_id) FROM orders",
        "sum(…): sum of floating-point numbers depends on the order of the rows; cast to numeric",
    ),
    (
        "SELECT customer_id, stddev(discount) FROM orders GROUP BY customer_id",
        "stddev(…): stddev of floating-point numbers depends on the order of the rows; cast to numeric, or add ORDER BY of what it is over",
    ),
    (
        "SELECT weight, count(*) FROM orders GROUP BY weight",
        "GROUP BY: equal values of numeric may differ in their digits (1.0 and 1.00); cast to numeric(precision, scale)",
    ),
    (
        "SELECT discount FROM orders UNION SELECT 1.0::float8 FROM orders",
        "UNION over column discount: values of type float8 may be equal and not the same",
    ),
    (
        "SELECT name, row_number() OVER (ORDER BY name) FROM customers",
        "row_number() OVER: without PARTITION BY any change may change the values of all rows",
    ),
    (
        "SELECT customer_id, row_number() OVER (PARTITION BY region ORDER BY name) FROM customers",
        "row_number() OVER: its value depends on the order in which rows are read that are equal for PARTITION BY and ORDER BY; order by a unique key, too",
    ),
    (
        "SELECT amount, sum(amount) OVER (PARTITION BY customer_id ORDER BY ordered_on ROWS UNBOUNDED PRECEDING) FROM orders",
        "sum() OVER: its value depends on the order in which rows are read that are equal for PARTITION BY and ORDER BY; order by a unique key, too",
    ),
    (
        "SELECT weight FROM orders EXCEPT SELECT weight FROM orders WHERE is_paid",
        "EXCEPT over column weight: equal values of numeric may differ in their digits (1.0 and 1.00); cast to numeric(precision, scale)",
    ),
    (
        "SELECT region, array_agg(name) FROM customers GROUP BY region",
        "array_agg(…): its value depends on the order in which rows are read; add ORDER BY",
    ),
    (
        "SELECT region, string_agg(name, ', ' ORDER BY length(name)) FROM customers GROUP BY region",
        "string_agg(…): rows that ORDER BY takes for equal may come in any order; order by what is aggregated, or by a unique key, too",
    ),
    (
        "SELECT name::date FROM customers",
        "cast from text to date: it depends on settings, or this version does not know it",
    ),
    (
        "SELECT json_agg(DISTINCT o) AS list FROM orders AS o",
        "json_agg(…): this version knows whole rows only in functions that write them, and in JSON aggregates without DISTINCT",
    ),
    (
        "SELECT jsonb_agg(DISTINCT o) AS list FROM orders AS o",
        "jsonb_agg(…): this version knows whole rows only in functions that write them, and in JSON aggregates without DISTINCT",
    ),
    (
        "SELECT order_id, hash_record(o) AS hash FROM orders AS o",
        "hash_record(…): this version knows whole rows only in functions that write them, and in JSON aggregates without DISTINCT",
    ),
    (
        "SELECT ctid FROM orders",
        "column orders.ctid: it is no plain column of what FROM lists (a system column, or one of a query further out)",
    ),
    (
        "SELECT g FROM generate_series(1, 3) AS g",
        "FROM: there is no base table",
    ),
    (
        "SELECT name COLLATE some_case, count(*) FROM customers GROUP BY 1",
        "GROUP BY: strings may be equal and not the same under collation \"shop\".\"some_case\"",
    ),
];

/// Of this one the whole function is kept, which has most statements twice: for few rows and for many.
const WHOLE: &str = "filter";

/// Every statement of a refresh, once.
fn each_statement(refresh: &FastRefresh) -> String {
    let variants = refresh.variants.iter().map(|variant| {
        let tables: Vec<&str> = variant
            .tables
            .iter()
            .map(|place| refresh.logs[*place].as_str())
            .collect();
        format!(
            "-- if nothing is pending but in {}\n{};\n\n",
            tables.join(" and "),
            variant.statement
        )
    });
    let variants: String = variants.collect();
    format!("{variants}-- else\n{};", refresh.statement)
}

#[tokio::test]
async fn the_statements_of_canonical_views_are_the_ones_that_were_read() {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    session.begin(TABLES).await.unwrap();
    for (name, query) in CANONICAL {
        let refresh = session
            .compiled(query, &["customers", "orders", "Odd\"Names", "products"])
            .await
            .unwrap_or_else(|refusal| panic!("{query}\n{refusal}"));
        let mut text = format!(
            "-- {query}\n\n{}\n\n{}\n",
            if *name == WHOLE {
                refresh.body()
            } else {
                each_statement(&refresh)
            },
            refresh.row_index.as_deref().unwrap_or_default()
        );
        for state in &refresh.states {
            text.extend(["\n", &state.create, "\n\n", &state.rows, ";\n"]);
        }
        if let Some(tolerance) = &refresh.tolerance {
            text.extend(["\n-- the bounds of sums\n", &tolerance.bounds, ";\n"]);
            text.extend([
                "\n-- the rows as they are compared\n",
                &tolerance.rows,
                ";\n",
            ]);
        }
        let lookups: String = refresh
            .plan
            .lookups
            .iter()
            .map(|lookup| {
                format!(
                    "-- {} is looked up by {}\n",
                    lookup.name,
                    lookup.columns.join(", ")
                )
            })
            .collect();
        text.extend(["\n", &lookups]);
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/oracle/statements")
            .join(format!("{name}.sql"));
        if env::var_os("UPDATE_STATEMENTS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let known = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            known, text,
            "{name}: see the head of tests/oracle/statements.rs"
        );
    }
}

#[tokio::test]
async fn what_can_not_be_refreshed_fast_is_refused_by_its_clause() {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    session.begin(TABLES).await.unwrap();
    session
        .begin_more("CREATE COLLATION some_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        .await;
    for (query, reason) in REFUSED {
        let refusal = session
            .compiled(query, &["customers", "orders", "Odd\"Names", "products"])
            .await;
        assert_eq!(
            refusal.map(|refresh| refresh.statement),
            Err((*reason).to_owned()),
            "{query}"
        );
    }
}

/// Groupings of one another, each of which reads the one before it twice: so many are 2ⁿ written out.
fn doubled(levels: usize) -> String {
    let mut with =
        "g0 AS (SELECT customer_id AS id, count(*) AS n FROM orders GROUP BY customer_id)"
            .to_owned();
    for level in 1..=levels {
        let before = level - 1;
        with += &format!(
            ", g{level} AS (SELECT a.id, count(b.n) AS n FROM g{before} AS a JOIN g{before} AS b ON a.id = b.id GROUP BY a.id)"
        );
    }
    format!("WITH {with} SELECT id, n FROM g{levels}")
}

#[tokio::test]
async fn a_query_that_doubles_with_each_level_is_compiled_or_refused_and_keeps_nobody_waiting() {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    session.begin(TABLES).await.unwrap();
    let compiled = session.compiled(&doubled(2), &["orders"]).await;
    assert!(compiled.is_ok(), "{compiled:?}");
    let refused = session.compiled(&doubled(40), &["orders"]).await;
    assert_eq!(
        refused.map(|refresh| refresh.statement),
        Err("subqueries: written out wherever views and queries of WITH are named, there are too many".to_owned())
    );
    // somewhere in between it is the number of ways through them that is too large
    for levels in 3..12 {
        if let Err(refusal) = session.compiled(&doubled(levels), &["orders"]).await {
            assert!(refusal.contains("too many"), "{refusal}");
        }
    }
}
