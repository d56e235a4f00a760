//! Sums of floating-point numbers: refreshed group by group, and compared within the error of their rounding.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};
use mvrefreshd::refresh::compile::Compiled;
use sqlx::Row;

/// Numbers whose sums depend on the order in which they are added, 50 in each group.
const MEASURED: &str = "
    CREATE TABLE alice.measured (id int PRIMARY KEY, k int, x float8, y real);
    INSERT INTO alice.measured
    SELECT i, nullif(i % 8, 0), (CASE i % 3 WHEN 0 THEN -1 ELSE 1 END) * 10.0::float8 ^ (i % 17 - 8) / 3, i / 7.0 FROM generate_series(1, 400) AS i";

const SUMS: &str = "SELECT k, sum(x) AS total, avg(x) AS mean, sum(y) AS y, avg(y) FILTER (WHERE id % 2 = 0) AS even, count(*) AS n, max(id) AS latest FROM alice.measured GROUP BY k";

async fn measured() -> (Database, Session, Session) {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice.run(MEASURED).await;
    let module = database.session("refresher").await;
    (database, alice, module)
}

impl Session {
    async fn create_sums(&mut self, query: &str) {
        self.run(&format!(
            "SELECT mvrefresh.create_materialized_view('alice.sums', $q${query}$q$)"
        ))
        .await;
    }

    /// Rows missing and unexpected.
    async fn differences(&mut self) -> (i64, i64) {
        let rows = self
            .rows("SELECT rows_missing, rows_unexpected FROM mvrefresh.verify_materialized_view('alice.sums')")
            .await;
        (rows[0].get(0), rows[0].get(1))
    }
}

/// The next greater number.
const NEXT: &str = "CREATE FUNCTION alice.next(x float8) RETURNS float8 LANGUAGE plpgsql AS $$
    DECLARE step float8 := abs(x) * 1.1e-16;
    BEGIN RETURN x + step * 1.01; END $$";

