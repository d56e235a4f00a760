//! The checks before a fast refresh are left out as long as the versions of the rows that they look at are the same. So
//! whatever changes what the checks find changes these versions; and what a server does all day does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, Session};
use mvrefreshd::refresh::compile::Compiled;

const SHOP: &str = "
    CREATE TYPE alice.mood AS ENUM ('fine', 'so so');
    CREATE TYPE alice.unsaid AS ENUM ();
    CREATE FUNCTION alice.doubled(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
    CREATE TABLE alice.customers (customer_id int PRIMARY KEY, region text NOT NULL, mood alice.mood, note text, unsaid alice.unsaid);
    CREATE TABLE alice.orders (order_id int NOT NULL, customer_id int NOT NULL, amount int NOT NULL, unused text,
                               twice int GENERATED ALWAYS AS (2 * amount) STORED) PARTITION BY RANGE (order_id);
    CREATE TABLE alice.early PARTITION OF alice.orders FOR VALUES FROM (0) TO (1000);
    CREATE TABLE alice.late PARTITION OF alice.orders FOR VALUES FROM (1000) TO (2000);
    CREATE TABLE alice.later (LIKE alice.orders INCLUDING GENERATED);
    CREATE TABLE alice.other (id int PRIMARY KEY, mood alice.mood);
    INSERT INTO alice.customers SELECT i, 'region ' || i % 3, 'fine' FROM generate_series(1, 20) AS i;
    INSERT INTO alice.orders SELECT i, i % 20 + 1, i FROM generate_series(1, 200) AS i;
    CREATE VIEW alice.v_lines AS
        SELECT order_id, region, mood::text AS mood, alice.doubled(amount) AS doubled, twice, o.ctid::text AS place
        FROM alice.orders o JOIN alice.customers USING (customer_id);
    CREATE VIEW alice.v_sums AS
        SELECT region, mood::text AS mood, count(*) AS orders, sum(alice.doubled(amount)) AS total, max(twice) AS largest
        FROM alice.orders JOIN alice.customers USING (customer_id) GROUP BY region, mood;
    SELECT mvrefresh.create_materialized_view('alice.sums', view_name => 'alice.v_sums')";

/// What each of these does the checks find.
const MATTERS: [&str; 35] = [
    "ALTER TABLE alice.customers RENAME region TO area; ALTER TABLE alice.customers RENAME note TO region",
    "ALTER TABLE alice.customers RENAME TO clients",
    "ALTER TABLE alice.customers ADD COLUMN more int",
    "ALTER TABLE alice.customers DROP COLUMN note",
    "ALTER TABLE alice.customers ALTER note TYPE varchar(20)",
    "ALTER TABLE alice.customers ALTER region DROP NOT NULL",
    "ALTER TABLE alice.customers DROP CONSTRAINT customers_pkey",
    "CREATE UNIQUE INDEX ON alice.customers (customer_id, region)",
    "ALTER TABLE alice.customers SET UNLOGGED",
    "ALTER TABLE alice.customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "ALTER TABLE alice.customers OWNER TO postgres",
    "ALTER TABLE alice.customers DISABLE TRIGGER USER",
    "ALTER TABLE alice.customers DISABLE TRIGGER USER; ALTER TABLE alice.customers ENABLE TRIGGER USER",
    "REVOKE SELECT ON alice.customers FROM alice; ALTER TABLE alice.customers OWNER TO postgres; GRANT SELECT (customer_id) ON alice.customers TO alice",
    "ALTER TABLE alice.orders DETACH PARTITION alice.late",
    "ALTER TABLE alice.orders DETACH PARTITION alice.late; ALTER TABLE alice.orders ATTACH PARTITION alice.late FOR VALUES FROM (1000) TO (2000)",
    "ALTER TABLE alice.orders ATTACH PARTITION alice.later FOR VALUES FROM (2000) TO (3000)",
    "CREATE TABLE alice.latest PARTITION OF alice.orders DEFAULT",
    "ALTER TABLE alice.late DISABLE TRIGGER USER",
    "ALTER TABLE alice.orders DROP COLUMN twice CASCADE",
    "CREATE OR REPLACE FUNCTION alice.doubled(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $1'",
    "ALTER TYPE alice.mood RENAME VALUE 'so so' TO 'bad'",
    "ALTER TYPE alice.unsaid ADD VALUE 'something'",
    "CREATE OR REPLACE VIEW alice.v_sums AS SELECT region, mood::text AS mood, count(*) AS orders, sum(alice.doubled(amount)) AS total, min(twice) AS largest
        FROM alice.orders JOIN alice.customers USING (customer_id) GROUP BY region, mood",
    "ALTER TABLE alice.sums RENAME TO totals",
    "ALTER TABLE alice.sums SET SCHEMA mvrefresh",
    "ALTER TABLE alice.sums ADD COLUMN more int",
    "ALTER TABLE alice.sums OWNER TO postgres",
    "DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index WHERE indrelid = 'alice.sums'::regclass LIMIT 1); END $$",
    "DO $$ BEGIN EXECUTE (SELECT 'ALTER INDEX ' || indexrelid::regclass || ' RENAME TO another' FROM pg_index WHERE indrelid = 'alice.sums'::regclass LIMIT 1); END $$",
    "DO $$ DECLARE log text := (SELECT format('mvrefresh.%I', 'log$' || log_id) FROM mvrefresh.materialized_view_logs WHERE base_name LIKE '%orders'); BEGIN
        EXECUTE 'TRUNCATE ' || log; END $$",
    "DO $$ DECLARE log text := (SELECT format('mvrefresh.%I', 'log$' || log_id) FROM mvrefresh.materialized_view_logs WHERE base_name LIKE '%orders'); BEGIN
        EXECUTE 'DROP TABLE ' || log || ' CASCADE'; END $$",
    "DO $$ DECLARE capture text := (SELECT format('mvrefresh.%I', 'capture$' || log_id) FROM mvrefresh.materialized_view_logs WHERE base_name LIKE '%orders'); BEGIN
        EXECUTE format('ALTER FUNCTION %s() COST 7', capture); END $$",
    "DO $$ DECLARE capture text := (SELECT format('mvrefresh.%I', 'capture$' || log_id) FROM mvrefresh.materialized_view_logs WHERE base_name LIKE '%orders'); BEGIN
        EXECUTE format('CREATE TRIGGER stray AFTER INSERT ON alice.other REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION %s()', capture); END $$",
    "UPDATE mvrefresh.fast_programs SET compiled_for = NULL",
];

/// After none of these do the checks have to be done again.
const DAILY: [&str; 10] = [
    "UPDATE alice.orders SET amount = amount + 1; DELETE FROM alice.customers WHERE customer_id = 20; INSERT INTO alice.orders VALUES (1500, 3, 7)",
    "ANALYZE alice.orders; ANALYZE alice.customers; ANALYZE alice.sums; ANALYZE alice.early",
    "VACUUM alice.customers; VACUUM alice.orders",
    "VACUUM FREEZE pg_class; VACUUM FREEZE pg_attribute; VACUUM FREEZE pg_trigger; VACUUM FREEZE pg_proc; VACUUM FREEZE pg_depend",
    "CREATE TABLE alice.unrelated (id int PRIMARY KEY); DROP TABLE alice.unrelated",
    "ALTER TABLE alice.other ADD COLUMN more int",
    "UPDATE mvrefresh.materialized_view_settings SET refresh_rate_in_sec = 77, requested_at = now()",
    "SELECT mvrefresh.perform_refresh(mv_id, 'test') FROM mvrefresh.materialized_views",
    "SELECT mvrefresh.prune_logs('1 day')",
    "CREATE ROLE somebody; GRANT somebody TO alice; DROP ROLE somebody",
];

/// What the checks find by, in a form to compare.
const FINGERPRINTS: &str = "
    SELECT concat_ws(' ', mvrefresh.program_fingerprint(f.mv_id), f.compiled_for,
                     (SELECT string_agg(concat_ws(':', g.log_id, g.fingerprint), ' ' ORDER BY g.log_id)
                      FROM mvrefresh.log_fingerprints(array(SELECT log_id FROM mvrefresh.fast_program_logs WHERE mv_id = f.mv_id)) g))
    FROM mvrefresh.fast_programs f";
const LOOKED_AT: &str =
    "SELECT mvrefresh.what_checks_look_at(t)::text FROM mvrefresh.materialized_view_state t";

async fn shop() -> (Database, Session) {
    let database = Database::with_ordinary_roles().await;
    database.session("alice").await.run(SHOP).await;
    let mut admin = database.admin().await;
    admin.run("SET search_path TO mvrefresh").await;
    database
        .session("refresher")
        .await
        .make_fast("alice.sums")
        .await;
    (database, admin)
}

/// Whether all that these checks looked at is as it was.
async fn is_as_before(admin: &mut Session, looked_at: &str) -> bool {
    admin
        .value(&format!(
            "SELECT (c.c).versions = mvrefresh.catalog_versions(c.c, t.system_identifier)
             FROM mvrefresh.materialized_view_state t, (SELECT $c${looked_at}$c$::mvrefresh.checked_programs AS c OFFSET 0) c"
        ))
        .await
}

#[tokio::test]
async fn whatever_changes_what_the_checks_find_changes_versions() {
    let (_database, mut admin) = shop().await;
    let looked_at = admin.text(LOOKED_AT).await;
    let fingerprints = admin.text(FINGERPRINTS).await;
    for ddl in MATTERS {
        assert!(is_as_before(&mut admin, &looked_at).await, "before {ddl}");
        admin.run("BEGIN").await;
        admin.run(ddl).await;
        assert_ne!(fingerprints, admin.text(FINGERPRINTS).await, "{ddl}");
        assert!(!is_as_before(&mut admin, &looked_at).await, "{ddl}");
        admin.run("ROLLBACK").await;
    }
}

#[tokio::test]
async fn a_change_after_another_one_of_the_same_transaction_changes_versions() {
    let (_database, mut admin) = shop().await;
    admin
        .run("BEGIN; ALTER TABLE alice.customers DISABLE TRIGGER USER")
        .await;
    let looked_at = admin.text(LOOKED_AT).await;
    admin
        .run("ALTER TABLE alice.customers ENABLE TRIGGER USER; COMMIT")
        .await;
    assert!(!is_as_before(&mut admin, &looked_at).await);
}

#[tokio::test]
async fn what_is_done_all_day_changes_none() {
    let (_database, mut admin) = shop().await;
    let looked_at = admin.text(LOOKED_AT).await;
    for daily in DAILY {
        for statement in daily.split("; ") {
            admin.run(statement).await;
        }
        assert!(is_as_before(&mut admin, &looked_at).await, "{daily}");
    }
}

#[tokio::test]
async fn checks_that_found_all_in_order_are_remembered_until_something_changes() {
    let is_as_checked =
        "SELECT mvrefresh.is_as_checked(t) FROM mvrefresh.materialized_view_state t";
    let (_database, mut admin) = shop().await;
    assert!(admin.value::<bool>(is_as_checked).await);
    // of an index that is not unique the checks say nothing, but they have to be made
    admin.run("CREATE INDEX ON alice.customers (region); UPDATE alice.orders SET amount = -1 WHERE order_id = 1").await;
    assert!(!admin.value::<bool>(is_as_checked).await);
    admin.assert_fast("alice.sums").await;
    assert!(admin.value::<bool>(is_as_checked).await);
    // where nothing is pending, whoever asks has it noted
    admin.run("CREATE INDEX ON alice.customers (note)").await;
    assert_eq!(admin.refresh("alice.sums", None).await.status, "unchanged");
    assert!(!admin.value::<bool>(is_as_checked).await);
    admin
        .run("SELECT mvrefresh.refresh_materialized_view('alice.sums')")
        .await;
    assert!(admin.value::<bool>(is_as_checked).await);
}

#[tokio::test]
async fn a_refusal_is_remembered_as_well() {
    let (database, mut admin) = shop().await;
    database.session("alice").await.run("SELECT mvrefresh.create_materialized_view('alice.numbered', 'SELECT order_id, row_number() OVER (ORDER BY order_id) AS n FROM alice.orders')").await;
    let mut module = database.session("refresher").await;
    assert!(matches!(
        module.compile("alice.numbered").await,
        Compiled::Refused(_)
    ));
    for _ in 0..2 {
        let refreshed = module.refresh("alice.numbered", None).await;
        assert!(refreshed.reason.contains("PARTITION BY"), "{refreshed:?}");
        assert_eq!(admin.value::<i64>("SELECT count(*) FROM mvrefresh.materialized_view_state t WHERE mvrefresh.is_as_checked(t)").await, 2);
    }
}
