//! Metrics, health and data over HTTP: right, bounded, cheap, and read-only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{
    Answer, Daemon, TestServer, change_until_fast, count, execute, get, install, refreshed,
    request, run, until, url_of,
};
use mvrefreshd::server::metrics;

const ANY_PORT: (&str, &str) = ("MVREFRESHD_HTTP__LISTEN", "127.0.0.1:0");

/// Three views: one that can be refreshed fast, one that can't, one that fails.
async fn shop() -> TestServer {
    let server = TestServer::start().await;
    install(&server).await;
    server
        .execute(
            "CREATE TABLE orders (id integer PRIMARY KEY, amount integer NOT NULL);
             INSERT INTO orders SELECT i, i FROM generate_series(1, 100) i;
             SELECT mvrefresh.create_materialized_view('totals', 'SELECT sum(amount) AS total FROM orders', 1, refresh_method => 'fast');
             SELECT mvrefresh.create_materialized_view('latest', 'SELECT id, clock_timestamp() AS seen_at FROM orders LIMIT 1', 1);
             SELECT mvrefresh.create_materialized_view('broken', 'SELECT 1 / (id - 1000) AS q FROM orders', 1, refresh_method => 'complete')",
        )
        .await;
    server
}

async fn start(server: &TestServer, environment: &[(&str, &str)]) -> (Daemon, String) {
    let url = server.url();
    let environment: Vec<(&str, &str)> = environment.iter().copied().chain([ANY_PORT]).collect();
    let mut daemon = Daemon::spawn(&["run", "--database-url", &url], &environment);
    let address = url_of(&mut daemon).await;
    (daemon, address)
}

