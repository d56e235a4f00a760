//! `pipeline` and `harness`: an installation checked by using it, without a trace; and what is broken is named.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{Database, Finished, TestServer};
use tokio::process::Command;

const PERMISSION: i32 = 77;

/// A whole pipeline may take longer than other commands.
async fn run(url: &str, arguments: &[&str]) -> Finished {
    let running = Command::new(env!("CARGO_BIN_EXE_mvrefreshd"))
        .args(arguments)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(900), running).await;
    let output = output
        .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
        .unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command that must end with this code; what it prints.
async fn expect(code: i32, url: &str, arguments: &[&str]) -> String {
    let finished = run(url, arguments).await;
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
    [finished.stdout, finished.stderr].concat()
}

/// Everything that a database and its cluster have by themselves is in it, so that it can be compared.
const INVENTORY: &str = "SELECT string_agg(what, ' ' ORDER BY what) FROM (
    SELECT 'schema ' || nspname AS what FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
    UNION ALL SELECT 'role ' || rolname FROM pg_roles
    UNION ALL SELECT concat_ws(' ', 'relation', relnamespace::regnamespace, relname) FROM pg_class
              WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL SELECT concat_ws(' ', 'function', pronamespace::regnamespace, proname) FROM pg_proc
              WHERE pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL SELECT concat_ws(' ', 'trigger', tgrelid::regclass, tgname) FROM pg_trigger) AS everything";

#[tokio::test]
async fn all_of_it_runs_with_no_issues_and_leaves_no_trace() {
    let server = TestServer::start().await;
    let before = server.psql(INVENTORY);
    let printed = expect(0, &server.url(), &["pipeline", "all"]).await;
    assert_eq!(server.psql(INVENTORY), before);
    let mut stages = printed.lines().filter(|line| !line.starts_with(' '));
    for stage in [
        "install ",
        "schemas ",
        "objects and data ",
        "logs ",
        "materialized views ",
        "one row changed ",
        "many rows changed ",
        "comparison ",
        "drop ",
        "nothing left ",
        "ran with no issues",
    ] {
        let line = stages.next().unwrap_or_default();
        assert!(
            line.starts_with(stage),
            "{stage} is not {line} in:\n{printed}"
        );
    }
    let views = printed
        .lines()
        .find_map(|line| line.strip_prefix("materialized views"))
        .and_then(|line| line.split(" created").next()?.split_whitespace().last())
        .and_then(|number| number.parse::<u32>().ok());
    assert!(views >= Some(91), "{printed}");
}

#[tokio::test]
async fn what_is_broken_is_listed_and_what_belongs_to_others_is_not_touched() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    admin
        .run("CREATE TABLE others (id integer PRIMARY KEY, x integer); INSERT INTO others VALUES (1, 1), (2, 2);
              SELECT mvrefresh.create_materialized_view('mine', 'SELECT x, count(*) AS n FROM others GROUP BY x')")
        .await;
    admin.make_fast("public.mine").await;
    let before = database.server.psql(INVENTORY);
    let url = database.server.url();
    let pipeline = |part| ["pipeline", part, "--rows", "200"];
    expect(0, &url, &pipeline("install")).await;
    expect(0, &url, &pipeline("views")).await;
    let parallel = "(SELECT form FROM mvrefresh.refresh_history WHERE mv_name LIKE '%order_lines_in_parallel')";
    assert_eq!(admin.text(parallel).await, "parallel");

    // a row that no change meets, a log that misses changes, and a table that is not the pipeline's
    admin
        .run(
            "UPDATE mvrefresh_pipeline_views.products_on_sale SET price = -1 WHERE product_id = 1;
              ALTER TABLE mvrefresh_pipeline_source.shipments DISABLE TRIGGER USER;
              CREATE TABLE mvrefresh_pipeline_views.stranger (x integer)",
        )
        .await;
    let printed = expect(1, &url, &pipeline("test")).await;
    for problem in [
        "heavy_shipments: refreshed completely instead of fast: ",
        "mvrefresh_pipeline_views.products_on_sale differs from its query: 1 missing, 1 unexpected",
        "ran with ",
    ] {
        assert!(printed.contains(problem), "no {problem:?} in:\n{printed}");
    }
    let printed = expect(1, &url, &pipeline("drop")).await;
    assert!(printed.contains("ran with "), "{printed}");
    assert!(
        printed.contains("schema mvrefresh_pipeline_views is left"),
        "{printed}"
    );
    assert!(
        printed.contains("cannot drop schema mvrefresh_pipeline_views"),
        "{printed}"
    );

    admin
        .run("DROP TABLE mvrefresh_pipeline_views.stranger")
        .await;
    let printed = expect(0, &url, &pipeline("drop")).await;
    assert!(printed.contains("ran with no issues"), "{printed}");
    assert_eq!(database.server.psql(INVENTORY), before);
    admin.run("UPDATE others SET x = 2").await;
    let method = "(SELECT method FROM mvrefresh.refresh_materialized_view('mine', 'fast'))";
    assert_eq!(admin.text(method).await, "fast");
    admin.assert_exact("mine").await;
}

