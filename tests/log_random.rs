//! Whatever is done to a logged table, its log tells the difference: random scripts, and many writers at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Database, Session};
use fastrand::Rng;

const CASES: u64 = 240;

/// A value of a small domain, often NULL, so that rows are often equal.
fn value(random: &mut Rng) -> String {
    match random.u8(0..5) {
        0 => "NULL".to_owned(),
        n => n.to_string(),
    }
}

fn condition(random: &mut Rng) -> String {
    let column = random.choice(["a", "b", "d"]).unwrap();
    match random.u8(0..4) {
        0 => format!("{column} IS NULL"),
        1 => "true".to_owned(),
        2 => format!("{column} > {}", random.u8(0..5)),
        _ => format!("{column} = {}", random.u8(0..5)),
    }
}

fn row(random: &mut Rng) -> String {
    let (a, b, c, d) = (value(random), value(random), value(random), value(random));
    format!(
        "({a}, {b}, '[{}]', {d}, {})",
        c.to_lowercase(),
        random.u8(0..3)
    )
}

fn statement(random: &mut Rng) -> String {
    match random.u8(0..10) {
        0..=2 => {
            let rows: Vec<String> = (0..random.u8(1..6)).map(|_| row(random)).collect();
            format!("INSERT INTO t VALUES {}", rows.join(", "))
        }
        3 => "INSERT INTO t SELECT * FROM t LIMIT 20".to_owned(),
        4 => format!("UPDATE t SET a = {} WHERE {}", value(random), condition(random)),
        5 => format!("UPDATE t SET a = b, b = a WHERE {}", condition(random)),
        6 => format!("UPDATE t SET unread = unread + 1 WHERE {}", condition(random)),
        7 => format!(
            "MERGE INTO t USING (SELECT DISTINCT coalesce(d, 1) AS d FROM t) s ON t.d = s.d AND {}
             WHEN MATCHED AND t.a = 2 THEN DELETE WHEN MATCHED THEN UPDATE SET b = {} WHEN NOT MATCHED THEN INSERT VALUES {}",
            condition(random).replace("a ", "t.a ").replace("b ", "t.b ").replace("d ", "t.d "),
            value(random),
            row(random)
        ),
        8 => format!("UPDATE t SET d = {} WHERE {}", random.u8(1..5), condition(random)),
        _ => format!("DELETE FROM t WHERE {} AND {}", condition(random), condition(random)),
    }
}

/// One transaction, with savepoints and rollbacks.
fn script(random: &mut Rng) -> String {
    let mut script = "BEGIN; ".to_owned();
    for _ in 0..random.u8(1..6) {
        let statement = statement(random);
        let part = match random.u8(0..6) {
            0 => format!("SAVEPOINT s; {statement}; ROLLBACK TO s; "),
            1 => format!("SAVEPOINT s; {statement}; RELEASE s; "),
            _ => format!("{statement}; "),
        };
        script.push_str(&part);
    }
    script
        + if random.u8(0..6) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        }
}

async fn random_table(session: &mut Session, random: &mut Rng) -> i32 {
    let definition = "(a int, b numeric, c json, d int, unread int)";
    session
        .run(&if random.bool() {
            format!("CREATE TABLE t {definition}")
        } else {
            format!(
                "CREATE TABLE t {definition} PARTITION BY LIST (d); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1, 2);
                 CREATE TABLE t2 (unread int, d int, c json, b numeric, a int); ALTER TABLE t ATTACH PARTITION t2 DEFAULT"
            )
        })
        .await;
    let columns = random
        .choice(["{a}", "{a,b,d}", "{a,b,c,d}", "{c,d}", "{}"])
        .unwrap();
    session
        .value(&format!("SELECT mvrefresh.ensure_log('t', '{columns}')"))
        .await
}

#[tokio::test]
async fn old_contents_and_log_come_to_the_new_contents_after_any_script() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    for seed in 0..CASES {
        let random = &mut Rng::with_seed(seed);
        let log = random_table(&mut admin, random).await;
        let is_partitioned: bool = admin
            .value("SELECT relkind = 'p' FROM pg_class WHERE oid = 't'::regclass")
            .await;
        for _ in 0..5 {
            let script = script(random);
            admin.remember(log).await;
            // one by one, as an application would
            for statement in script.split("; ") {
                admin.run(statement).await;
            }
            // see log_partitions
            if is_partitioned && script.contains("MERGE") {
                continue;
            }
            assert!(!admin.is_marked(log).await, "seed {seed}: {script}");
            admin
                .assert_log_is_exact(log, &format!("seed {seed}: {script}"))
                .await;
        }
        assert_eq!(admin.log_problem(log).await, "NULL");
        admin.run("DROP TABLE t").await;
        assert_eq!(admin.repair_logs().await, ["dropped the log"]);
    }
}

#[tokio::test]
async fn what_is_pending_between_two_snapshots_is_their_difference_under_many_writers() {
    let database = Database::installed().await;
    let mut admin = database.admin().await;
    let log = random_table(&mut admin, &mut Rng::with_seed(1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 0..6 {
        let mut session = database.admin().await;
        let stop = Arc::clone(&stop);
        writers.push(tokio::spawn(async move {
            let mut random = Rng::with_seed(1000 + seed);
            let (mut committed, mut previous) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                // their own rows only, so that there are no deadlocks; some stay open for a while
                let (key, hold) = (random.u32(10..1 << 30), f64::from(random.u8(0..20)) / 1000.0);
                let end = if random.u8(0..4) == 0 { "ROLLBACK" } else { "COMMIT" };
                session
                    .run(&format!(
                        "BEGIN; INSERT INTO t SELECT {key}, i % 2, NULL, i % 4 FROM generate_series(1, 5) i; SAVEPOINT s;
                         DELETE FROM t WHERE a = {key} AND d = 1; {} SAVEPOINT s2; UPDATE t SET d = d + 1 WHERE a = {key};
                         SELECT pg_sleep({hold}); DELETE FROM t WHERE a = {previous} AND d > 1; {end}",
                        if random.bool() { "ROLLBACK TO s;" } else { "" }
                    ))
                    .await;
                committed += 1;
                previous = key;
            }
            committed
        }));
    }
    for round in 0..60 {
        admin.remember(log).await;
        // until something has been committed in between
        let pending = format!(
            "(mvrefresh.pending_in_log({log}, (SELECT snapshot FROM kept.snapshots))).pending_rows > {}",
            round % 30
        );
        admin.wait_until(&pending).await;
        admin
            .assert_log_is_exact(log, &format!("round {round}"))
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
}
