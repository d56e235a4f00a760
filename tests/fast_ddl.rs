//! Whatever is altered beside the data, rows are never wrong: the next refresh is complete, for a reason that says what
//! happened, and after upkeep refreshes are fast again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session, TestServer, covered_majors};
use mvrefreshd::refresh::compile::{COMPILER, Compiled};

const SHOP: &str = "
    CREATE FUNCTION alice.doubled(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
    CREATE TABLE alice.customers (customer_id int PRIMARY KEY, region text NOT NULL, note text);
    CREATE TABLE alice.orders (order_id int PRIMARY KEY, customer_id int NOT NULL, amount int NOT NULL, unused text);
    INSERT INTO alice.customers SELECT i, 'region ' || i % 3 FROM generate_series(1, 20) AS i;
    INSERT INTO alice.orders SELECT i, i % 20 + 1, i FROM generate_series(1, 200) AS i;
    CREATE VIEW alice.v_lines AS
        SELECT order_id, region, alice.doubled(amount) AS twice FROM alice.orders JOIN alice.customers USING (customer_id);
    SELECT mvrefresh.create_materialized_view('alice.lines', view_name => 'alice.v_lines');
    SELECT mvrefresh.create_materialized_view('alice.averages', 'SELECT customer_id, avg(amount) AS average FROM alice.orders GROUP BY customer_id')";

/// Changes every row of `alice.orders` one by one.
const CHANGE: &str = "UPDATE alice.orders SET amount = amount + 1 WHERE order_id % 3 = 0; INSERT INTO alice.orders SELECT max(order_id) + 1, 7, 5 FROM alice.orders";

async fn shop() -> (Database, Session, Session) {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice.run(SHOP).await;
    let mut module = database.session("refresher").await;
    for view in ["alice.lines", "alice.averages"] {
        module.make_fast(view).await;
    }
    // so that the checks before a fast refresh have been done, and are remembered
    alice.run(CHANGE).await;
    for view in ["alice.lines", "alice.averages"] {
        module.assert_fast(view).await;
    }
    (database, alice, module)
}

/// What upkeep does: repairs logs, and compiles what needs it.
async fn upkeep(module: &mut Session) {
    module.repair_logs().await;
    let views: Vec<String> = module
        .values(&format!(
            "SELECT mv_name FROM mvrefresh.programs_to_compile({COMPILER})"
        ))
        .await;
    for view in views {
        assert_eq!(module.compile(&view).await, Compiled::Fast, "{view}");
    }
}

/// Runs DDL amid changes, and expects of the view a complete refresh for this reason, then, after upkeep, fast ones.
async fn answered(ddl: &str, view: &str, reason: &str) {
    let (_database, mut alice, mut module) = shop().await;
    alice.run(CHANGE).await;
    alice.run(ddl).await;
    alice.run(CHANGE).await;
    module.assert_complete(view, reason).await;
    for _ in 0..2 {
        for view in ["alice.lines", "alice.averages"] {
            module.refresh(view, None).await;
            module.assert_exact(view).await;
        }
        upkeep(&mut module).await;
    }
    for view in ["alice.lines", "alice.averages"] {
        module.refresh(view, None).await;
    }
    alice.run(CHANGE).await;
    for view in ["alice.lines", "alice.averages"] {
        module.assert_fast(view).await;
    }
}

const CHANGED: &str = "has changed since it was compiled";

#[tokio::test]
async fn a_renamed_column() {
    answered(
        "ALTER TABLE alice.customers RENAME region TO area",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn a_renamed_table() {
    answered(
        "ALTER TABLE alice.customers RENAME TO buyers",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn two_columns_that_change_names() {
    answered(
        "ALTER TABLE alice.customers RENAME region TO r; ALTER TABLE alice.customers RENAME note TO region; ALTER TABLE alice.customers RENAME r TO note",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn a_column_added_and_one_dropped_that_is_not_read() {
    answered(
        "ALTER TABLE alice.orders ADD more int; ALTER TABLE alice.orders DROP unused",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn the_type_of_a_column_that_is_not_read() {
    answered(
        "ALTER TABLE alice.orders ALTER unused TYPE varchar(10)",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn a_not_null_that_is_dropped() {
    answered(
        "ALTER TABLE alice.orders ALTER customer_id DROP NOT NULL; INSERT INTO alice.orders VALUES (1000, NULL, 3), (1001, NULL, 4)",
        "alice.averages",
        CHANGED,
    )
    .await;
}

/// From `PostgreSQL` 18 on. (Before, there are no such constraints.)
#[tokio::test]
async fn a_not_null_that_is_not_valid_is_none() {
    for major in covered_majors().into_iter().filter(|major| *major >= 18) {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::installed_on(server).await;
        let mut admin = database.admin().await;
        admin
            .run(
                "CREATE TABLE t (id int PRIMARY KEY, g int, n int NOT NULL);
                 INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 20) AS i;
                 SELECT mvrefresh.create_materialized_view('counted', 'SELECT g, count(n) AS n, sum(n) AS total FROM t GROUP BY g')",
            )
            .await;
        admin.make_fast("public.counted").await;
        admin
            .run("BEGIN; ALTER TABLE t ALTER n DROP NOT NULL; INSERT INTO t SELECT i, i % 3, NULL FROM generate_series(21, 40) AS i; ALTER TABLE t ADD CONSTRAINT present NOT NULL n NOT VALID; COMMIT")
            .await;
        admin.assert_complete("public.counted", CHANGED).await;
        upkeep(&mut admin).await;
        admin.refresh("public.counted", None).await;
        admin.run("DELETE FROM t WHERE id > 30").await;
        admin.assert_fast("public.counted").await;
    }
}

#[tokio::test]
async fn a_label_of_an_enumeration_that_is_renamed() {
    let (_database, mut alice, mut module) = shop().await;
    alice
        .run(
            "CREATE TYPE alice.state AS ENUM ('open', 'paid');
             CREATE TABLE alice.bills (bill_id int PRIMARY KEY, state alice.state, past alice.state[]);
             INSERT INTO alice.bills SELECT i, 'open', ARRAY['open', 'paid']::alice.state[] FROM generate_series(1, 9) AS i;
             SELECT mvrefresh.create_materialized_view('alice.written',
                 'SELECT bill_id, state, state::text AS label, to_jsonb(past) AS past FROM alice.bills')",
        )
        .await;
    module.make_fast("alice.written").await;
    module.refresh("alice.written", None).await;
    alice
        .run("UPDATE alice.bills SET state = 'paid' WHERE bill_id < 4")
        .await;
    module.assert_fast("alice.written").await;
    alice
        .run("ALTER TYPE alice.state RENAME VALUE 'open' TO 'due'")
        .await;
    module.assert_complete("alice.written", CHANGED).await;
    upkeep(&mut module).await;
    module.refresh("alice.written", None).await;
    alice
        .run("UPDATE alice.bills SET state = 'due' WHERE bill_id < 2")
        .await;
    module.assert_fast("alice.written").await;
}

#[tokio::test]
async fn columns_of_whole_rows_that_come_and_are_renamed() {
    let (_database, mut alice, mut module) = shop().await;
    alice
        .run("SELECT mvrefresh.create_materialized_view('alice.documents', 'SELECT order_id, to_jsonb(o) AS document FROM alice.orders AS o')")
        .await;
    module.make_fast("alice.documents").await;
    for ddl in [
        "ALTER TABLE alice.orders ADD more int DEFAULT 3",
        "ALTER TABLE alice.orders RENAME amount TO total; ALTER TABLE alice.orders RENAME more TO amount",
    ] {
        alice.run(ddl).await;
        module.assert_complete("alice.documents", CHANGED).await;
        module.assert_exact("alice.documents").await;
        upkeep(&mut module).await;
        module.refresh("alice.documents", None).await;
        alice.run(CHANGE).await;
        module.assert_fast("alice.documents").await;
    }
}

#[tokio::test]
async fn a_function_of_the_query_that_is_replaced() {
    answered(
        "CREATE OR REPLACE FUNCTION alice.doubled(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3 * $1'",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn a_defining_view_that_is_replaced() {
    answered(
        "CREATE OR REPLACE VIEW alice.v_lines AS
            SELECT order_id, region, amount AS twice FROM alice.orders JOIN alice.customers USING (customer_id) WHERE order_id > 10",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn a_trigger_that_is_disabled_for_a_while() {
    answered(
        "ALTER TABLE alice.orders DISABLE TRIGGER ALL; DELETE FROM alice.orders WHERE order_id < 50; ALTER TABLE alice.orders ENABLE TRIGGER ALL",
        "alice.lines",
        "log of alice.orders",
    )
    .await;
}

#[tokio::test]
async fn triggers_that_stay_disabled() {
    answered(
        "ALTER TABLE alice.orders DISABLE TRIGGER USER",
        "alice.averages",
        "is disabled",
    )
    .await;
}

#[tokio::test]
async fn the_index_by_which_rows_are_found() {
    answered(
        "DO $$ DECLARE i regclass; BEGIN
            FOR i IN SELECT indexrelid FROM pg_index WHERE indrelid = 'alice.lines'::regclass LOOP EXECUTE 'DROP INDEX ' || i; END LOOP;
         END $$",
        "alice.lines",
        CHANGED,
    )
    .await;
}

#[tokio::test]
async fn a_log_table_dropped_by_hand() {
    let (database, mut alice, mut module) = shop().await;
    let log: i32 = module
        .value(
            "SELECT log_id FROM mvrefresh.materialized_view_logs WHERE base_name = 'alice.orders'",
        )
        .await;
    database
        .server
        .execute(&format!("DROP TABLE mvrefresh.log${log} CASCADE"))
        .await;
    alice.run(CHANGE).await;
    module
        .assert_complete(
            "alice.lines",
            "log of alice.orders: its log table has been dropped",
        )
        .await;
    upkeep(&mut module).await;
    module.refresh("alice.lines", None).await;
    alice.run(CHANGE).await;
    module.assert_fast("alice.lines").await;
}

#[tokio::test]
async fn a_state_table_emptied_by_hand() {
    let (database, mut alice, mut module) = shop().await;
    let id = module.view_id("alice.averages").await;
    database
        .server
        .execute(&format!("TRUNCATE mvrefresh.state${id}"))
        .await;
    alice.run(CHANGE).await;
    module.assert_complete("alice.averages", CHANGED).await;
    upkeep(&mut module).await;
    module.refresh("alice.averages", None).await;
    alice.run(CHANGE).await;
    module.assert_fast("alice.averages").await;
}

#[tokio::test]
async fn a_base_table_dropped_with_all_that_depends_on_it() {
    let (_database, mut alice, mut module) = shop().await;
    alice.run("DROP TABLE alice.customers CASCADE").await;
    let id = module.view_id("alice.lines").await;
    let failure = module
        .failure(&format!("SELECT mvrefresh.perform_refresh({id}, 'test')"))
        .await;
    assert_eq!(
        failure.message,
        "the defining view of materialized view \"lines\" has been dropped"
    );
    assert!(
        failure.hint.contains("drop_materialized_view"),
        "{}",
        failure.hint
    );
    // the rows stay, the log goes, the other view goes on
    assert_eq!(
        module
            .value::<i64>("SELECT count(*) FROM alice.lines")
            .await,
        201
    );
    assert_eq!(module.repair_logs().await, ["dropped the log"]);
    alice.run(CHANGE).await;
    module.assert_fast("alice.averages").await;
}

#[tokio::test]
async fn another_owner_of_the_materialized_view() {
    let (database, mut alice, mut module) = shop().await;
    alice
        .run("GRANT USAGE ON SCHEMA alice TO bob; GRANT SELECT ON ALL TABLES IN SCHEMA alice TO bob; GRANT EXECUTE ON FUNCTION alice.doubled TO bob")
        .await;
    database
        .server
        .execute("GRANT CREATE ON SCHEMA alice TO bob; ALTER TABLE alice.lines OWNER TO bob")
        .await;
    alice.run(CHANGE).await;
    module.assert_complete("alice.lines", CHANGED).await;
    upkeep(&mut module).await;
    module.refresh("alice.lines", None).await;
    alice.run(CHANGE).await;
    module.assert_fast("alice.lines").await;
    // only a complete refresh reads through the view of alice
    alice.run("REVOKE SELECT ON alice.orders FROM bob").await;
    alice.run(CHANGE).await;
    module.assert_complete("alice.lines", CHANGED).await;
}