#[tokio::test]
async fn a_pipeline_whose_schemas_are_taken_drops_nothing() {
    let server = TestServer::start().await;
    server
        .execute("CREATE SCHEMA mvrefresh_pipeline_source; CREATE TABLE mvrefresh_pipeline_source.orders (x integer)")
        .await;
    let before = server.psql(INVENTORY);
    let printed = expect(1, &server.url(), &["pipeline", "all"]).await;
    assert!(
        printed.contains("schema mvrefresh_pipeline_source exists already"),
        "{printed}"
    );
    assert_eq!(server.psql(INVENTORY), before);
}

#[tokio::test]
async fn the_harness_is_of_two_ordinary_roles_is_refreshed_fast_and_leaves_nothing() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let before = database.server.psql(INVENTORY);
    let url = database.server.url();
    let names = ["--source-schema", "The Source", "--view-schema", "views"];
    let create = [&["harness", "create", "--rows", "300"][..], &names].concat();
    let printed = expect(0, &url, &create).await;
    assert!(printed.contains("fast refresh: yes"), "{printed}");
    let owners = "(SELECT string_agg(DISTINCT concat_ws(' ', relnamespace::regnamespace, count, relowner::regrole, rolsuper), ', ')
                   FROM (SELECT relnamespace, relowner, count(*) FROM pg_class WHERE relkind = 'r'
                         AND relnamespace::regnamespace::text IN ('\"The Source\"', 'views') GROUP BY 1, 2) c JOIN pg_roles r ON r.oid = relowner)";
    assert_eq!(
        admin.text(owners).await,
        "\"The Source\" 6 \"The Source\" f, views 1 views f"
    );
    admin
        .run("UPDATE \"The Source\".orders SET customer_id = NULL WHERE order_id % 10 = 3; DELETE FROM \"The Source\".shipments WHERE order_id < 90")
        .await;
    let method =
        "(SELECT method FROM mvrefresh.refresh_materialized_view('views.outer_joins', 'fast'))";
    assert_eq!(admin.text(method).await, "fast");
    admin.assert_exact("views.outer_joins").await;

    let again = run(&url, &create).await;
    assert!(again.stderr.contains("exists already"), "{again:?}");
    let drop = [&["harness", "drop"][..], &names].concat();
    assert_eq!(expect(0, &url, &drop).await, "dropped; nothing is left\n");
    assert_eq!(database.server.psql(INVENTORY), before);
    let rest = "(SELECT count(*) FROM mvrefresh.refresh_history)";
    assert_eq!(admin.text(rest).await, "0");
    assert_eq!(expect(0, &url, &drop).await, "there is no harness here\n");
}

#[tokio::test]
async fn whoever_may_not_create_roles_is_told_what_an_administrator_has_to_do() {
    let database = Database::with_ordinary_roles().await;
    let before = database.server.psql(INVENTORY);
    let url = database.server.url_as("refresher");
    let printed = expect(PERMISSION, &url, &["harness", "create"]).await;
    let remedy = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("As an administrator: "));
    let remedy = remedy.unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(database.server.psql(INVENTORY), before);

    database.server.execute(remedy).await;
    // what the module's role can't give, either
    let printed = expect(PERMISSION, &url, &["harness", "create"]).await;
    assert!(
        printed.contains("As an administrator: GRANT \"mvrefresh_execute\" TO"),
        "{printed}"
    );
    database
        .server
        .execute("GRANT mvrefresh_execute TO mvrefresh_harness_views")
        .await;
    let printed = expect(0, &url, &["harness", "create"]).await;
    assert!(printed.contains("fast refresh: yes"), "{printed}");
    expect(0, &url, &["harness", "drop"]).await;
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^mvrefresh_harness'";
    assert_eq!(database.server.psql(roles), "2", "they were there before");
}
