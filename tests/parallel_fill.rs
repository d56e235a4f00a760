//! `create --parallel`: a materialized view filled by several sessions is what one session would have made of it.

mod common;

use common::{Daemon, Database, Finished, Session, Signal, run};

const DATA: i32 = 65;
const TEMPORARY: i32 = 75;
const PERMISSION: i32 = 77;

/// A table with many values of many types, among them NULLs, values that many rows share, and others that none do; and a function
/// that waits at a gate (the advisory lock 7), so that tests can do things while rows are being read.
const TABLES: &str = "
    CREATE TYPE mood AS ENUM ('glad', 'sad', 'so so');
    CREATE TABLE facts (
        id integer PRIMARY KEY, few integer, many bigint, word text, short varchar(4), fixed char(5), code uuid, amount numeric(10, 2),
        day date, at timestamptz, real_one double precision, yes boolean, mood mood, list integer[], document json, never integer);
    INSERT INTO facts
    SELECT i, nullif(i % 5, 3), nullif((i * 7919) % 10007, 5), nullif(chr(65 + i % 58) || i % 900, 'A0'), nullif(left(i::text, 3), '100'),
           chr(97 + i % 26) || ' ', md5((i / 2)::text)::uuid, nullif((i % 1000) / 7.0, 0), date '2020-01-31' + (i % 400),
           timestamptz '2024-03-01 12:00+01' + i * interval '17 minutes', CASE i % 10 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0' ELSE i / 3.0 END,
           i % 3 = 0, (ARRAY['glad', 'sad', NULL, 'so so'])[1 + i % 4]::mood, ARRAY[i % 4, i % 9], json_build_object('n', i % 20), NULL
    FROM generate_series(1, 4000) i;
    ANALYZE facts;
    CREATE TABLE unanalyzed (id integer PRIMARY KEY, word text) WITH (autovacuum_enabled = false);
    INSERT INTO unanalyzed SELECT i, 'w' || i % 700 FROM generate_series(1, 2000) i;
    CREATE FUNCTION gate(x integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN x; END';";

const GATED: &str = "SELECT id, few, gate(id) AS passed FROM facts";

/// What a session waits for at the gate.
const WAITING: &str =
    "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted)";

/// Nothing is left of a materialized view that was not made.
const NOTHING: &str = "to_regclass('copy') IS NULL AND NOT EXISTS (SELECT FROM mvrefresh.materialized_view_settings)
    AND NOT EXISTS (SELECT FROM mvrefresh.fast_programs) AND NOT EXISTS (SELECT FROM mvrefresh.refresh_history)
    AND NOT EXISTS (SELECT FROM pg_class WHERE relname ~ '^(state|view)\\$')
    AND NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'mvrefresh'::regnamespace AND proname ~ '^(fill|fast|complete|verify).*\\$')";

struct Filling {
    database: Database,
    admin: Session,
}

impl Filling {
    async fn ready() -> Self {
        Self::ready_on(Database::installed().await).await
    }

    async fn ready_on(database: Database) -> Self {
        let mut admin = database.admin().await;
        admin.run(TABLES).await;
        Self { database, admin }
    }

    fn arguments<'a>(name: &'a str, query: &'a str, column: &'a str) -> Vec<&'a str> {
        vec![
            "create",
            name,
            "--query",
            query,
            "--parallel",
            "3",
            "--split-by",
            column,
        ]
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        run(arguments, &[("DATABASE_URL", &self.database.server.url())]).await
    }

    /// Creates a materialized view, which must succeed; what is printed.
    async fn create(&self, name: &str, query: &str, column: &str) -> String {
        let finished = self.run(&Self::arguments(name, query, column)).await;
        assert_eq!(finished.code, Some(0), "by {column}: {finished:?}");
        finished.stdout
    }

    /// A creation in another process, once a session waits at the gate, which the returned session keeps closed.
    async fn at_the_gate(&mut self) -> (Daemon, Session) {
        let mut keeper = self.database.admin().await;
        keeper.run("SELECT pg_advisory_lock(7)").await;
        let creation = Daemon::spawn(
            &Self::arguments("copy", GATED, "id"),
            &[("DATABASE_URL", &self.database.server.url())],
        );
        self.admin.wait_until(WAITING).await;
        (creation, keeper)
    }

    /// Refreshes, fast if that can be; the method that was used.
    async fn refresh(&mut self, name: &str) -> String {
        let sql =
            format!("SELECT method FROM mvrefresh.refresh_materialized_view('{name}', 'fast')");
        self.admin.value(&sql).await
    }

    async fn assert_nothing_left(&mut self) {
        assert!(
            self.admin.value::<bool>(&format!("SELECT {NOTHING}")).await,
            "something is left"
        );
    }
}

