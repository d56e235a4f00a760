//! Materialized views of every kind over two base tables, kept by a real daemon, and what has to be true of them.

use std::time::Duration;

use mvrefreshd::scratch::Options;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::{Daemon, Signal, TestServer, count, execute, holds, install, until};

/// How long anything that must happen may take before the test fails.
const LIMIT: Duration = Duration::from_secs(90);

const TABLES: &str = "
    CREATE TABLE region (id integer PRIMARY KEY, name text NOT NULL);
    INSERT INTO region SELECT i, 'r' || i FROM generate_series(0, 4) i;
    CREATE TABLE sale (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, region integer NOT NULL, amount integer NOT NULL);
    INSERT INTO sale (region, amount) SELECT i % 5, i FROM generate_series(1, 200) i";

/// Names and queries, those that are read by others first.
const VIEWS: [(&str, &str); 5] = [
    ("copies", "SELECT id, region, amount FROM sale"),
    (
        "sums",
        "SELECT region, sum(amount) AS total, count(*) AS sales FROM sale GROUP BY region",
    ),
    (
        "averages",
        "SELECT region, avg(amount) AS mean FROM sale GROUP BY region",
    ),
    (
        "named",
        "SELECT s.id, r.name, s.amount FROM sale s JOIN region r ON r.id = s.region",
    ),
    ("over", "SELECT sum(total) AS total FROM sums"),
];

/// Changes rows of every kind: new ones, old ones and those of the last time.
pub(crate) const CHANGES: &str = "
    INSERT INTO sale (region, amount) SELECT i % 5, i FROM generate_series(1, 7) i;
    UPDATE sale SET amount = amount + 1 WHERE id % 50 = 3 OR id > (SELECT max(id) - 2 FROM sale);
    DELETE FROM sale WHERE id IN (SELECT id FROM sale ORDER BY id OFFSET 5 LIMIT 2);
    UPDATE region SET name = name || '+' WHERE id = 2";

/// Many transactions.
pub(crate) const AGED: &str =
    "DO $$ BEGIN FOR i IN 1..30000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";

/// The views, wherever their database is at the moment.
pub(crate) struct Shop;

impl Shop {
    /// Makes tables and views, in a database with the module.
    pub(crate) async fn make(sql: &mut PgConnection) {
        execute(sql, TABLES).await;
        for (name, query) in VIEWS {
            let create = format!(
                "SELECT mvrefresh.create_materialized_view('{name}', '{query}', 1, refresh_method => 'fast')"
            );
            execute(sql, &create).await;
        }
    }

    /// A server with a shop whose logs hold both what has been refreshed and what has not, in a cluster that has seen many
    /// transactions.
    pub(crate) async fn busy(options: Options) -> TestServer {
        let server = TestServer::start_with(options).await;
        install(&server).await;
        let mut sql = server.connect().await;
        // as old clusters have; transaction ids of a new one are far below
        execute(&mut sql, AGED).await;
        Self::make(&mut sql).await;
        let daemon = Self::daemon(&server.url());
        Self::until_fast_and_exact(&mut sql).await;
        Self::stop(daemon).await;
        execute(&mut sql, CHANGES).await;
        let logged = count(&mut sql, "SELECT count(*) FROM mvrefresh.log$1").await;
        assert!(logged > 20, "{logged}");
        server
    }

    /// Starts a daemon on the database.
    pub(crate) fn daemon(url: &str) -> Daemon {
        Daemon::spawn(
            &["run", "--database-url", url, "--log-level", "debug"],
            &[
                ("MVREFRESHD_LOGS__CHECK_EVERY", "1s"),
                ("MVREFRESHD_DATABASE__BROKEN_AFTER", "5s"),
            ],
        )
    }

    /// Stops a daemon as an administrator does.
    pub(crate) async fn stop(mut daemon: Daemon) {
        daemon.signal(Signal::Terminate).await;
        assert_eq!(daemon.wait_for_exit().await.code(), Some(0));
    }

    /// Changes rows again and again until every view has been refreshed fast since, and asserts that each is exact then.
    pub(crate) async fn until_fast_and_exact(sql: &mut PgConnection) {
        let since = Self::latest(sql).await;
        let all_fast = format!(
            "SELECT count(DISTINCT mv_id) = {} FROM mvrefresh.refresh_history WHERE refresh_id > {since} AND method = 'fast'",
            VIEWS.len()
        );
        let deadline = Instant::now() + LIMIT;
        while !holds(sql, &all_fast).await {
            assert!(
                Instant::now() < deadline,
                "not all are refreshed fast: {}",
                Self::history(sql, since).await
            );
            execute(sql, CHANGES).await;
            sleep(Duration::from_millis(200)).await;
        }
        Self::until_exact(sql).await;
    }

    /// Waits until every view has been refreshed as of now or later, and asserts that each is exact.
    pub(crate) async fn until_exact(sql: &mut PgConnection) {
        let now: String = sqlx::query_scalar("SELECT clock_timestamp()::text")
            .fetch_one(&mut *sql)
            .await
            .unwrap();
        // the one over another one has it only after that one
        for name in ["sums", "over", "copies", "averages", "named"] {
            execute(sql, &format!("SELECT mvrefresh.request_refresh('{name}')")).await;
            let done = format!(
                "SELECT last_refresh > '{now}' AND last_refresh > requested_at AND status = 'ok'
                 FROM mvrefresh.materialized_views WHERE mv_name = '{name}'"
            );
            until(sql, &done).await;
        }
        for (name, _) in VIEWS {
            let differences = format!(
                "SELECT rows_missing + rows_unexpected FROM mvrefresh.verify_materialized_view('{name}')"
            );
            assert_eq!(count(sql, &differences).await, 0, "{name}");
        }
    }

    /// The number of the latest refresh.
    pub(crate) async fn latest(sql: &mut PgConnection) -> i64 {
        count(
            sql,
            "SELECT coalesce(max(refresh_id), 0) FROM mvrefresh.refresh_history",
        )
        .await
    }

    /// Asserts that the first refresh of each view after that one was complete, and why.
    pub(crate) async fn assert_first_complete(sql: &mut PgConnection, since: i64, reason: &str) {
        let first = format!(
            "SELECT count(*) FROM (
                 SELECT DISTINCT ON (mv_id) method, reason FROM mvrefresh.refresh_history
                 WHERE refresh_id > {since} ORDER BY mv_id, refresh_id) AS first
             WHERE method = 'complete' AND reason ~ '{reason}'"
        );
        let views = i64::try_from(VIEWS.len()).unwrap();
        let history = Self::history(sql, since).await;
        assert_eq!(count(sql, &first).await, views, "{history}");
    }

    /// What happened since a refresh.
    pub(crate) async fn history(sql: &mut PgConnection, since: i64) -> String {
        let sql_text = format!(
            "SELECT concat_ws(' ', refresh_id, mv_name, outcome, method, reason, trigger, pending_rows, error)
             FROM mvrefresh.refresh_history WHERE refresh_id > {since} ORDER BY refresh_id LIMIT 60"
        );
        let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql_text))
            .fetch_all(sql)
            .await
            .unwrap();
        lines.join("\n")
    }
}
