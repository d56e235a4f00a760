//! Materialized view logs take in every change, cost writers no rights, and never make them fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session, TestServer, covered_majors, options};

/// A table with a foreign key to another, both with a few rows and a log; the log ids of parent and child.
async fn shop(session: &mut Session) -> (i32, i32) {
    session
        .run(
            "CREATE TABLE customers (id int PRIMARY KEY, name text);
             CREATE TABLE orders (id int PRIMARY KEY, amount numeric(10,2), note json, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED,
                 customer int REFERENCES customers ON DELETE CASCADE ON UPDATE CASCADE);
             INSERT INTO customers SELECT i, 'c' || i FROM generate_series(1, 5) i;
             INSERT INTO orders (id, amount, note, customer) SELECT i, i, '{\"a\": 1}', i % 5 + 1 FROM generate_series(1, 50) i",
        )
        .await;
    (
        session.create_log("customers").await,
        session.create_log("orders").await,
    )
}

#[tokio::test]
async fn every_kind_of_statement_is_logged_on_every_version() {
    for major in covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::installed_on(server).await;
        let mut admin = database.admin().await;
        let (customers, orders) = shop(&mut admin).await;
        for statement in [
            "INSERT INTO orders VALUES (100, 1, NULL, DEFAULT, 1)",
            "UPDATE orders SET amount = amount + 1 WHERE id < 20",
            "UPDATE orders SET amount = 51 - amount",
            "DELETE FROM orders WHERE id % 7 = 0",
            "COPY orders (id, amount) FROM PROGRAM 'printf \"200\\t1\\n201\\t2\\n\"'",
            "INSERT INTO orders (id, amount) SELECT i, 0 FROM generate_series(40, 60) i ON CONFLICT (id) DO UPDATE SET amount = excluded.amount",
            "INSERT INTO orders (id, amount) SELECT i, 0 FROM generate_series(50, 70) i ON CONFLICT DO NOTHING",
            "MERGE INTO orders o USING (SELECT generate_series(1, 90) AS id) s ON o.id = s.id
                 WHEN MATCHED AND s.id < 10 THEN DELETE WHEN MATCHED THEN UPDATE SET note = '[]'
                 WHEN NOT MATCHED THEN INSERT (id, amount) VALUES (s.id, 9)",
            "UPDATE customers SET id = id + 100 WHERE id < 3",
            "DELETE FROM customers WHERE id IN (3, 101)",
            "WITH gone AS (DELETE FROM orders WHERE id < 15 RETURNING id) INSERT INTO orders (id) SELECT id + 1000 FROM gone",
            "CREATE FUNCTION twice() RETURNS void LANGUAGE sql BEGIN ATOMIC UPDATE orders SET amount = 1; UPDATE orders SET amount = amount + 2; END; SELECT twice()",
            "UPDATE orders SET amount = NULL WHERE false",
        ] {
            for log in [customers, orders] {
                admin.remember(log).await;
            }
            admin.run(statement).await;
            for log in [customers, orders] {
                admin.assert_log_is_exact(log, statement).await;
                assert!(!admin.is_marked(log).await, "{statement}");
                assert_eq!(admin.log_problem(log).await, "NULL", "{statement}");
            }
        }
        admin.run("TRUNCATE customers CASCADE").await;
        assert!(admin.is_marked(customers).await && admin.is_marked(orders).await);
    }
}

#[tokio::test]
async fn an_update_of_no_logged_column_leaves_nothing_behind() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    admin
        .run("CREATE TABLE t (id int, a text, j json, p point, z int); INSERT INTO t SELECT i, 'a' || i % 3, '{}', '(1,2)', 0 FROM generate_series(1, 1000) i")
        .await;
    let log: i32 = admin
        .value("SELECT mvrefresh.ensure_log('t', '{id,a,j,p}')")
        .await;
    for harmless in [
        "UPDATE t SET z = z + 1",
        "UPDATE t SET z = z + 1 WHERE id = 5",
        "UPDATE t SET a = a, j = j, id = id",
        "UPDATE t SET id = id WHERE false",
    ] {
        admin.run(harmless).await;
        assert_eq!(admin.log_rows(log).await, 0, "{harmless}");
    }
    // the first row stays as it was, and yet there is a change; numbers equal in value and not in digits are one
    admin.run("ALTER TABLE t ADD n numeric DEFAULT 1").await;
    admin.run("SELECT mvrefresh.ensure_log('t', '{n,a}')").await;
    for (change, rows) in [
        (
            "UPDATE t SET a = CASE id WHEN 1000 THEN 'b' ELSE a END",
            2000,
        ),
        ("UPDATE t SET n = 1.0", 2000),
        ("UPDATE t SET j = '{ }' WHERE id = 1", 2),
        ("UPDATE t SET a = NULL WHERE id = 7", 2),
    ] {
        admin.run(&format!("DELETE FROM mvrefresh.log${log}")).await;
        admin.remember(log).await;
        admin.run(change).await;
        admin.assert_log_is_exact(log, change).await;
        assert_eq!(admin.log_rows(log).await, rows, "{change}");
    }
    // no column at all: only the number of rows counts
    admin.run("CREATE TABLE counted (a int)").await;
    let log: i32 = admin
        .value("SELECT mvrefresh.ensure_log('counted', '{}')")
        .await;
    admin
        .run("INSERT INTO counted VALUES (1), (2); UPDATE counted SET a = 3; DELETE FROM counted WHERE a = 4")
        .await;
    assert_eq!(admin.log_rows(log).await, 2);
}

