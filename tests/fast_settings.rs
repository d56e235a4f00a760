//! Fast refresh of what depends on settings, and its refusal of what depends on the time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::Database;
use mvrefreshd::refresh::compile::Compiled;

#[tokio::test]
async fn dates_and_texts_are_those_of_the_creators_settings_whoever_refreshes() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.visits (id int PRIMARY KEY, at timestamptz NOT NULL, took interval NOT NULL, day date NOT NULL);
             INSERT INTO alice.visits VALUES (1, '2024-03-31 20:30:00+00', '1 day 02:00', '2024-03-31');
             SET TimeZone TO 'Asia/Tokyo'; SET DateStyle TO 'German'; SET IntervalStyle TO 'iso_8601';
             SELECT mvrefresh.create_materialized_view('alice.texts',
                 'SELECT id, at::date AS day, at::text AS at, took::text AS took, to_char(at, ''HH24 TZ'') AS hour, concat(day, '' '', took) AS both,
                         day < at AS is_later, at + interval ''1 day'' AS next_day FROM alice.visits');
             SELECT mvrefresh.create_materialized_view('alice.days',
                 'SELECT date_trunc(''day'', at) AS day, count(*) AS n, sum(CASE WHEN took > ''1 hour'' THEN 1.25 ELSE 0 END) AS long FROM alice.visits GROUP BY 1');
             RESET TimeZone; RESET DateStyle; RESET IntervalStyle",
        )
        .await;
    let mut module = database.session("refresher").await;
    module
        .run("SET TimeZone TO 'America/New_York'; SET DateStyle TO 'ISO, MDY'")
        .await;
    for view in ["alice.texts", "alice.days"] {
        module.make_fast(view).await;
    }
    alice
        .run("INSERT INTO alice.visits VALUES (2, '2024-03-31 20:45:00+00', '90 minutes', '2024-04-01'), (3, '2024-03-31 01:00:00+00', '5 minutes', '2024-03-30')")
        .await;
    for view in ["alice.texts", "alice.days"] {
        let refreshed = module.refresh(view, Some("fast")).await;
        assert_eq!(refreshed.method, "fast", "{view}: {}", refreshed.reason);
    }
    alice
        .run("SET TimeZone TO 'Asia/Tokyo'; SET DateStyle TO 'German'; SET IntervalStyle TO 'iso_8601'")
        .await;
    assert_eq!(
        alice
            .values::<String>("SELECT t::text FROM alice.texts t ORDER BY id")
            .await,
        [
            "(1,01.04.2024,\"01.04.2024 05:30:00 JST\",P1DT2H,\"05 JST\",\"31.03.2024 P1DT2H\",t,\"02.04.2024 05:30:00 JST\")",
            "(2,01.04.2024,\"01.04.2024 05:45:00 JST\",PT1H30M,\"05 JST\",\"01.04.2024 PT1H30M\",t,\"02.04.2024 05:45:00 JST\")",
            "(3,31.03.2024,\"31.03.2024 10:00:00 JST\",PT5M,\"10 JST\",\"30.03.2024 PT5M\",t,\"01.04.2024 10:00:00 JST\")",
        ]
    );
    // the number of digits is that of what is there
    assert_eq!(
        alice
            .values::<String>("SELECT d::text FROM alice.days d ORDER BY day")
            .await,
        [
            "(\"31.03.2024 00:00:00 JST\",1,0)",
            "(\"01.04.2024 00:00:00 JST\",2,2.50)"
        ]
    );
    alice
        .run("UPDATE alice.visits SET took = '1 second' WHERE id < 3")
        .await;
    module.refresh("alice.days", Some("fast")).await;
    assert_eq!(
        alice
            .values::<String>("SELECT long::text FROM alice.days ORDER BY day")
            .await,
        ["0", "0"]
    );
}