#[tokio::test]
async fn whatever_it_is_split_by_no_row_is_missing_or_there_twice() {
    let mut filling = Filling::ready().await;
    let columns: Vec<String> = filling
        .admin
        .values("SELECT attname::text FROM pg_attribute WHERE attrelid = 'facts'::regclass AND attnum > 0")
        .await;
    assert_eq!(columns.len(), 16);
    for column in columns {
        let printed = filling.create("copy", "SELECT * FROM facts", &column).await;
        assert!(
            printed.starts_with("created public.copy: 4000 rows"),
            "{printed}"
        );
        filling.admin.assert_exact("copy").await;
        let form = "(SELECT form FROM mvrefresh.refresh_history ORDER BY refresh_id DESC LIMIT 1)";
        assert_eq!(filling.admin.text(form).await, "parallel", "by {column}");
        filling
            .admin
            .run("SELECT mvrefresh.drop_materialized_view('copy')")
            .await;
    }
}

#[tokio::test]
async fn groups_with_sums_of_floating_point_numbers_are_filled_too() {
    let mut filling = Filling::ready().await;
    let query = "SELECT few, fixed, sum(id / 3.0::real) AS total, count(*) AS n FROM facts GROUP BY few, fixed";
    for column in ["few", "fixed", "n"] {
        filling.create("copy", query, column).await;
        filling.admin.assert_exact("copy").await;
        filling
            .admin
            .run("UPDATE facts SET few = 1 WHERE id < 10")
            .await;
        assert_eq!(filling.refresh("copy").await, "fast", "by {column}");
        filling.admin.assert_exact("copy").await;
        filling
            .admin
            .run("SELECT mvrefresh.drop_materialized_view('copy'); UPDATE facts SET few = 2 WHERE id < 10")
            .await;
    }
}

#[tokio::test]
async fn ranges_are_of_about_the_same_size() {
    let mut filling = Filling::ready().await;
    filling
        .admin
        .run("CREATE TABLE copy AS SELECT * FROM facts WITH NO DATA; CREATE VIEW source AS SELECT * FROM facts;
              INSERT INTO mvrefresh.materialized_view_settings (mv_relation, v_relation, mv_schema, mv_name)
              VALUES ('copy', 'source', 'public', 'copy')")
        .await;
    for (column, attnum) in [("id", 1), ("many", 3), ("word", 4), ("code", 7), ("day", 9)] {
        let sizes = format!(
            "SELECT count(*) FROM facts, unnest((mvrefresh.prepare_parallel_fill(
                 (SELECT mv_id FROM mvrefresh.materialized_views), '{column}', 4, 'facts'::regclass, {attnum}::smallint)).bounds)
                 WITH ORDINALITY AS b (bound, n)
             WHERE {column} < bound::{} GROUP BY n ORDER BY n",
            filling.admin.text(&format!("(SELECT pg_typeof({column}) FROM facts LIMIT 1)")).await
        );
        let below: Vec<i64> = filling.admin.values(&sizes).await;
        assert_eq!(below.len(), 3, "{column}");
        for (part, rows) in (1..).zip(below) {
            let off = (rows - part * 1000).abs();
            assert!(off < 200, "{rows} rows of {column} below bound {part}");
        }
    }
}