#[tokio::test]
async fn what_is_rolled_back_is_not_in_the_log_and_what_is_prepared_comes_with_its_commit() {
    let mut options = options();
    options.settings = vec![("max_prepared_transactions".into(), "5".into())];
    let database = Database::installed_on(TestServer::start_with(options).await).await;
    let mut admin = database.admin().await;
    let (_, orders) = shop(&mut admin).await;
    admin.remember(orders).await;
    admin
        .run("BEGIN; UPDATE orders SET amount = 0; SAVEPOINT s; DELETE FROM orders WHERE id < 9; ROLLBACK TO s; DELETE FROM orders WHERE id = 10; COMMIT")
        .await;
    admin.run("BEGIN; DELETE FROM orders; ROLLBACK").await;
    admin
        .run("DO $$ BEGIN BEGIN DELETE FROM orders; RAISE 'no'; EXCEPTION WHEN OTHERS THEN UPDATE orders SET amount = 3 WHERE id = 1; END; END $$")
        .await;
    admin
        .assert_log_is_exact(orders, "savepoints and rollbacks")
        .await;
    assert_eq!(
        admin
            .text(&format!(
                "SELECT count(DISTINCT xid) FROM mvrefresh.log${orders}"
            ))
            .await,
        "2",
        "the log knows top transactions, not subtransactions"
    );
    admin.remember(orders).await;
    admin
        .run("BEGIN; DELETE FROM orders WHERE id = 20; PREPARE TRANSACTION 'p'")
        .await;
    admin.assert_log_is_exact(orders, "PREPARE").await;
    admin.run("COMMIT PREPARED 'p'").await;
    admin.assert_log_is_exact(orders, "COMMIT PREPARED").await;
}

#[tokio::test]
async fn names_and_types_of_any_kind_are_logged() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    admin
        .run(
            "CREATE SCHEMA \"odd \"\"one\";
             CREATE TYPE \"odd \"\"one\".mood AS ENUM ('sad', 'ok');
             CREATE TYPE \"odd \"\"one\".pair AS (a int, b xml);
             CREATE DOMAIN \"odd \"\"one\".short AS varchar(3) COLLATE \"C\" CHECK (value <> 'x');
             CREATE TABLE \"odd \"\"one\".\"Tä %s ble\" (\"id %I\" int, weight int, xid int, images text, fallback text, old_rows int, found bool,
                 m \"odd \"\"one\".mood, p \"odd \"\"one\".pair, s \"odd \"\"one\".short[], c char(3), v varchar(2), b bit(3), n numeric(4,1), i interval second(1),
                 x xml, r int4range, g tsvector, \"ключ\" jsonb)",
        )
        .await;
    let table = "\"odd \"\"one\".\"Tä %s ble\"";
    let log = admin.create_log(table).await;
    admin.remember(log).await;
    let insert = format!(
        "INSERT INTO {table} VALUES (1, 2, 3, 'i', 'f', 4, true, 'ok', (1, '<a/>'), '{{a,b}}', 'c', 'v', '101', 1.5, '1 s', '<x/>', '[1,2)', 'a b', '{{}}'); INSERT INTO {table} DEFAULT VALUES"
    );
    for statement in [
        &insert,
        &format!("UPDATE {table} SET x = '<y/>', p = (2, NULL)"),
        &format!("UPDATE {table} SET x = x, p = p"),
        &insert,
        &format!("DELETE FROM {table} WHERE m = 'ok'"),
    ] {
        admin.run(statement).await;
        admin.assert_log_is_exact(log, statement).await;
    }
    // longer values are no reason for a writer to fail
    admin
        .run(
            "ALTER TYPE \"odd \"\"one\".mood RENAME TO humour; ALTER TYPE \"odd \"\"one\".humour ADD VALUE 'good'; ALTER SCHEMA \"odd \"\"one\" RENAME TO plain; ALTER TABLE plain.\"Tä %s ble\" RENAME TO t"
        )
        .await;
    database
        .admin()
        .await
        .run("INSERT INTO plain.t (m) VALUES ('good'); UPDATE plain.t SET m = 'sad'; UPDATE plain.t SET m = m")
        .await;
    admin.assert_log_is_exact(log, "renames").await;
    assert_eq!(admin.log_problem(log).await, "NULL");
}

#[tokio::test]
async fn materialized_views_can_be_logged_themselves() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.t (a int, b int);
             SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT a, sum(b) AS s FROM alice.t GROUP BY a')",
        )
        .await;
    database
        .server
        .execute("GRANT CREATE ON DATABASE postgres TO alice; GRANT TRIGGER ON ALL TABLES IN SCHEMA alice TO refresher")
        .await;
    let log = alice.create_log("alice.mv").await;
    let mut admin = database.admin().await;
    for rows in ["(1, 1), (2, 2)", "(1, 5)", "(3, 3), (NULL, 1)"] {
        admin.remember(log).await;
        alice
            .run(&format!("INSERT INTO alice.t VALUES {rows}; SELECT mvrefresh.refresh_materialized_view('alice.mv', 'in_place')"))
            .await;
        admin.assert_log_is_exact(log, rows).await;
        assert!(!admin.is_marked(log).await);
    }
    // and dropped, although the log has the same number as the view
    assert_eq!(log, 1);
    alice
        .run("SELECT mvrefresh.drop_materialized_view('alice.mv')")
        .await;
    assert_eq!(admin.repair_logs().await, ["dropped the log"]);
}