#[tokio::test]
async fn touched_groups_are_computed_anew_and_others_keep_what_they_have() {
    let (_database, mut alice, mut module) = measured().await;
    alice.create_sums(SUMS).await;
    module.make_fast("alice.sums").await;
    alice.run(NEXT).await;
    // as another order of the rows would have it
    alice
        .run("UPDATE alice.sums SET total = alice.next(total)")
        .await;
    alice
        .run("CREATE TABLE alice.before AS SELECT k, total FROM alice.sums; UPDATE alice.measured SET x = x + 1 WHERE id IN (3, 8)")
        .await;
    module.assert_fast("alice.sums").await;
    let kept: Vec<String> = alice
        .values("SELECT coalesce(b.k, -1)::text FROM alice.before b JOIN alice.sums s ON s.k IS NOT DISTINCT FROM b.k AND s.total = b.total ORDER BY 1")
        .await;
    assert_eq!(kept, ["1", "2", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn groups_come_and_go() {
    let (_database, mut alice, mut module) = measured().await;
    alice.create_sums(SUMS).await;
    module.make_fast("alice.sums").await;
    for change in [
        "DELETE FROM alice.measured WHERE k = 3",
        "DELETE FROM alice.measured WHERE k IS NULL",
        "INSERT INTO alice.measured VALUES (1001, NULL, 0.1, 0.1), (1002, 9, NULL, NULL)",
        "UPDATE alice.measured SET k = NULL WHERE k = 9",
        "UPDATE alice.measured SET k = k + 1",
        "UPDATE alice.measured SET x = 'NaN' WHERE id = 1; UPDATE alice.measured SET x = 'Infinity', y = '-Infinity' WHERE id = 2",
        "UPDATE alice.measured SET x = '-Infinity' WHERE id = 10",
        "UPDATE alice.measured SET x = 1 WHERE id IN (1, 2, 10); UPDATE alice.measured SET y = '-0' WHERE k = 4",
        "UPDATE alice.measured SET x = 1e150, y = 1e-45 WHERE id = 4; UPDATE alice.measured SET x = -1e150 WHERE id = 12",
        "UPDATE alice.measured SET x = 1e-320 WHERE k = 5",
        "DELETE FROM alice.measured",
        "INSERT INTO alice.measured VALUES (1, 1, 0.1, 0.1)",
    ] {
        alice.run(change).await;
        let refreshed = module.refresh("alice.sums", Some("fast")).await;
        assert_eq!(refreshed.method, "fast", "{change}: {}", refreshed.reason);
        assert_eq!(alice.differences().await, (0, 0), "{change}");
    }
}

#[tokio::test]
async fn magnitudes_may_be_too_large_to_be_added_up() {
    let (_database, mut alice, mut module) = measured().await;
    alice
        .run("UPDATE alice.measured SET x = 6e307 * (id % 2 * 2 - 1)")
        .await;
    alice
        .create_sums("SELECT id / 100 AS k, sum(x) AS total FROM alice.measured GROUP BY id / 100")
        .await;
    module.make_fast("alice.sums").await;
    alice
        .run("UPDATE alice.measured SET x = x / 2 WHERE id IN (1, 2)")
        .await;
    module.assert_fast("alice.sums").await;
}

#[tokio::test]
async fn without_group_by_the_one_row_is_computed_anew() {
    let (_database, mut alice, mut module) = measured().await;
    alice
        .create_sums("SELECT sum(m.x) AS total, avg(o.y) AS mean, count(*) AS n FROM alice.measured m LEFT JOIN alice.measured o ON o.id = m.k")
        .await;
    module.make_fast("alice.sums").await;
    for change in [
        "UPDATE alice.measured SET x = -x WHERE id = 7",
        "DELETE FROM alice.measured",
        "INSERT INTO alice.measured VALUES (1, 1, 0.1, 0.1)",
    ] {
        alice.run(change).await;
        module.assert_fast("alice.sums").await;
    }
    alice
        .run("DELETE FROM alice.sums; UPDATE alice.measured SET x = 5")
        .await;
    assert_eq!(alice.differences().await, (1, 0));
}

#[tokio::test]
async fn a_difference_is_found_if_it_is_larger_than_the_error_of_rounding() {
    let (_database, mut alice, mut module) = measured().await;
    alice.create_sums(SUMS).await;
    module.make_fast("alice.sums").await;
    alice.run(NEXT).await;
    for (change, differs) in [
        ("total = alice.next(total), mean = alice.next(mean)", false),
        ("y = y * 1.0000001::real", false),
        // a millionth of the greatest number of the group, which is far more than what is left of the sum
        ("total = total + 0.1", true),
        ("total = NULL", true),
        ("mean = 'NaN'", true),
        ("total = '-Infinity'", true),
        ("y = y * 1.01::real", true),
        ("even = even + 1e-9", true),
        ("n = n + 1", true),
    ] {
        alice
            .run(&format!("UPDATE alice.sums SET {change} WHERE k = 4"))
            .await;
        let expected = if differs { (1, 1) } else { (0, 0) };
        assert_eq!(alice.differences().await, expected, "{change}");
        module.refresh("alice.sums", Some("complete")).await;
        assert_eq!(alice.differences().await, (0, 0), "{change}");
    }
    for (change, expected) in [
        ("DELETE FROM alice.sums WHERE k IS NULL", (1, 0)),
        (
            "INSERT INTO alice.sums SELECT * FROM alice.sums WHERE k = 5",
            (0, 1),
        ),
        ("UPDATE alice.sums SET k = 99 WHERE k IS NULL", (1, 1)),
    ] {
        alice.run(change).await;
        assert_eq!(alice.differences().await, expected, "{change}");
        module.refresh("alice.sums", Some("complete")).await;
    }
}

/// Each is computed from sums.
const COMPUTED: &[&str] = &[
    "sum(x) * 2",
    "3 - sum(x)",
    "- sum(x) / 10",
    "sum(x) / count(*)",
    "coalesce(sum(x), 0)",
    "sum(x) * avg(y)",
    "sum(x) / nullif(max(id) - 1000, 0) * min(k)",
    "round(avg(x)::numeric, 2)",
    "avg(x)::numeric(20, 4) + 1",
    "ceil(sum(x))",
    "sum(x)::bigint",
    "CASE WHEN count(x) > 0 THEN sum(x) ELSE -1 END",
    "greatest(sum(x) FILTER (WHERE id % 2 = 0), avg(x), 5)",
];

#[tokio::test]
async fn what_is_computed_from_sums_is_compared_between_what_their_bounds_give() {
    let (_database, mut alice, mut module) = measured().await;
    let outputs: Vec<String> = COMPUTED
        .iter()
        .zip(1..)
        .map(|(value, number)| format!("{value} AS c{number}"))
        .collect();
    alice
        .create_sums(&format!(
            "SELECT k, {} FROM alice.measured GROUP BY k",
            outputs.join(", ")
        ))
        .await;
    module.make_fast("alice.sums").await;
    // the same rows in another order, which a complete refresh would add up in another way
    alice
        .run("CREATE TABLE alice.others AS TABLE alice.measured; DELETE FROM alice.measured; INSERT INTO alice.measured SELECT * FROM alice.others ORDER BY id * 7919 % 401")
        .await;
    assert_eq!(alice.differences().await, (0, 0));
    for change in [
        "UPDATE alice.measured SET x = x * 1.5 WHERE k = 3",
        "DELETE FROM alice.measured WHERE k = 5",
        "UPDATE alice.measured SET x = NULL WHERE k = 6",
        "UPDATE alice.measured SET x = 0 WHERE k = 7",
    ] {
        alice.run(change).await;
        module.assert_fast("alice.sums").await;
    }
    for number in 1..=COMPUTED.len() {
        let value = COMPUTED[number - 1];
        alice
            .run(&format!(
                "UPDATE alice.sums SET c{number} = c{number} + 1 WHERE k = 4"
            ))
            .await;
        assert_eq!(alice.differences().await, (1, 1), "{value}");
        module.refresh("alice.sums", Some("complete")).await;
        assert_eq!(alice.differences().await, (0, 0), "{value}");
    }
}

#[tokio::test]
async fn sums_of_one_or_two_numbers_are_compared_to_the_last_digit() {
    let (_database, mut alice, mut module) = measured().await;
    alice
        .run("DELETE FROM alice.measured WHERE id > 16; UPDATE alice.measured SET x = 0.1 + id")
        .await;
    alice.create_sums(SUMS).await;
    module.make_fast("alice.sums").await;
    alice.run(NEXT).await;
    alice
        .run("UPDATE alice.sums SET total = alice.next(total) WHERE k = 5")
        .await;
    assert_eq!(alice.differences().await, (1, 1));
}

#[tokio::test]
async fn an_audit_takes_last_digits_for_what_they_are_and_finds_what_is_wrong() {
    let (_database, mut alice, mut module) = measured().await;
    alice.create_sums(SUMS).await;
    module.make_fast("alice.sums").await;
    alice.run(NEXT).await;
    alice
        .run("SELECT setseed(0.5); UPDATE alice.sums SET total = alice.next(total)")
        .await;
    for sampled in ["NULL", "0"] {
        for _ in 0..10 {
            alice
                .run("UPDATE alice.measured SET x = (random() - 0.5) * 1e6, y = random() WHERE id % 50 = (random() * 49)::int")
                .await;
            let refreshed = module.refresh("alice.sums", Some("fast")).await;
            assert_eq!(refreshed.method, "fast");
        }
        assert_eq!(audit(&mut module, sampled).await, Some(0), "{sampled}");
    }
    alice
        .run("UPDATE alice.sums SET total = total + 0.01 WHERE k = 5")
        .await;
    assert_eq!(audit(&mut module, "NULL").await, Some(2));
    alice
        .run("UPDATE alice.measured SET x = 3 WHERE id = 5")
        .await;
    module.assert_complete("alice.sums", "quarantined").await;
}

/// Differing rows; none if there was no comparison.
async fn audit(module: &mut Session, sample_above_ms: &str) -> Option<i64> {
    let id = module.view_id("alice.sums").await;
    module.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    let differing = module
        .value(&format!(
            "SELECT rows_missing + rows_unexpected FROM mvrefresh.perform_audit({id}, {sample_above_ms})"
        ))
        .await;
    module.run("COMMIT").await;
    differing
}

#[tokio::test]
async fn bounds_of_another_definition_are_not_used() {
    let (_database, mut alice, mut module) = measured().await;
    alice.create_sums(SUMS).await;
    module.make_fast("alice.sums").await;
    // the bounds name what there is no longer
    alice
        .run("ALTER TABLE alice.measured RENAME COLUMN x TO length")
        .await;
    assert_eq!(alice.differences().await, (0, 0));
    alice.run(NEXT).await;
    alice
        .run("UPDATE alice.sums SET total = alice.next(total) WHERE k = 5")
        .await;
    assert_eq!(alice.differences().await, (1, 1), "to the last digit");
    assert_eq!(module.compile("alice.sums").await, Compiled::Fast);
    assert_eq!(alice.differences().await, (0, 0), "within bounds again");
    // what an audit can't tell it leaves for later
    alice
        .run("ALTER TABLE alice.measured RENAME COLUMN length TO x")
        .await;
    assert_eq!(audit(&mut module, "NULL").await, None);
    assert_eq!(module.compile("alice.sums").await, Compiled::Fast);
    assert_eq!(audit(&mut module, "NULL").await, Some(0));
}

#[tokio::test]
async fn a_view_of_such_sums_sees_what_is_stored() {
    let (_database, mut alice, mut module) = measured().await;
    alice.create_sums(SUMS).await;
    module.make_fast("alice.sums").await;
    alice
        .run("SELECT mvrefresh.create_materialized_view('alice.above', 'SELECT k, total FROM alice.sums WHERE total > 0')")
        .await;
    module.make_fast("alice.above").await;
    alice
        .run("UPDATE alice.measured SET x = x + 1 WHERE id IN (3, 8)")
        .await;
    module.assert_fast("alice.sums").await;
    module.assert_fast("alice.above").await;
}
