//! Logs of partitioned tables: whichever partition a statement names, wherever a row goes, and whatever is attached later.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session, TestServer, covered_majors};

/// A table partitioned in two levels whose partitions have their columns in other places than it; its log.
async fn measurements(session: &mut Session) -> i32 {
    session
        .run(
            "CREATE TABLE m (gone int, id int, region text, v int, unread int) PARTITION BY LIST (region);
             ALTER TABLE m DROP gone;
             CREATE TABLE m_north (v int, region text, gone int, gone2 int, unread int, id int);
             ALTER TABLE m_north DROP gone, DROP gone2;
             ALTER TABLE m ATTACH PARTITION m_north FOR VALUES IN ('north');
             CREATE TABLE m_south PARTITION OF m FOR VALUES IN ('south') PARTITION BY RANGE (id);
             CREATE TABLE m_south_1 PARTITION OF m_south FOR VALUES FROM (0) TO (100);
             CREATE TABLE m_south_2 PARTITION OF m_south FOR VALUES FROM (100) TO (1000);
             INSERT INTO m SELECT i, CASE WHEN i % 2 = 0 THEN 'north' ELSE 'south' END, i, 0 FROM generate_series(1, 300) i",
        )
        .await;
    session
        .value("SELECT mvrefresh.ensure_log('m', '{id,region,v}')")
        .await
}

#[tokio::test]
async fn every_partition_is_logged_and_rows_that_move() {
    for major in covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::installed_on(server).await;
        let mut admin = database.admin().await;
        let log = measurements(&mut admin).await;
        for statement in [
            "INSERT INTO m VALUES (400, 'north', 1, 1), (401, 'south', 1, 1)",
            "INSERT INTO m_north (id, region, v) VALUES (402, 'north', 2)",
            "INSERT INTO m_south VALUES (403, 'south', 2, 2)",
            "INSERT INTO m_south_1 VALUES (99, 'south', 2, 2)",
            "UPDATE m SET v = v + 1",
            "UPDATE m_south SET v = v + 1 WHERE id < 20",
            "UPDATE m_south_2 SET v = NULL WHERE id < 120",
            "UPDATE m SET region = 'south' WHERE id IN (10, 12, 200)",
            "UPDATE m SET region = CASE region WHEN 'north' THEN 'south' ELSE 'north' END",
            "UPDATE m_south SET id = id + 90 WHERE id BETWEEN 5 AND 50",
            "DELETE FROM m WHERE id % 5 = 0",
            "DELETE FROM m_north WHERE id % 7 = 0",
            "COPY m (id, region, v) FROM PROGRAM 'printf \"500\\tnorth\\t1\\n501\\tsouth\\t2\\n\"'",
            "MERGE INTO m USING (SELECT generate_series(295, 320) AS id) s ON m.id = s.id
                 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'south', 0, 0)",
        ] {
            admin.remember(log).await;
            admin.run(statement).await;
            admin.assert_log_is_exact(log, statement).await;
            assert!(!admin.is_marked(log).await, "{statement}");
        }
        let rows = admin.log_rows(log).await;
        admin
            .run("UPDATE m SET unread = 5; UPDATE m_north SET unread = 6")
            .await;
        assert_eq!(admin.log_rows(log).await, rows);
        assert_eq!(admin.log_problem(log).await, "NULL");
        for truncate in ["TRUNCATE m_south_2", "TRUNCATE m_south", "TRUNCATE m"] {
            admin.remember(log).await;
            admin.run(truncate).await;
            assert!(admin.is_marked(log).await, "{truncate}");
        }
    }
}

#[tokio::test]
async fn a_partition_attached_later_is_noticed_and_logged_after_a_repair() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = measurements(&mut admin).await;
    for (ddl, problem) in [
        (
            "CREATE TABLE m_west PARTITION OF m FOR VALUES IN ('west')",
            "partition public.m_west has no trigger for DELETE",
        ),
        (
            "CREATE TABLE m_south_3 (LIKE m_south); INSERT INTO m_south_3 VALUES (1500, 'south', 1, 1);
             ALTER TABLE m_south ATTACH PARTITION m_south_3 FOR VALUES FROM (1000) TO (2000)",
            "partition public.m_south_3 has no trigger for DELETE",
        ),
    ] {
        admin.remember(log).await;
        admin.run(ddl).await;
        assert_eq!(admin.log_problem(log).await, problem);
        assert_eq!(
            admin.repair_logs().await,
            ["made the triggers anew; what reads the table is refreshed completely next"]
        );
        assert_eq!(admin.log_problem(log).await, "NULL");
        assert!(admin.is_marked(log).await);
        admin.remember(log).await;
        let name = ddl.split(' ').nth(2).unwrap();
        admin
            .run(&format!("UPDATE {name} SET v = 77; DELETE FROM {name} WHERE id < 1501; UPDATE m SET v = 1"))
            .await;
        admin.assert_log_is_exact(log, ddl).await;
    }
}

