//! A fast refresh: when there is one, what it falls back on, and what it leaves alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session, spawn, until};
use mvrefreshd::refresh::compile::Compiled;

const SHOP: &str = "
    CREATE TABLE alice.customers (customer_id int PRIMARY KEY, region text NOT NULL);
    CREATE TABLE alice.orders (order_id int PRIMARY KEY, customer_id int NOT NULL, amount int NOT NULL);
    INSERT INTO alice.customers SELECT i, 'region ' || i % 3 FROM generate_series(1, 20) AS i;
    INSERT INTO alice.orders SELECT i, i % 20 + 1, i FROM generate_series(1, 200) AS i;
    SELECT mvrefresh.create_materialized_view('alice.lines',
        'SELECT order_id, region, amount FROM alice.orders JOIN alice.customers USING (customer_id)');
    SELECT mvrefresh.create_materialized_view('alice.averages',
        'SELECT region, avg(amount) AS average, max(amount) AS largest FROM alice.orders JOIN alice.customers USING (customer_id) GROUP BY region')";

const CHANGE: &str = "UPDATE alice.orders SET amount = amount + 1 WHERE order_id <= 3;
    DELETE FROM alice.orders WHERE order_id = 200;
    UPDATE alice.customers SET region = 'region 0' WHERE customer_id = 5";

/// A shop of alice's, a session of hers and one of the module's.
async fn shop() -> (Database, Session, Session) {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice.run(SHOP).await;
    let mut module = database.session("refresher").await;
    for view in ["alice.lines", "alice.averages"] {
        module.make_fast(view).await;
    }
    (database, alice, module)
}

#[tokio::test]
async fn changes_are_taken_over_fast_for_an_owner_who_is_nobody_special() {
    let (_database, mut alice, mut module) = shop().await;
    for _ in 0..3 {
        alice.run(CHANGE).await;
        alice
            .run("INSERT INTO alice.orders SELECT max(order_id) + 1, 7, 1000 FROM alice.orders")
            .await;
        for view in ["alice.lines", "alice.averages"] {
            module.assert_fast(view).await;
        }
    }
}

