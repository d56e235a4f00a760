//! Whatever somebody writes into the dictionary, it is worth no more than their own rights.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::Database;

const INSERT: &str = "INSERT INTO mvrefresh.materialized_view_settings";

#[tokio::test]
async fn columns_that_an_administrator_would_act_upon_are_not_writable() {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    mallory
        .run(
            "CREATE TABLE mallory.t AS SELECT 1 AS x; CREATE VIEW mallory.v AS SELECT 1 AS x;
             SELECT mvrefresh.create_materialized_view('mallory.mv', 'SELECT 1 AS x');",
        )
        .await;
    for forgery in [
        "UPDATE mvrefresh.materialized_view_settings SET kept = '{}'",
        "UPDATE mvrefresh.materialized_view_settings SET mv_relation = NULL",
        "UPDATE mvrefresh.materialized_view_settings SET v_relation = 'mallory.v'",
        "UPDATE mvrefresh.materialized_view_settings SET view_origin = 'renamed'",
        "UPDATE mvrefresh.materialized_view_settings SET owner = 'alice'",
        "UPDATE mvrefresh.materialized_view_settings SET session_settings = '{}'",
        &format!(
            "{INSERT} (mv_relation, mv_schema, mv_name, kept) VALUES ('mallory.t', 'mallory', 't', '{{}}')"
        ),
        &format!(
            "{INSERT} (mv_id, mv_relation, mv_schema, mv_name) OVERRIDING SYSTEM VALUE VALUES (77, 'mallory.t', 'mallory', 't')"
        ),
    ] {
        assert_eq!(mallory.failure(forgery).await.code, "42501", "{forgery}");
    }
    let without_table = format!(
        "{INSERT} (mv_schema, mv_name, v_schema, v_name) VALUES ('alice', 'm', 'alice', 'v')"
    );
    assert_eq!(mallory.failure(&without_table).await.code, "22023");
    let others_table = format!(
        "{INSERT} (mv_relation, v_relation, mv_schema, mv_name) VALUES ('pg_class', 'mallory.v', 'mallory', 't')"
    );
    assert_eq!(mallory.failure(&others_table).await.code, "42501");
}

#[tokio::test]
async fn names_and_owner_of_a_row_are_those_of_its_table() {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    mallory
        .run(&format!(
            "CREATE TABLE mallory.t AS SELECT 1 AS x; CREATE VIEW mallory.v AS SELECT 1 AS x;
             {INSERT} (mv_relation, v_relation, mv_schema, mv_name, v_schema, v_name, owner)
             VALUES ('mallory.t', 'mallory.v', 'alice', 'mv', 'alice', 'v', 'alice')"
        ))
        .await;
    assert_eq!(
        mallory
            .text("SELECT (mv_schema, mv_name, v_schema, v_name, owner) FROM mvrefresh.materialized_view_settings")
            .await,
        "(mallory,t,mallory,v,mallory)"
    );
    // its owner's own materialized view of that name is not in the way
    let mut alice = database.session("alice").await;
    alice
        .run("SELECT mvrefresh.create_materialized_view('alice.mv', 'SELECT 1 AS x')")
        .await;
    alice.assert_exact("alice.mv").await;
}

#[tokio::test]
async fn an_administrators_drop_spares_views_of_others() {
    let database = Database::with_ordinary_roles().await;
    let mut alice = database.session("alice").await;
    alice.run("CREATE VIEW alice.precious AS SELECT 1 AS x; GRANT USAGE ON SCHEMA alice TO PUBLIC; GRANT SELECT ON alice.precious TO PUBLIC").await;
    let mut mallory = database.session("mallory").await;
    let forged = |table: &str, origin: &str| {
        format!(
            "CREATE TABLE mallory.{table} AS SELECT 1 AS x;
             {INSERT} (mv_relation, v_relation, mv_schema, mv_name, view_origin)
             VALUES ('mallory.{table}', 'alice.precious', 'mallory', '{table}', '{origin}')"
        )
    };
    mallory.run(&forged("hijacker", "renamed")).await;
    assert_eq!(
        mallory.failure(&forged("mover", "module")).await.code,
        "42501"
    );
    let mut admin = database.admin().await;
    for keep in ["true", "false"] {
        admin
            .run(&format!(
                "SELECT * FROM mvrefresh.drop_all_materialized_views({keep})"
            ))
            .await;
        assert_eq!(alice.text("SELECT count(*) FROM alice.precious").await, "1");
    }
}