#[tokio::test]
async fn a_partition_detached_is_noticed_and_its_changes_are_no_longer_logged() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = measurements(&mut admin).await;
    admin.run("ALTER TABLE m DETACH PARTITION m_north").await;
    assert_eq!(
        admin.log_problem(log).await,
        "public.m_north has triggers of this log and should not"
    );
    admin.remember(log).await;
    admin.repair_logs().await;
    assert!(admin.is_marked(log).await);
    assert_eq!(admin.log_problem(log).await, "NULL");
    let rows = admin.log_rows(log).await;
    admin
        .run("UPDATE m_north SET v = 1000; TRUNCATE m_north")
        .await;
    assert_eq!(admin.log_rows(log).await, rows);
    admin.remember(log).await;
    admin.run("UPDATE m SET v = 9").await;
    admin.assert_log_is_exact(log, "DETACH").await;
}

#[tokio::test]
async fn a_partition_that_was_away_for_a_while_is_noticed() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = measurements(&mut admin).await;
    admin
        .run("ALTER TABLE m DETACH PARTITION m_north; ALTER TABLE m ATTACH PARTITION m_north FOR VALUES IN ('north')")
        .await;
    assert!(
        admin.log_problem(log).await.contains("changed back"),
        "its triggers are all there"
    );
    admin.repair_logs().await;
    assert_eq!(admin.log_problem(log).await, "NULL");
    // dropped as a whole, no trigger fires
    admin.remember(log).await;
    admin.run("DROP TABLE m_south_1").await;
    assert_ne!(admin.log_problem(log).await, "NULL");
    admin.repair_logs().await;
    assert!(admin.is_marked(log).await);
}

#[tokio::test]
async fn what_statement_triggers_can_not_watch_is_refused_with_the_reason() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    measurements(&mut admin).await;
    admin
        .run(
            "CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent);
             CREATE VIEW v AS SELECT 1 AS a; CREATE MATERIALIZED VIEW native AS SELECT 1 AS a; CREATE SEQUENCE s;
             CREATE UNLOGGED TABLE u (a int); CREATE TEMP TABLE tt (a int);
             CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (a int) SERVER far;
             CREATE TABLE pf (a int) PARTITION BY LIST (a); CREATE FOREIGN TABLE pf1 PARTITION OF pf FOR VALUES IN (1) SERVER far",
        )
        .await;
    for (table, reason) in [
        ("parent", "has an inheritance child, public.child"),
        ("child", "inherits from public.parent"),
        ("v", "is a view: its base tables are logged instead"),
        ("native", "is a native MATERIALIZED VIEW"),
        ("s", "is not a table"),
        ("u", "is unlogged"),
        ("tt", "is a temporary table"),
        ("f", "is a foreign table"),
        ("pf", "has a partition that is a foreign table, public.pf1"),
        ("m_south_1", "is a partition: log public.m instead"),
        ("pg_class", "belongs to the system"),
        ("mvrefresh.log$1", "belongs to the system or to this module"),
    ] {
        let error = admin
            .failure(&format!(
                "SELECT mvrefresh.create_materialized_view_log('{table}')"
            ))
            .await;
        assert!(error.message.contains(reason), "{table}: {error:?}");
        assert_eq!(error.code, "42809");
    }
    let error = admin
        .failure("SELECT mvrefresh.create_materialized_view_log('nothing')")
        .await;
    assert_eq!(error.code, "42P01");
}

/// `PostgreSQL` fills the transition tables wrongly here.
#[tokio::test]
async fn a_merge_that_updates_a_partitioned_table_makes_the_next_refresh_complete() {
    const MERGE: &str = "MERGE INTO m USING (VALUES (900), (10), (901), (12)) s (id) ON m.id = s.id
        WHEN MATCHED THEN UPDATE SET region = 'south' WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'south', 0, 0)";
    for major in covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::installed_on(server).await;
        let mut admin = database.admin().await;
        let log = measurements(&mut admin).await;
        admin
            .run(&format!(
                "CREATE FUNCTION by_plpgsql() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {MERGE}; END $$;
                 CREATE FUNCTION by_dynamic() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'mer' || 'ge {}'; END $$;
                 CREATE FUNCTION by_sql() RETURNS void LANGUAGE sql AS $$ {MERGE} $$;
                 CREATE FUNCTION plainly() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO m VALUES (800, 'south'); UPDATE m SET v = v + 1; END $$;
                 PREPARE prepared AS {MERGE}",
                MERGE.trim_start_matches("MERGE").replace('\'', "''")
            ))
            .await;
        for statement in [
            MERGE,
            "MERGE INTO m USING (SELECT generate_series(1, 10) AS id) s ON m.id = s.id WHEN MATCHED THEN UPDATE SET region = 'north'",
            "SELECT by_plpgsql()",
            "SELECT by_dynamic()",
            "SELECT by_sql()",
            "EXECUTE prepared",
        ] {
            admin.remember(log).await;
            admin.run(statement).await;
            assert!(admin.is_marked(log).await, "{statement}");
        }
        admin.remember(log).await;
        admin.run("SELECT plainly()").await;
        assert!(!admin.is_marked(log).await);
        admin.assert_log_is_exact(log, "INSERT, then UPDATE").await;
    }
}
