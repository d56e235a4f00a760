//! Bad input gets one clear line and changes nothing.

use mvrefreshd::scratch::Options;

use crate::common::{TestServer, options, run};
use crate::shop::{
    CONFIGURATION, DATA, LOTTERY, PERMISSION, Shop, TOTALS, UNAVAILABLE, USAGE, assert_contains,
};

const VIEWS: &str = "SELECT count(*) FROM mvrefresh.materialized_views";

#[tokio::test]
async fn a_query_that_does_not_parse_is_shown_with_its_place() {
    let shop = Shop::open().await;
    let wrong = shop
        .refuses(
            DATA,
            &[
                "create",
                "x",
                "--query",
                "SELECT order_id,\n       prize\nFROM orders",
            ],
        )
        .await;
    assert_eq!(
        wrong,
        "mvrefreshd: column \"prize\" does not exist\n\
         line 2, column 8:\n         prize\n         ^\n\
         Hint: Perhaps you meant to reference the column \"orders.price\".\n"
    );
    for (query, part) in [
        ("SELEC 1", "syntax error at or near \"SELEC\""),
        ("SELECT 1; DROP TABLE orders", "multiple commands"),
        ("SELECT 1) AS x; --", "syntax error at or near \")\""),
        ("DELETE FROM orders", "syntax error at or near \"DELETE\""),
        ("SELECT * FROM nowhere", "\"nowhere\" does not exist"),
        ("SELECT 1 AS a, 2 AS a", "specified more than once"),
        ("  ; ", "the query is empty"),
    ] {
        let refused = shop.refuses(DATA, &["create", "x", "--query", query]).await;
        assert_contains(&refused, &[part]);
    }
    assert_eq!(shop.sql(VIEWS), "0");
    assert_eq!(shop.sql("SELECT count(*) FROM orders"), "3");
    assert_eq!(shop.sql("SELECT to_regclass('x') IS NULL"), "t");
}

#[tokio::test]
async fn names_that_clash_or_can_not_be_are_refused() {
    let shop = Shop::open().await;
    shop.does(&["create", "totals", "--query", TOTALS]).await;
    let too_long = "x".repeat(64);
    let too_long_in_bytes = format!("\"{}\"", "€".repeat(22));
    for (name, part) in [
        ("totals", "already exists"),
        ("orders", "public.orders already exists"),
        ("no_schema.x", "schema \"no_schema\" does not exist"),
        (too_long.as_str(), "longer than 63 bytes"),
        (too_long_in_bytes.as_str(), "longer than 63 bytes"),
        ("two words", "is not a valid name"),
        ("\"open", "is not a valid name"),
        ("a.b.c", "too many parts"),
        ("", "a name is missing"),
    ] {
        let refused = shop
            .refuses(DATA, &["create", name, "--query", TOTALS])
            .await;
        assert_contains(&refused, &[part]);
    }
    assert_eq!(shop.sql(VIEWS), "1");
}

#[tokio::test]
async fn names_that_do_not_exist_are_refused_by_every_command() {
    let shop = Shop::open().await;
    for arguments in [
        &["drop", "nothing"][..],
        &["alter", "nothing", "--every", "5s"],
        &["refresh", "nothing"],
        &["resume", "nothing"],
        &["history", "nothing"],
        &["explain", "nothing"],
        &["verify", "nothing"],
        &["adopt", "nothing", "--every", "5s"],
    ] {
        let refused = shop.refuses(DATA, arguments).await;
        assert_contains(&refused, &["materialized view \"nothing\" does not exist"]);
    }
    let a_table = shop.refuses(DATA, &["refresh", "orders"]).await;
    assert_contains(
        &a_table,
        &["\"orders\" is not a materialized view", "Hint: "],
    );
    let no_view = shop
        .refuses(DATA, &["create", "x", "--view", "orders"])
        .await;
    assert_contains(&no_view, &["\"orders\" is not a view"]);
}

#[tokio::test]
async fn wrong_schedules_are_refused_before_anything_is_done() {
    let shop = Shop::open().await;
    for (code, schedule, part) in [
        (
            DATA,
            &["--cron", "0 25 * * *"][..],
            "\"25\" is outside 0-23",
        ),
        (DATA, &["--cron", "* * *"], "five fields"),
        (DATA, &["--cron", "0 0 30 2 *"], "never occurs"),
        (
            DATA,
            &["--cron", "@daily", "--time-zone", "Europe/Berlni"],
            "Europe/Berlin",
        ),
        (USAGE, &["--every", "-5s"], "negative"),
        (USAGE, &["--every", "0"], "at least 1s"),
    ] {
        let arguments = [&["create", "x", "--query", TOTALS], schedule].concat();
        let finished = shop.run(&arguments).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert_contains(&finished.stderr, &[part]);
    }
    let fast = shop
        .refuses(
            DATA,
            &["create", "x", "--query", LOTTERY, "--method", "fast"],
        )
        .await;
    assert_contains(&fast, &["x can not be refreshed fast: ", "Hint: "]);
    assert_eq!(shop.sql(VIEWS), "0");
}