#[tokio::test]
async fn with_nothing_pending_a_refresh_writes_nothing() {
    let (_database, mut alice, mut module) = shop().await;
    alice.run(CHANGE).await;
    module.assert_fast("alice.lines").await;
    module.run("BEGIN").await;
    let refreshed = module.refresh("alice.lines", None).await;
    assert_eq!(refreshed.status, "unchanged");
    assert_eq!(refreshed.reason, "nothing pending");
    // no transaction id: nothing was written, not even a lock on a row
    assert_eq!(
        module.text("SELECT pg_current_xact_id_if_assigned()").await,
        "NULL"
    );
    module.run("COMMIT").await;
    let id = module.view_id("alice.lines").await;
    assert_eq!(
        module
            .values::<i32>(&format!(
                "SELECT q FROM mvrefresh.quiet_views('{{{id}}}') q"
            ))
            .await,
        [id]
    );
    alice.run(CHANGE).await;
    assert!(
        module
            .values::<i32>(&format!(
                "SELECT q FROM mvrefresh.quiet_views('{{{id}}}') q"
            ))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_complete_refresh_leaves_rows_and_state_from_which_fast_ones_go_on() {
    let (_database, mut alice, mut module) = shop().await;
    for form in ["in_place", "rebuild", "complete"] {
        alice.run(CHANGE).await;
        for view in ["alice.lines", "alice.averages"] {
            let refreshed = module.refresh(view, Some(form)).await;
            assert_eq!(refreshed.method, "complete");
            module.assert_exact(view).await;
        }
        alice.run("UPDATE alice.orders SET amount = amount * 2 WHERE order_id % 7 = 0; DELETE FROM alice.orders WHERE amount > 300").await;
        for view in ["alice.lines", "alice.averages"] {
            module.assert_fast(view).await;
        }
    }
}

#[tokio::test]
async fn a_truncated_base_table_means_a_complete_refresh() {
    let (_database, mut alice, mut module) = shop().await;
    alice
        .run("TRUNCATE alice.orders; INSERT INTO alice.orders VALUES (1, 1, 1)")
        .await;
    for view in ["alice.lines", "alice.averages"] {
        module.assert_complete(view, "truncated").await;
    }
    alice.run("INSERT INTO alice.orders VALUES (2, 2, 2)").await;
    for view in ["alice.lines", "alice.averages"] {
        module.assert_fast(view).await;
    }
}

#[tokio::test]
async fn rows_changed_by_hand_are_put_right_where_they_are_touched() {
    let (_database, mut alice, mut module) = shop().await;
    alice
        .run("DELETE FROM alice.lines WHERE order_id = 3; UPDATE alice.orders SET amount = 0 WHERE order_id = 3")
        .await;
    // by key, the fast way; else by a complete refresh
    module.refresh("alice.lines", Some("fast")).await;
    module.assert_exact("alice.lines").await;
    alice
        .run("SELECT mvrefresh.create_materialized_view('alice.regions', 'SELECT region FROM alice.customers')")
        .await;
    module.make_fast("alice.regions").await;
    alice
        .run("DELETE FROM alice.regions; DELETE FROM alice.customers WHERE customer_id = 3")
        .await;
    module
        .assert_complete("alice.regions", "were not as the last refresh left them")
        .await;
}

#[tokio::test]
async fn a_unique_index_of_the_users_sees_no_passing_duplicates() {
    let (_database, mut alice, mut module) = shop().await;
    alice
        .run(
            "CREATE TABLE alice.mails (id int PRIMARY KEY, mail text NOT NULL);
             INSERT INTO alice.mails SELECT i, 'mail ' || i FROM generate_series(1, 10) AS i;
             SELECT mvrefresh.create_materialized_view('alice.addresses', 'SELECT id, mail FROM alice.mails');
             SELECT mvrefresh.create_materialized_view('alice.counts', 'SELECT mail, count(*) AS n, sum(id) AS ids FROM alice.mails GROUP BY mail');
             CREATE UNIQUE INDEX ON alice.addresses (mail);
             CREATE UNIQUE INDEX ON alice.counts (ids)",
        )
        .await;
    module.make_fast("alice.addresses").await;
    module.make_fast("alice.counts").await;
    // everyone takes the address of the next one
    alice
        .run("UPDATE alice.mails SET mail = 'mail ' || id % 10 + 1")
        .await;
    module.assert_fast("alice.addresses").await;
    module.assert_fast("alice.counts").await;
}

#[tokio::test]
async fn base_tables_may_be_called_like_the_parts_of_the_statement() {
    let (_database, mut alice, mut module) = shop().await;
    let names = [
        "input",
        "net_input",
        "group",
        "row",
        "numbered",
        "foreseen",
        "pending",
        "stored",
        "touched",
        "found_rows",
        "at_most",
        "snapshot",
        "now",
    ];
    for name in names {
        alice
            .run(&format!(
                "CREATE TABLE alice.\"{name}\" (id int PRIMARY KEY, at_most int, snapshot int, weight int, key_1 int, is_so int, entry int);
                 INSERT INTO alice.\"{name}\" SELECT i, i % 3, i, i, i, i, i FROM generate_series(1, 5) AS i;
                 SELECT mvrefresh.create_materialized_view('alice.\"rows of {name}\"',
                     'SELECT a.id, a.at_most, a.snapshot, b.amount AS is_so, a.entry FROM alice.\"{name}\" a JOIN alice.orders b ON a.id = b.order_id');
                 SELECT mvrefresh.create_materialized_view('alice.\"groups of {name}\"',
                     'SELECT at_most, count(*) AS pending, sum(weight) AS weight, max(key_1) AS snapshot FROM alice.\"{name}\" GROUP BY at_most')"
            ))
            .await;
        // the second one needs more columns logged, of which the first must begin anew
        for view in ["rows", "groups", "rows"] {
            module
                .make_fast(&format!("alice.\"{view} of {name}\""))
                .await;
        }
        alice
            .run(&format!(
                "UPDATE alice.\"{name}\" SET weight = 7, at_most = 2, entry = 0 WHERE id < 3; DELETE FROM alice.\"{name}\" WHERE id = 4"
            ))
            .await;
        for view in ["rows", "groups"] {
            module
                .assert_fast(&format!("alice.\"{view} of {name}\""))
                .await;
        }
    }
}

#[tokio::test]
async fn an_error_that_only_the_fast_way_meets_is_answered_by_a_complete_refresh() {
    let (_database, mut alice, mut module) = shop().await;
    alice
        .run(
            "SELECT mvrefresh.create_materialized_view('alice.shares',
        'SELECT order_id, 100 / amount AS share FROM alice.orders WHERE amount <> 0')",
        )
        .await;
    module.make_fast("alice.shares").await;
    alice.run("UPDATE alice.orders SET amount = 0 WHERE order_id = 1; UPDATE alice.orders SET amount = 5 WHERE order_id = 1").await;
    // whatever the planner does with the condition, the rows are right
    module.refresh("alice.shares", Some("fast")).await;
    module.assert_exact("alice.shares").await;
    // an error of the query itself is an error of the refresh
    alice.run("CREATE FUNCTION alice.inverse(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 100 / $1; END';
        SELECT mvrefresh.create_materialized_view('alice.inverses', 'SELECT order_id, alice.inverse(amount) FROM alice.orders')").await;
    module.make_fast("alice.inverses").await;
    alice
        .run("UPDATE alice.orders SET amount = 0 WHERE order_id = 2")
        .await;
    let id = module.view_id("alice.inverses").await;
    let failure = module
        .failure(&format!("SELECT mvrefresh.perform_refresh({id}, 'test')"))
        .await;
    assert_eq!(failure.code, "22012");
    alice
        .run("UPDATE alice.orders SET amount = 1 WHERE order_id = 2")
        .await;
    module.refresh("alice.inverses", None).await;
    module.assert_exact("alice.inverses").await;
}

#[tokio::test]
async fn what_the_owner_may_not_read_himself_is_not_refreshed_fast() {
    let (database, mut alice, mut module) = shop().await;
    let mut bob = database.session("bob").await;
    alice
        .run(
            "CREATE VIEW alice.amounts AS SELECT order_id, amount FROM alice.orders;
        GRANT USAGE ON SCHEMA alice TO bob; GRANT SELECT ON alice.amounts TO bob",
        )
        .await;
    bob.run(
        "SELECT mvrefresh.create_materialized_view('bob.amounts', 'SELECT * FROM alice.amounts')",
    )
    .await;
    let Compiled::Refused(refusal) = module.compile("bob.amounts").await else {
        panic!("bob may not read alice.orders");
    };
    assert_eq!(refusal.clause, "privileges");
    assert_eq!(
        refusal.reason,
        "\"bob\" may not read column \"order_id\" of alice.orders itself"
    );
    alice
        .run("UPDATE alice.orders SET amount = 17 WHERE order_id = 1")
        .await;
    let refreshed = module.refresh("bob.amounts", None).await;
    assert_eq!(refreshed.method, "complete");
    assert!(refreshed.reason.contains("may not read"), "{refreshed:?}");
    // the privilege is noticed when it comes, and when it goes
    alice
        .run("GRANT SELECT (order_id, amount) ON alice.orders TO bob")
        .await;
    module.make_fast("bob.amounts").await;
    alice
        .run("UPDATE alice.orders SET amount = 18 WHERE order_id = 1")
        .await;
    module.assert_fast("bob.amounts").await;
    // and he sees no more of the log than that
    let log: i32 = module
        .value(
            "SELECT log_id FROM mvrefresh.materialized_view_logs WHERE base_name = 'alice.orders'",
        )
        .await;
    assert_eq!(
        bob.failure(&format!("SELECT c2 FROM mvrefresh.log${log}"))
            .await
            .code,
        "42501"
    );
    alice.run("REVOKE SELECT (amount) ON alice.orders FROM bob; UPDATE alice.orders SET amount = 19 WHERE order_id = 1").await;
    module
        .assert_complete("bob.amounts", "has changed since it was compiled")
        .await;
}

#[tokio::test]
async fn row_security_that_applies_to_the_owner_rules_out_fast_refresh() {
    let (database, mut alice, mut module) = shop().await;
    let mut bob = database.session("bob").await;
    alice
        .run("GRANT USAGE ON SCHEMA alice TO bob; GRANT SELECT ON alice.orders TO bob")
        .await;
    bob.run("SELECT mvrefresh.create_materialized_view('bob.amounts', 'SELECT order_id, amount FROM alice.orders')").await;
    module.make_fast("bob.amounts").await;
    alice.run("ALTER TABLE alice.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY odd ON alice.orders USING (order_id % 2 = 1);
        UPDATE alice.orders SET amount = 1 WHERE order_id IN (1, 2)").await;
    module
        .assert_complete("bob.amounts", "has changed since it was compiled")
        .await;
    assert_eq!(
        module
            .value::<i64>("SELECT count(*) FROM bob.amounts WHERE order_id % 2 = 0")
            .await,
        0
    );
    assert!(matches!(
        module.compile("bob.amounts").await,
        Compiled::Refused(_)
    ));
    // of the table's owner nothing is hidden
    alice
        .run("UPDATE alice.orders SET amount = 2 WHERE order_id IN (1, 2)")
        .await;
    module.make_fast("alice.lines").await;
    alice
        .run("UPDATE alice.orders SET amount = 3 WHERE order_id IN (1, 2)")
        .await;
    module.assert_fast("alice.lines").await;
}

#[tokio::test]
async fn the_daemon_makes_a_view_fast_that_was_created_in_sql_without_being_asked() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    let daemon = spawn(&database.server, &[]);
    alice.run(SHOP).await;
    alice
        .run("SELECT mvrefresh.update_materialized_view_refresh_rate('alice.lines', 1)")
        .await;
    let mut connection = database.server.connect().await;
    until(
        &mut connection,
        "SELECT count(*) = 2 FROM mvrefresh.fast_programs WHERE body IS NOT NULL",
    )
    .await;
    until(&mut connection, "SELECT count(*) > 0 FROM mvrefresh.refresh_history WHERE reason LIKE 'the first refresh since it was compiled'").await;
    alice.run(CHANGE).await;
    until(
        &mut connection,
        "SELECT count(*) > 0 FROM mvrefresh.refresh_history WHERE method = 'fast'",
    )
    .await;
    alice.assert_exact("alice.lines").await;
    // with nothing to do it writes no history
    let refreshes = "SELECT count(*) FROM mvrefresh.refresh_history WHERE mv_name = 'alice.lines'";
    let before: i64 = alice.value(refreshes).await;
    alice.run("SELECT pg_sleep(2.5)").await;
    assert_eq!(alice.value::<i64>(refreshes).await, before);
    drop(daemon);
}
