//! `create`, `drop`.

use sqlx::Connection;

use crate::common::{Daemon, Signal, execute, until};
use crate::shop::{DATA, LOTTERY, Shop, TOTALS, assert_contains};

#[tokio::test]
async fn create_from_a_query_fills_and_schedules() {
    let shop = Shop::open().await;
    let printed = shop
        .does(&["create", "totals", "--query", TOTALS, "--every", "30s"])
        .await;
    assert_eq!(
        printed,
        "created public.totals: 2 rows, refreshed every 30s\n  fast refresh: yes\n"
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
        assert_contains(&refreshed, &[&format!("{created} is unchanged")]);
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

#[tokio::test]
async fn what_is_created_here_is_refreshed_fast_from_its_first_refresh_on() {
    let shop = Shop::open().await;
    shop.execute("CREATE VIEW source AS SELECT order_id, price FROM orders WHERE price > 5")
        .await;
    for (name, source) in [
        ("totals", ["--query", TOTALS]),
        ("dear", ["--view", "source"]),
    ] {
        let arguments = [&["create", name, "--method", "fast"][..], &source].concat();
        let data = shop.data(&arguments).await;
        assert_eq!(data["fast_refresh"], "yes", "{data}");
        assert_eq!(data["last_rows_changed"], 2);
        shop.execute("INSERT INTO orders SELECT max(order_id) + 1, 7, 70 FROM orders")
            .await;
        let refreshed = shop.does(&["refresh", name]).await;
        assert_contains(&refreshed, &[": fast, 1 row changed"]);
        shop.execute("DELETE FROM orders WHERE customer_id = 7")
            .await;
        shop.does(&["refresh", name]).await;
        shop.does(&["verify", name]).await;
        let history = shop.data(&["history", name]).await;
        let history = history.as_array().unwrap();
        let method = |row: usize| history[row]["method"].as_str().unwrap();
        assert_eq!(history.len(), 3);
        assert_eq!(
            [method(0), method(1), method(2)],
            ["fast", "fast", "complete"]
        );
        assert_eq!(history[2]["trigger"], "create");
    }
}

#[tokio::test]
async fn a_view_left_empty_is_filled_once_and_then_refreshed_fast() {
    let shop = Shop::open().await;
    let printed = shop
        .does(&["create", "totals", "--query", TOTALS, "--no-data"])
        .await;
    assert_contains(&printed, &["left empty", "fast refresh: yes"]);
    let filled = shop.does(&["refresh", "totals"]).await;
    assert_contains(
        &filled,
        &["complete (rebuild), 2 rows changed", "first fill"],
    );
    shop.execute("UPDATE orders SET price = 6 WHERE order_id = 3")
        .await;
    assert_contains(&shop.does(&["refresh", "totals"]).await, &[": fast, "]);
    shop.does(&["verify", "totals"]).await;
}

/// What there must be none of after a refusal.
const TRACES: &str = "SELECT (SELECT count(*) FROM mvrefresh.materialized_views),
    (SELECT count(*) FROM mvrefresh.materialized_view_logs),
    (SELECT count(*) FROM pg_class WHERE relname = 'x')";

#[tokio::test]
async fn fast_is_refused_with_clause_and_reason_and_leaves_nothing_behind() {
    let shop = Shop::open().await;
    shop.server
        .create_role("ann", "IN ROLE mvrefresh_execute")
        .await;
    shop.execute("GRANT ALL ON SCHEMA public TO ann; GRANT SELECT ON orders TO ann")
        .await;
    shop.execute("CREATE UNLOGGED TABLE notes (note text); GRANT SELECT ON notes TO ann")
        .await;
    for (query, parts) in [
        (LOTTERY, ["random", "immutable"]),
        ("SELECT note FROM notes", ["public.notes", "unlogged"]),
        ("SELECT xmin, order_id FROM orders", ["xmin", "column"]),
    ] {
        let arguments = ["create", "x", "--method", "fast", "--query", query];
        for role in ["postgres", "ann"] {
            let finished = shop.run_as(role, &arguments).await;
            assert_eq!(finished.code, Some(DATA), "{finished:?}");
            assert_contains(&finished.stderr, &["x can not be refreshed fast: "]);
            assert_contains(&finished.stderr, &parts);
            assert_eq!(shop.sql(TRACES), "0|0|0");
        }
    }
}

#[tokio::test]
async fn columns_are_of_any_type() {
    let shop = Shop::open().await;
    let query =
        "SELECT order_id, '{[1,3)}'::int4multirange AS span, '10.0.0.1'::inet AS host FROM orders";
    let printed = shop.does(&["explain", "--query", query]).await;
    assert_contains(&printed, &["fast refresh: yes"]);
    let printed = shop.does(&["create", "spans", "--query", query]).await;
    assert_contains(&printed, &["fast refresh: yes"]);
}

#[tokio::test]
async fn auto_tells_why_a_view_is_not_refreshed_fast() {
    let shop = Shop::open().await;
    let printed = shop.does(&["create", "lottery", "--query", LOTTERY]).await;
    assert_contains(
        &printed,
        &["lottery: 3 rows", "fast refresh: no: ", "random"],
    );
    let data = shop.data(&["create", "again", "--query", LOTTERY]).await;
    assert_eq!(data["fast_refresh"], "no");
    assert_contains(data["clause"].as_str().unwrap(), &["random"]);
    let noted = "SELECT count(refused_reason) FROM mvrefresh.fast_programs";
    assert_eq!(shop.sql(noted), "2");
}

#[tokio::test]
async fn what_a_user_creates_becomes_fast_by_the_daemon() {
    let shop = Shop::open().await;
    shop.server
        .create_role("ann", "IN ROLE mvrefresh_execute")
        .await;
    shop.execute("GRANT ALL ON SCHEMA public TO ann; GRANT SELECT ON orders TO ann")
        .await;
    let create = ["create", "totals", "--query", TOTALS, "--method", "fast"];
    let finished = shop.run_as("ann", &create).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &[
            "totals: 2 rows",
            "fast refresh: as soon as the daemon has compiled it",
        ],
    );
    let refresh = ["refresh", "totals", "--method", "fast"];
    let early = shop.run_as("ann", &refresh).await;
    assert_eq!(early.code, Some(75), "{early:?}");
    assert_contains(&early.stderr, &["the daemon has not compiled it yet"]);
    let mut daemon = crate::common::spawn(&shop.server, &[]);
    let mut connection = shop.server.connect().await;
    until(
        &mut connection,
        "SELECT bool_or(body IS NOT NULL) FROM mvrefresh.fast_programs",
    )
    .await;
    let first = shop.run_as("ann", &refresh).await;
    assert_contains(
        &first.stdout,
        &["complete (in_place)", "since it was compiled"],
    );
    execute(&mut connection, "INSERT INTO orders VALUES (4, 3, 1)").await;
    let second = shop.run_as("ann", &refresh).await;
    assert_contains(&second.stdout, &[": fast, 1 row changed"]);
    connection.close().await.unwrap();
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_exit().await;
}

#[tokio::test]
async fn a_fill_that_fails_leaves_nothing_behind() {
    let shop = Shop::open().await;
    let query = "SELECT order_id, 1 / (price - 5) AS inverse FROM orders";
    let refused = shop.refuses(DATA, &["create", "x", "--query", query]).await;
    assert_contains(&refused, &["division by zero"]);
    assert_eq!(
        shop.sql("SELECT count(*) FROM mvrefresh.materialized_view_settings"),
        "0"
    );
    assert_eq!(shop.sql("SELECT to_regclass('x') IS NULL"), "t");
}

#[tokio::test]
async fn a_base_table_in_use_keeps_nobody_from_creating() {
    let shop = Shop::open().await;
    let mut writer = shop.server.connect().await;
    execute(&mut writer, "BEGIN; INSERT INTO orders VALUES (4, 3, 1)").await;
    let environment = [
        ("DATABASE_URL", shop.server.url()),
        ("MVREFRESHD_LOGS__LOCK_TIMEOUT", "10ms".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let create = ["create", "totals", "--query", TOTALS, "--method", "fast"];
    let finished = crate::common::run(&create, &environment).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_contains(
        &finished.stdout,
        &["2 rows", "fast refresh: not yet: ", "in use"],
    );
    writer.close().await.unwrap();
}

#[tokio::test]
async fn the_daemon_completes_what_an_interrupted_create_has_begun() {
    let shop = Shop::open().await;
    let mut other = shop.server.connect().await;
    // holds the fill back: the lock of refreshes, of the view that will have the first number
    execute(
        &mut other,
        "SELECT pg_advisory_lock('mvrefresh'::regnamespace::oid::bigint::bit(32)::integer, 1)",
    )
    .await;
    let url = shop.server.url();
    let create = [
        "create",
        "totals",
        "--query",
        TOTALS,
        "--database-url",
        &url,
    ];
    let mut creating = Daemon::spawn(&create, &[]);
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)";
    until(&mut other, waits).await;
    creating.signal(Signal::Kill).await;
    creating.wait_for_exit().await;
    execute(&mut other, "SELECT pg_advisory_unlock_all()").await;
    until(
        &mut other,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE '%command%'",
    )
    .await;
    let mut daemon = crate::common::spawn(&shop.server, &[]);
    let filled = "SELECT EXISTS (SELECT FROM mvrefresh.materialized_views WHERE status = 'ok')";
    until(&mut other, filled).await;
    let compiled = "SELECT EXISTS (SELECT FROM mvrefresh.fast_programs WHERE body IS NOT NULL)";
    until(&mut other, compiled).await;
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_exit().await;
    other.close().await.unwrap();
    shop.does(&["refresh", "totals"]).await;
    shop.execute("INSERT INTO orders VALUES (4, 3, 1)").await;
    assert_contains(&shop.does(&["refresh", "totals"]).await, &[": fast, "]);
    shop.does(&["verify", "totals"]).await;
}

#[tokio::test]
async fn a_new_view_that_needs_more_columns_logged_costs_the_others_no_complete_refresh() {
    let shop = Shop::open().await;
    let first = "SELECT customer_id, count(*) AS orders FROM orders GROUP BY customer_id";
    shop.does(&["create", "first", "--method", "fast", "--query", first])
        .await;
    // pending when the log gets another column
    shop.execute("INSERT INTO orders VALUES (4, 3, 1)").await;
    shop.does(&["create", "totals", "--method", "fast", "--query", TOTALS])
        .await;
    shop.execute(
        "UPDATE orders SET price = 2 WHERE order_id = 4; DELETE FROM orders WHERE order_id = 3",
    )
    .await;
    for name in ["first", "totals"] {
        let refreshed = shop.does(&["refresh", name]).await;
        assert_contains(&refreshed, &[": fast, "]);
        shop.does(&["verify", name]).await;
    }
    let columns = "SELECT cardinality(logged_columns) FROM mvrefresh.materialized_view_logs";
    assert_eq!(shop.sql(columns), "2");
}