#[tokio::test]
async fn what_depends_on_the_time_is_refused_and_says_so() {
    let database = Database::installed().await;
    let mut sql = database.admin().await;
    sql.run("CREATE TABLE visits (id int PRIMARY KEY, at timestamptz NOT NULL, day text NOT NULL)")
        .await;
    let refused = [
        ("at < now()", "depends on the time"),
        ("at::date = current_date", "depends on the time"),
        ("at < clock_timestamp()", "depends on the time"),
        ("day::date IS NULL", "cast from text to date"),
        ("age(at) > '1 day'", "age"),
        ("random() < 0.5", "random"),
    ];
    for (number, (condition, reason)) in refused.iter().enumerate() {
        let name = format!("public.v{number}");
        sql.run(&format!(
            "SELECT mvrefresh.create_materialized_view('{name}', $q$SELECT id FROM visits WHERE {condition}$q$)"
        ))
        .await;
        let Compiled::Refused(refusal) = sql.compile(&name).await else {
            panic!("{condition} was taken");
        };
        assert!(
            format!("{}: {}", refusal.clause, refusal.reason).contains(reason),
            "{condition}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn functions_set_the_creators_settings_unless_no_row_can_depend_on_them() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.visits (id int PRIMARY KEY, at timestamptz NOT NULL, until timestamptz NOT NULL, took interval NOT NULL, day date NOT NULL,
                                        name text NOT NULL, price numeric NOT NULL, share float8 NOT NULL);
             CREATE FUNCTION alice.shown(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT current_setting(''TimeZone'') || $1';
             CREATE FUNCTION alice.earlier(date, date) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT current_setting(''DateStyle'') = ''ISO, MDY''';
             CREATE OPERATOR alice.< (LEFTARG = date, RIGHTARG = date, FUNCTION = alice.earlier)",
        )
        .await;
    let mut module = database.session("refresher").await;
    let plain = [
        "SELECT id, at, took, day, name FROM alice.visits WHERE price > 1.5 AND id IN (1, 2) AND at < until",
        "SELECT day, count(*) AS n, sum(price * 2) AS total, max(name) AS last FROM alice.visits WHERE name <> 'x' GROUP BY day",
        "SELECT v.id, coalesce(w.price, 0) AS price FROM alice.visits v LEFT JOIN alice.visits w ON v.id = w.id + 1 AND v.at = w.until",
        "SELECT DISTINCT name, CASE WHEN id > 3 THEN 1 ELSE 2 END AS half FROM alice.visits",
    ];
    let depending = [
        "SELECT id, day::text AS day FROM alice.visits",
        "SELECT id FROM alice.visits WHERE day < at",
        "SELECT id FROM alice.visits WHERE day > '2024-02-01'",
        "SELECT id FROM alice.visits WHERE took > '1 hour'",
        "SELECT id, at + took AS ended FROM alice.visits",
        "SELECT id, share::text AS share FROM alice.visits",
        "SELECT id, alice.shown(id) AS shown FROM alice.visits",
        "SELECT id FROM alice.visits WHERE day OPERATOR(alice.<) day",
        "SELECT id, to_char(price, '9D9') AS price FROM alice.visits",
        "SELECT name, string_agg(day::text, ',' ORDER BY id) AS days FROM alice.visits GROUP BY name",
        "SELECT id, lag(price) OVER (PARTITION BY day ORDER BY id) AS before FROM alice.visits",
    ];
    let expected = plain.iter().map(|query| (query, false));
    for (query, sets) in expected.chain(depending.iter().map(|query| (query, true))) {
        alice
            .run(&format!(
                "SELECT mvrefresh.create_materialized_view('alice.shop', $q${query}$q$)"
            ))
            .await;
        module.make_fast("alice.shop").await;
        let found = module
            .value::<bool>("SELECT 'TimeZone' = ANY (SELECT split_part(unnest(proconfig), '=', 1)) FROM pg_proc JOIN mvrefresh.fast_programs ON proname = 'fast$' || mv_id")
            .await;
        assert_eq!(found, sets, "{query}");
        alice
            .run("SELECT mvrefresh.drop_materialized_view('alice.shop')")
            .await;
    }
}