#[tokio::test]
async fn the_missing_grant_is_named() {
    let shop = Shop::open().await;
    shop.server.create_role("ann", "").await;
    let create = ["create", "hers.totals", "--query", TOTALS];
    for (message, grant) in [
        (
            "permission denied for schema mvrefresh",
            "GRANT \"mvrefresh_execute\" TO \"ann\"",
        ),
        (
            "may not create in schema \"hers\"",
            "GRANT CREATE ON SCHEMA hers TO ann",
        ),
        (
            "permission denied for table orders",
            "GRANT SELECT ON public.orders TO ann",
        ),
    ] {
        shop.execute("CREATE SCHEMA IF NOT EXISTS hers; GRANT USAGE ON SCHEMA hers TO ann")
            .await;
        let finished = shop.run_as("ann", &create).await;
        assert_eq!(finished.code, Some(PERMISSION), "{finished:?}");
        assert_contains(&finished.stderr, &[message, grant]);
        shop.execute(grant).await;
    }
    let finished = shop.run_as("ann", &create).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");

    shop.execute("REVOKE SELECT ON orders FROM ann").await;
    let finished = shop.run_as("ann", &["refresh", "hers.totals"]).await;
    assert_eq!(finished.code, Some(PERMISSION), "{finished:?}");
    assert_contains(
        &finished.stderr,
        &["orders", "GRANT SELECT ON public.orders TO ann"],
    );
    shop.execute("CREATE SCHEMA hidden; CREATE TABLE hidden.t (a integer)")
        .await;
    let hidden = ["create", "hers.x", "--query", "SELECT * FROM hidden.t"];
    let finished = shop.run_as("ann", &hidden).await;
    assert_eq!(finished.code, Some(PERMISSION), "{finished:?}");
    assert_contains(
        &finished.stderr,
        &["GRANT USAGE ON SCHEMA \"hidden\" TO \"ann\""],
    );

    shop.execute(
        "CREATE FUNCTION secret() RETURNS integer LANGUAGE sql RETURN 1; REVOKE ALL ON FUNCTION secret() FROM PUBLIC;
         CREATE ROLE viewer LOGIN IN ROLE mvrefresh_view",
    )
    .await;
    let secret = ["create", "hers.x", "--query", "SELECT secret()"];
    let finished = shop.run_as("ann", &secret).await;
    assert_contains(
        &finished.stderr,
        &["GRANT EXECUTE ON FUNCTION \"secret\" TO \"ann\""],
    );
    let finished = shop.run_as("viewer", &["refresh", "hers.totals"]).await;
    assert_eq!(finished.code, Some(PERMISSION), "{finished:?}");
    assert_contains(
        &finished.stderr,
        &["GRANT \"mvrefresh_execute\" TO \"viewer\""],
    );
}

#[tokio::test]
async fn a_missing_installation_is_told_with_the_remedy() {
    let shop = Shop::without_module().await;
    let refused = shop.refuses(CONFIGURATION, &["status"]).await;
    assert_contains(
        &refused,
        &["\"mvrefresh\" is not installed", "mvrefreshd install"],
    );
}

#[tokio::test]
async fn no_server_and_a_wrong_password_are_told_in_one_line() {
    let nobody = run(
        &["status"],
        &[("DATABASE_URL", "postgres://u@/d?host=/no/such/directory")],
    )
    .await;
    assert_eq!(nobody.code, Some(UNAVAILABLE), "{nobody:?}");
    assert_eq!(nobody.stderr.lines().count(), 1, "{nobody:?}");
    assert_contains(&nobody.stderr, &["/no/such/directory"]);

    let server = TestServer::start_with(Options {
        tcp: true,
        ..options()
    })
    .await;
    let url = server.tcp_url("postgres").unwrap();
    let (_, address) = url.split_once('@').unwrap();
    let guessed = format!("postgres://postgres:guess@{address}");
    let refused = run(&["status"], &[("DATABASE_URL", &guessed)]).await;
    assert_eq!(refused.code, Some(PERMISSION), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    assert_contains(
        &refused.stderr,
        &["password authentication failed", "database.password_file"],
    );
    assert!(!refused.stderr.contains("guess"), "{refused:?}");
}