#[tokio::test]
async fn joins_outer_joins_groups_and_their_state_are_filled_and_refreshed_fast_afterwards() {
    let mut filling = Filling::ready().await;
    let views = [
        (
            "SELECT f.id, u.id AS other, f.word, u.word AS named FROM facts f LEFT JOIN unanalyzed u ON u.id = f.many",
            "other",
        ),
        // the average has a state beside its rows
        (
            "SELECT few, avg(amount) AS mean, count(amount) AS n FROM facts GROUP BY few",
            "few",
        ),
        (
            "SELECT word, avg(id) AS mean FROM unanalyzed GROUP BY word",
            "word",
        ),
        (
            "SELECT id, word FROM facts WHERE id % 2 = 0 UNION ALL SELECT id, word FROM unanalyzed",
            "id",
        ),
        ("SELECT id + 0 AS computed, word FROM facts", "COMPUTED"),
        (
            "SELECT id AS \"An Id\" FROM facts WHERE few = 1",
            "\"An Id\"",
        ),
    ];
    for (query, column) in views {
        let printed = filling.create("copy", query, column).await;
        assert!(printed.contains("fast refresh: yes"), "{query}: {printed}");
        filling.admin.assert_exact("copy").await;
        filling
            .admin
            .run("UPDATE facts SET amount = coalesce(amount, 0) + 1, word = word || '!', many = many + 1 WHERE id % 1000 = 6;
                  UPDATE unanalyzed SET word = word || '?' WHERE id % 500 = 6; DELETE FROM facts WHERE id = (SELECT max(id) FROM facts WHERE few = 1)")
            .await;
        assert_eq!(filling.refresh("copy").await, "fast", "{query}");
        filling.admin.assert_exact("copy").await;
        filling
            .admin
            .run("SELECT mvrefresh.drop_materialized_view('copy')")
            .await;
    }
}

#[tokio::test]
async fn what_is_written_while_it_is_filled_comes_with_the_next_refresh_which_is_fast() {
    let mut filling = Filling::ready().await;
    let mut late = filling.database.admin().await;
    late.run("CREATE TABLE elsewhere (x integer)").await;
    let (mut creation, mut keeper) = {
        // its log is there before this transaction writes, its snapshot is taken while it is open
        filling
            .create("first", "SELECT id, few FROM facts", "id")
            .await;
        late.run("BEGIN; UPDATE facts SET few = 77 WHERE id BETWEEN 10 AND 2500")
            .await;
        filling.at_the_gate().await
    };
    filling
        .admin
        .run("INSERT INTO facts (id, few) SELECT i, i % 9 FROM generate_series(9001, 9100) i; DELETE FROM facts WHERE id > 3900 AND id < 4000")
        .await;
    late.run("COMMIT").await;
    keeper.run("SELECT pg_advisory_unlock(7)").await;
    assert!(creation.wait_for_exit().await.success());
    let stale =
        "EXISTS (SELECT FROM copy WHERE few = 77) OR EXISTS (SELECT FROM copy WHERE id > 9000)";
    assert_eq!(filling.admin.text(stale).await, "false");
    assert_eq!(
        filling.admin.text("(SELECT count(*) FROM copy)").await,
        "4000"
    );
    assert_eq!(filling.refresh("copy").await, "fast");
    filling.admin.assert_exact("copy").await;
}

#[tokio::test]
async fn nobody_else_refreshes_it_and_readers_see_it_empty_until_all_slices_are_in() {
    let mut filling = Filling::ready().await;
    let (mut creation, mut keeper) = filling.at_the_gate().await;
    let meanwhile = "(SELECT concat_ws(' ', status, (SELECT count(*) FROM copy),
                             (mvrefresh.perform_refresh(mv_id, 'schedule')).status) FROM mvrefresh.materialized_views)";
    assert_eq!(filling.admin.text(meanwhile).await, "empty 0 busy");
    keeper.run("SELECT pg_advisory_unlock(7)").await;
    assert!(creation.wait_for_exit().await.success());
    let noted = "(SELECT concat_ws(' ', v.status, v.last_method, h.form, h.trigger, h.rows_inserted, v.last_refresh <= h.started_at + h.prepare_ms * interval '1.001 ms')
                  FROM mvrefresh.materialized_views v JOIN mvrefresh.refresh_history h USING (mv_id))";
    assert_eq!(
        filling.admin.text(noted).await,
        "ok complete parallel create 4000 t"
    );
    let strays = "(SELECT count(*) FROM pg_proc WHERE proname ~ '^fill_.*\\$')";
    assert_eq!(filling.admin.text(strays).await, "0");
}

#[tokio::test]
async fn a_base_table_can_not_be_emptied_while_slices_of_it_are_read() {
    let mut filling = Filling::ready().await;
    let (mut creation, mut keeper) = filling.at_the_gate().await;
    let refused = filling
        .admin
        .failure("SET lock_timeout = '50ms'; TRUNCATE facts")
        .await;
    assert_eq!(refused.code, "55P03", "{refused:?}");
    keeper.run("SELECT pg_advisory_unlock(7)").await;
    assert!(creation.wait_for_exit().await.success());
    filling.admin.assert_exact("copy").await;
}