#[tokio::test]
async fn an_administrators_upgrade_gives_a_table_back_to_its_owner_only() {
    let database = Database::with_ordinary_roles().await;
    let mut mallory = database.session("mallory").await;
    mallory
        .run(
            "CREATE TABLE mallory.seen (who text);
             CREATE FUNCTION mallory.note() RETURNS int LANGUAGE sql AS
                 $$ INSERT INTO mallory.seen VALUES (current_user); SELECT 1 $$;
             SELECT mvrefresh.create_materialized_view('mallory.mv', 'SELECT mallory.note() AS x');
             CREATE INDEX ON mallory.mv ((x + 1));",
        )
        .await;
    let mut admin = database.admin().await;
    admin
        .run("SELECT * FROM mvrefresh.drop_all_materialized_views()")
        .await;
    assert_eq!(
        admin
            .text("SELECT array_agg(outcome) FROM mvrefresh.recreate_all_materialized_views()")
            .await,
        "{recreated}"
    );
    assert_eq!(
        mallory
            .values::<String>("SELECT DISTINCT who FROM mallory.seen")
            .await,
        ["mallory"]
    );
    assert_eq!(
        mallory
            .text(
                "SELECT tableowner FROM pg_tables WHERE tablename = 'mv' AND schemaname = 'mallory'"
            )
            .await,
        "mallory"
    );
    // and another's table is not taken
    let mut alice = database.session("alice").await;
    alice
        .run("CREATE TABLE alice.t AS SELECT 1 AS x; CREATE VIEW alice.v AS SELECT 1 AS x")
        .await;
    mallory
        .run("SELECT * FROM mvrefresh.drop_all_materialized_views()")
        .await;
    let id: i32 = mallory
        .value("SELECT mv_id FROM mvrefresh.materialized_views")
        .await;
    let oid = admin.text("SELECT 'alice.t'::regclass::oid").await;
    let theft = format!(
        "BEGIN; SELECT mvrefresh.take_permit({id}); SELECT mvrefresh.put_back({id}, {oid}, {oid}, 'user'); COMMIT"
    );
    assert_eq!(mallory.failure(&theft).await.code, "42501");
}

#[tokio::test]
async fn a_missing_membership_is_told_with_the_grant() {
    let database = Database::with_ordinary_roles().await;
    database.server.create_role("carol", "").await;
    database
        .server
        .execute("CREATE SCHEMA carol AUTHORIZATION carol; GRANT mvrefresh_execute TO carol")
        .await;
    let mut carol = database.session("carol").await;
    let error = carol
        .failure("SELECT mvrefresh.create_materialized_view('carol.mv', 'SELECT 1 AS x')")
        .await;
    assert_eq!(error.code, "42501");
    assert!(error.hint.contains("GRANT carol TO refresher"), "{error:?}");
    // following the hint helps
    let grant = error
        .hint
        .trim_start_matches("As an administrator: ")
        .to_owned();
    database.server.execute(&grant).await;
    carol
        .run("SELECT mvrefresh.create_materialized_view('carol.mv', 'SELECT 1 AS x')")
        .await;

    database
        .server
        .execute("REVOKE carol FROM refresher; ALTER TABLE carol.mv ADD PRIMARY KEY (x)")
        .await;
    let error = carol
        .failure("SELECT mvrefresh.refresh_materialized_view('carol.mv')")
        .await;
    assert_eq!(error.code, "42501", "{error:?}");
    // even so the owner may leave
    carol
        .run("SELECT mvrefresh.drop_materialized_view('carol.mv')")
        .await;
}