/// Asks again and again until the answer will do.
async fn until_answered(address: &str, path: &str, will_do: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let answer = get(address, path).await;
        if will_do(&answer) {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{path} still answers {answer:#?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn samples<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let lines = page.lines();
    lines
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .collect()
}

#[tokio::test]
async fn every_metric_is_exported_with_what_there_is_to_see() {
    let server = shop().await;
    let (_daemon, address) = start(&server, &[("MVREFRESHD_HTTP__CACHE", "0.1s")]).await;
    let mut sql = server.connect().await;
    execute(&mut sql, "INSERT INTO orders VALUES (1000, 0)").await;
    let change = "UPDATE orders SET amount = amount + 1 WHERE id = 1";
    change_until_fast(&mut sql, "totals", change).await;
    let page = until_answered(&address, "/metrics", |answer| {
        answer
            .body
            .contains("mvrefreshd_views_failing{database=\"postgres\"} 1")
    })
    .await;
    assert!(
        page.head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        page.head
    );
    let exported = page
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeSet<&str> = exported.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        exported,
        metrics::ALL.iter().map(|metric| metric.name).collect()
    );
    for part in [
        "mvrefreshd_database_up{database=\"postgres\"} 1\n",
        "mvrefreshd_scheduler_running{database=\"postgres\"} 1\n",
        "mvrefreshd_refreshes_total{database=\"postgres\",method=\"fast\",outcome=\"succeeded\"} ",
        "mvrefreshd_refreshes_total{database=\"postgres\",method=\"unknown\",outcome=\"failed\"} ",
        "mvrefreshd_refresh_duration_seconds_bucket{database=\"postgres\",method=\"fast\",le=\"+Inf\"} ",
        "mvrefreshd_refresh_rows_total{database=\"postgres\",method=\"fast\"} ",
        "mvrefreshd_views{database=\"postgres\",status=\"failing\"} 1\n",
        "mvrefreshd_views{database=\"postgres\",status=\"quarantined\"} 0\n",
        "mvrefreshd_view_staleness_seconds{database=\"postgres\",view=\"public.totals\"} ",
        "mvrefreshd_view_failures{database=\"postgres\",view=\"public.totals\"} 0\n",
        "mvrefreshd_log_bytes{database=\"postgres\",table=\"public.orders\"} ",
        "mvrefreshd_logs{database=\"postgres\"} 1\n",
    ] {
        assert!(page.body.contains(part), "no {part:?} in:\n{}", page.body);
    }
}

#[tokio::test]
async fn series_per_view_are_no_more_than_configured_and_those_in_trouble_come_first() {
    let server = shop().await;
    let environment = [
        ("MVREFRESHD_HTTP__TOP_VIEWS", "1"),
        ("MVREFRESHD_HTTP__CACHE", "0.1s"),
    ];
    server.execute("INSERT INTO orders VALUES (1000, 0)").await;
    let (_daemon, address) = start(&server, &environment).await;
    let page = until_answered(&address, "/metrics", |answer| {
        samples(&answer.body, "mvrefreshd_view_failures")
            .first()
            .is_some_and(|line| line.contains("public.broken"))
    })
    .await;
    assert_eq!(
        samples(&page.body, "mvrefreshd_view_staleness_seconds").len(),
        1
    );
    let all = samples(&page.body, "mvrefreshd_views_scheduled");
    assert!(all[0].ends_with(" 3"), "{all:?}");
}

#[tokio::test]
async fn however_many_ask_the_database_is_read_once() {
    let server = shop().await;
    let (_daemon, address) = start(&server, &[("MVREFRESHD_HTTP__CACHE", "1m")]).await;
    until_answered(&address, "/api/views", |answer| {
        answer.json()["views"].is_array()
    })
    .await;
    let mut sql = server.connect().await;
    let asked = "SELECT (sum(extract(epoch FROM query_start)) * 1000000)::bigint + count(*)
                 FROM pg_stat_activity WHERE application_name = 'mvrefreshd server'";
    let before = count(&mut sql, asked).await;
    assert!(before > 0);
    let asking = (0..40).map(|number| {
        let path = if number % 2 == 0 {
            "/metrics"
        } else {
            "/api/views"
        };
        get(&address, path)
    });
    let answers = futures::future::join_all(asking).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(count(&mut sql, asked).await, before, "it was asked again");
}

#[tokio::test]
async fn alive_is_whose_loop_comes_round_and_ready_whose_database_is_there() {
    let mut server = shop().await;
    let (_daemon, address) = start(&server, &[("MVREFRESHD_HTTP__CACHE", "0.1s")]).await;
    let check = async |arguments: &[&str]| {
        let arguments: Vec<&str> = ["healthcheck"].iter().chain(arguments).copied().collect();
        let finished = run(&arguments, &[("MVREFRESHD_HTTP__LISTEN", &address)]).await;
        (finished.code, finished.stdout)
    };
    until_answered(&address, "/readyz", |answer| answer.status == 200).await;
    assert_eq!(check(&["--ready"]).await, (Some(0), "ready\n".to_owned()));
    server.halt().unwrap();
    let unready = until_answered(&address, "/readyz", |answer| answer.status == 503).await;
    assert!(unready.body.starts_with("not ready: "), "{}", unready.body);
    assert_eq!(get(&address, "/healthz").await.status, 200);
    assert_eq!(check(&[]).await.0, Some(0));
    assert_eq!(check(&["--ready"]).await.0, Some(1));
    let page = until_answered(&address, "/metrics", |answer| {
        answer
            .body
            .contains("mvrefreshd_database_up{database=\"postgres\"} 0")
    })
    .await;
    assert_eq!(
        samples(&page.body, "mvrefreshd_views"),
        [""; 0],
        "old numbers look like new ones"
    );
    let views = get(&address, "/api/views").await.json();
    assert!(views["problem"].is_string(), "{views}");
    server.start_again().unwrap();
    until_answered(&address, "/readyz", |answer| answer.status == 200).await;
    let nobody = run(
        &["healthcheck"],
        &[("MVREFRESHD_HTTP__LISTEN", "127.0.0.1:1")],
    )
    .await;
    assert_eq!(nobody.code, Some(1), "{}", nobody.stdout);
}

#[tokio::test]
async fn the_data_tells_of_every_view_and_of_each_in_full() {
    let server = shop().await;
    let (_daemon, address) = start(&server, &[("MVREFRESHD_HTTP__CACHE", "0.1s")]).await;
    let mut sql = server.connect().await;
    until(&mut sql, &refreshed("latest", 2)).await;
    until(&mut sql, "SELECT count(*) = 2 FROM mvrefresh.fast_programs").await;
    let data = until_answered(&address, "/api/views", |answer| {
        answer.json()["views"][1]["refused"].is_string()
    })
    .await
    .json();
    let names: Vec<&str> = data["views"]
        .as_array()
        .unwrap()
        .iter()
        .map(|view| view["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["public.broken", "public.latest", "public.totals"]);
    let latest = &data["views"][1];
    assert_eq!(latest["rate_s"], 1);
    assert_eq!(latest["is_fast"], false);
    assert_eq!(latest["reads_tables"][0], "public.orders");
    assert!(!latest["recent_ms"].as_array().unwrap().is_empty());

    let id = latest["id"].as_i64().unwrap();
    let detail = get(&address, &format!("/api/views/{id}")).await.json();
    assert_eq!(detail["history"][0]["mv_name"], "public.latest");
    assert!(
        detail["query"].as_str().unwrap().contains("LIMIT 1"),
        "{detail}"
    );
    let explanation = get(&address, &format!("/api/views/{id}/explanation"))
        .await
        .json();
    assert_eq!(explanation["is_possible"], false, "{explanation}");
    assert_eq!(get(&address, "/api/views/999999").await.status, 404);
}

#[tokio::test]
async fn it_is_read_only_and_answers_to_no_foreign_name() {
    let server = TestServer::start().await;
    install(&server).await;
    let (_daemon, address) = start(&server, &[]).await;
    for path in ["/", "/metrics", "/api/views", "/api/views/1"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            assert_eq!(
                request(&address, method, path, &address).await.status,
                405,
                "{method} {path}"
            );
        }
        // as a page of somebody else's would ask, by a name that it lets point here
        let foreign = request(&address, "GET", path, "evil.example:9841").await;
        assert_eq!(foreign.status, 421, "{path}");
    }
    let page = get(&address, "/").await;
    assert!(page.head.contains("default-src 'none'"), "{}", page.head);
    assert!(
        page.head.contains("x-content-type-options: nosniff"),
        "{}",
        page.head
    );
    assert_eq!(get(&address, "/nothing").await.status, 404);
}

#[tokio::test]
async fn an_address_that_is_taken_stops_nothing_else() {
    let server = shop().await;
    let (_first, address) = start(&server, &[]).await;
    let url = server.url();
    let taken = [("MVREFRESHD_HTTP__LISTEN", address.as_str())];
    let mut second = Daemon::spawn(&["run", "--database-url", &url], &taken);
    second
        .wait_for_line("no status page and no metrics for now")
        .await;
    second.wait_for_line("the dictionary has been read").await;
}