#[tokio::test]
async fn if_one_session_fails_nothing_stays() {
    let mut filling = Filling::ready().await;
    let query = "SELECT id, 1 / (id - 1777) AS ratio FROM facts";
    let finished = filling.run(&Filling::arguments("copy", query, "id")).await;
    assert_eq!(finished.code, Some(DATA), "{finished:?}");
    assert!(finished.stderr.contains("division by zero"), "{finished:?}");
    filling.assert_nothing_left().await;
}

#[tokio::test]
async fn if_a_function_that_it_uses_is_changed_meanwhile_nothing_stays() {
    let mut filling = Filling::ready().await;
    let (mut creation, mut keeper) = filling.at_the_gate().await;
    filling
        .admin
        .run("CREATE OR REPLACE FUNCTION gate(x integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN -x; END'")
        .await;
    keeper.run("SELECT pg_advisory_unlock(7)").await;
    assert_eq!(creation.wait_for_exit().await.code(), Some(DATA));
    creation
        .wait_for_line("was changed while it was being filled")
        .await;
    filling.assert_nothing_left().await;
}

#[tokio::test]
async fn interrupted_it_leaves_nothing() {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let mut filling = Filling::ready().await;
        let (mut creation, _keeper) = filling.at_the_gate().await;
        creation.signal(signal).await;
        assert_eq!(creation.wait_for_exit().await.code(), Some(TEMPORARY));
        creation
            .wait_for_line("interrupted; nothing has been created")
            .await;
        filling.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn killed_it_leaves_a_view_that_says_it_is_empty_and_the_next_refresh_fills_it() {
    let mut filling = Filling::ready().await;
    let (creation, mut keeper) = filling.at_the_gate().await;
    creation.signal(Signal::Kill).await;
    filling
        .admin
        .wait_until(
            "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE '%fill%')",
        )
        .await;
    keeper.run("SELECT pg_advisory_unlock(7)").await;
    let status = "(SELECT status FROM mvrefresh.materialized_views)";
    assert_eq!(filling.admin.text(status).await, "empty");
    assert_eq!(filling.refresh("copy").await, "complete");
    filling.admin.assert_exact("copy").await;
    filling.admin.run("SELECT mvrefresh.drop_materialized_view('copy'); DELETE FROM mvrefresh.refresh_history").await;
    filling.assert_nothing_left().await;
}

#[tokio::test]
async fn what_sessions_might_see_differently_is_refused_with_the_reason() {
    let mut filling = Filling::ready().await;
    let refused = [
        ("SELECT id, random() AS r FROM facts", "id", "random"),
        ("SELECT id, now() AS n FROM facts", "id", "now"),
        ("SELECT id FROM facts", "no_such", "no column \"no_such\""),
        (
            "SELECT few, sum(real_one) AS total FROM facts GROUP BY few",
            "total",
            "last digits",
        ),
    ];
    for (query, column, reason) in refused {
        let finished = filling
            .run(&Filling::arguments("copy", query, column))
            .await;
        assert_eq!(finished.code, Some(DATA), "{finished:?}");
        assert!(finished.stderr.contains(reason), "{finished:?}");
        filling.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn its_rows_are_read_and_written_as_its_owner_and_only_members_of_the_module_s_role_may() {
    let database = Database::with_ordinary_roles().await;
    let mut filling = Filling::ready_on(database).await;
    filling
        .admin
        .run("GRANT SELECT, TRIGGER ON facts TO alice, refresher; GRANT mvrefresh_execute TO refresher;
              CREATE FUNCTION whoever(x integer) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT current_user::text';
              CREATE SCHEMA own AUTHORIZATION refresher")
        .await;
    let query = "SELECT id, public.whoever(id) AS reader FROM public.facts";
    let mut arguments = Filling::arguments("alice.copy", query, "id");
    let url = filling.database.server.url_as("alice");
    let finished = run(&arguments, &[("DATABASE_URL", &url)]).await;
    assert_eq!(finished.code, Some(PERMISSION), "{finished:?}");
    arguments[1] = "own.copy";
    let url = filling.database.server.url_as("refresher");
    let finished = run(&arguments, &[("DATABASE_URL", &url)]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let readers = "(SELECT concat_ws(' ', count(*), min(reader), max(reader)) FROM own.copy)";
    assert_eq!(
        filling.admin.text(readers).await,
        "4000 refresher refresher"
    );
}
