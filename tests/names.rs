//! Names are nothing but names: any legal one works, and renaming anything loses nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, TestServer, install_as};
use mvrefreshd::sql::{ModuleSchema, quote_identifier, quote_literal};

/// The last two have 63 bytes.
const ODD_NAMES: &[&str] = &[
    "Mixed Case",
    "quo\"te",
    "apo'strophe",
    "per%cent %s %1$I",
    "dol$lar $$ $body$",
    "back\\slash",
    "select",
    "ünï©ödé",
    "a.b",
    "ascii_name_of_exactly_sixty_three_bytes_which_is_the_longest_one",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢𝔫𝔞𝔪𝔢𝔬𝔣63",
];

fn sixty_three_bytes(name: &str) -> String {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(
        "{:_<width$}",
        &name[..end],
        width = name[..end].chars().count() + 63 - end
    )
}

#[tokio::test]
async fn every_legal_name_works_for_views_schemas_and_columns() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    for (number, name) in ODD_NAMES.iter().enumerate() {
        let name = if number + 2 < ODD_NAMES.len() {
            (*name).to_owned()
        } else {
            sixty_three_bytes(name)
        };
        let quoted = quote_identifier(&name);
        let full = format!("{quoted}.{quoted}");
        let (full_text, query) = (
            quote_literal(&full),
            quote_literal(&format!(
                "SELECT {quoted}, 1 AS one FROM {quoted}.base_table;\n"
            )),
        );
        session
            .run(&format!(
                "CREATE SCHEMA {quoted};
                 CREATE TABLE {quoted}.base_table AS SELECT g AS {quoted} FROM generate_series(1, 9) g;
                 SELECT mvrefresh.create_materialized_view({full_text}, {query}, 60);
                 DELETE FROM {quoted}.base_table WHERE {quoted} = 3;
                 SELECT mvrefresh.refresh_materialized_view({full_text});
                 CREATE UNIQUE INDEX ON {full} ({quoted});
                 UPDATE {quoted}.base_table SET {quoted} = 100 WHERE {quoted} = 9;
                 SELECT mvrefresh.refresh_materialized_view({full_text});
                 SELECT mvrefresh.refresh_materialized_view({full_text}, 'rebuild');"
            ))
            .await;
        session.assert_exact(&full).await;
        assert_eq!(
            session.text(&format!("SELECT count(*) FROM {full}")).await,
            "8"
        );
        session
            .run("SELECT * FROM mvrefresh.drop_all_materialized_views()")
            .await;
        let outcome = session.text("SELECT array_agg((outcome, error)) FROM mvrefresh.recreate_all_materialized_views()").await;
        assert_eq!(outcome, r#"{"(recreated,)"}"#, "{name}");
        session
            .run(&format!(
                "SELECT mvrefresh.drop_materialized_view({full_text})"
            ))
            .await;

        // a view whose name the materialized view takes
        session
            .run(&format!(
                "CREATE VIEW {full} AS SELECT * FROM {quoted}.base_table;
                 SELECT mvrefresh.create_materialized_view_as({full_text}, 60);"
            ))
            .await;
        session.assert_exact(&full).await;
        session
            .run(&format!(
                "SELECT mvrefresh.drop_materialized_view({full_text})"
            ))
            .await;
        assert_eq!(
            session
                .text(&format!(
                    "SELECT relkind FROM pg_class WHERE oid = to_regclass({full_text})"
                ))
                .await,
            "v"
        );
    }
}

#[tokio::test]
async fn every_legal_name_works_for_the_module_schema_and_owners() {
    let server = TestServer::start().await;
    for (number, name) in ODD_NAMES.iter().enumerate() {
        let name = if number + 2 < ODD_NAMES.len() {
            (*name).to_owned()
        } else {
            sixty_three_bytes(name)
        };
        let schema = ModuleSchema::new(name.clone());
        let owner = format!("{} {number}", name.chars().take(10).collect::<String>());
        install_as(&server, "postgres", &schema).await;
        server.create_role(&owner, "").await;
        let quoted_owner = quote_identifier(&owner);
        server
            .execute(&format!("CREATE SCHEMA AUTHORIZATION {quoted_owner}; GRANT pg_read_all_data TO {quoted_owner}"))
            .await;
        let role: String = {
            let mut connection = server.connect().await;
            sqlx::query_scalar(schema.sql("SELECT quote_ident(@.module_role('execute'))"))
                .fetch_one(&mut connection)
                .await
                .unwrap()
        };
        server
            .execute(&format!("GRANT {role} TO {quoted_owner}"))
            .await;
        let statements = schema.text(
            "SELECT @.create_materialized_view('mv', 'SELECT 1 AS one', 60);
             SELECT * FROM @.refresh_all_materialized_views(true);
             SELECT * FROM @.verify_materialized_view('mv');
             SELECT @.drop_materialized_view('mv');",
        );
        let mut connection = server.connect_as(&owner).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
            .execute(&mut connection)
            .await
            .unwrap();
        let mut connection = server.connect().await;
        let not_fine: Vec<String> = sqlx::query_scalar(
            schema.sql("SELECT object_name FROM @.self_check() WHERE status <> 'fine'"),
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert_eq!(not_fine, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn renaming_anything_loses_nothing() {
    let database = Database::with_ordinary_roles().await;
    let mut admin = database.admin().await;
    let mut alice = database.session("alice").await;
    alice
        .run(
            "CREATE TABLE alice.base AS SELECT g AS id, g * 2 AS twice FROM generate_series(1, 9) g;
             CREATE VIEW alice.v AS SELECT * FROM alice.base;
             SELECT mvrefresh.create_materialized_view('alice.mv', view_name => 'alice.v', refresh_rate_in_sec => 60);
             CREATE UNIQUE INDEX ON alice.mv (id);",
        )
        .await;
    let id: i32 = alice
        .value("SELECT mv_id FROM mvrefresh.materialized_views")
        .await;
    for renaming in [
        "ALTER TABLE alice.base RENAME TO basis",
        "ALTER TABLE alice.basis RENAME twice TO double",
        "ALTER VIEW alice.v RENAME TO w",
        "ALTER TABLE alice.mv RENAME TO renamed",
        "ALTER TABLE alice.renamed RENAME id TO key; ALTER VIEW alice.w RENAME id TO key",
        "CREATE OR REPLACE VIEW alice.w AS SELECT id AS key, 7 AS twice FROM alice.basis",
        "ALTER SCHEMA alice RENAME TO moved",
        "ALTER ROLE alice RENAME TO \"Alice B.\"",
        "CREATE SCHEMA other AUTHORIZATION \"Alice B.\"; ALTER TABLE moved.renamed SET SCHEMA other; ALTER VIEW moved.w SET SCHEMA other",
        "GRANT USAGE ON SCHEMA other, moved TO bob; GRANT SELECT ON other.w TO bob; ALTER TABLE other.renamed OWNER TO bob",
    ] {
        admin.run(renaming).await;
        admin.run("DO $$ BEGIN EXECUTE format('UPDATE %s SET id = id + 100', (SELECT oid::regclass FROM pg_class WHERE relname IN ('base', 'basis'))); END $$").await;
        let mut daemon = database.session("refresher").await;
        let row = daemon
            .refresh_as_daemon(id)
            .await
            .unwrap_or_else(|error| panic!("{renaming}: {error:?}"));
        assert_eq!(row.status, "refreshed", "{renaming}");
    }
    let name = "SELECT (mv_schema, mv_name, v_schema, v_name) FROM mvrefresh.materialized_views";
    assert_eq!(admin.text(name).await, "(other,renamed,other,w)");
    assert_eq!(
        admin
            .text("SELECT mv_name FROM mvrefresh.refresh_schedule")
            .await,
        "other.renamed"
    );
    admin.assert_exact("other.renamed").await;
}

#[tokio::test]
async fn a_new_view_may_have_the_former_name_of_another() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run(
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT 1 AS x', 60);
             ALTER TABLE mv RENAME TO older;
             SELECT mvrefresh.create_materialized_view('mv', 'SELECT 2 AS x', 5);
             SELECT mvrefresh.update_materialized_view_refresh_rate('mv', 6);",
        )
        .await;
    let names = "SELECT array_agg((mv_name, refresh_rate_in_sec) ORDER BY mv_id) FROM mvrefresh.materialized_views";
    assert_eq!(session.text(names).await, r#"{"(older,60)","(mv,6)"}"#);
    // a blue-green exchange
    session.run("BEGIN; ALTER TABLE mv RENAME TO t; ALTER TABLE older RENAME TO mv; ALTER TABLE t RENAME TO older; COMMIT").await;
    session.assert_exact("mv").await;
    session.assert_exact("older").await;
    session
        .run("SELECT * FROM mvrefresh.refresh_all_materialized_views(true)")
        .await;
    assert_eq!(session.text("SELECT x FROM mv").await, "1");
    // dropped by hand, it is gone; its name is free for one with settings of its own
    session
        .run("DROP TABLE mv; SELECT mvrefresh.create_materialized_view('mv', 'SELECT 3 AS x', 9)")
        .await;
    assert_eq!(session.text(names).await, r#"{"(older,6)","(mv,9)"}"#);
}

#[tokio::test]
async fn wrong_names_are_refused_in_one_line() {
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session
        .run("CREATE TABLE plain (x int); CREATE VIEW v AS SELECT 1 AS x")
        .await;
    for (name, code) in [
        ("''", "42602"),
        ("NULL", "42602"),
        ("'a b'", "42602"),
        ("'a.b.c'", "42602"),
        ("'\"a'", "42602"),
        ("repeat('n', 64)", "42622"),
        ("'nowhere.mv'", "3F000"),
        ("'plain'", "42P07"),
    ] {
        let error = session
            .failure(&format!(
                "SELECT mvrefresh.create_materialized_view({name}, 'SELECT 1 AS x')"
            ))
            .await;
        assert_eq!(error.code, code, "{name}: {}", error.message);
        assert!(!error.message.contains('\n'));
    }
    for (sql, code) in [
        (
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT')",
            "42P16",
        ),
        (
            "SELECT mvrefresh.create_materialized_view('mv', 'SELEC 1')",
            "42601",
        ),
        (
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM nothing')",
            "42P01",
        ),
        (
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT 1 AS a, 2 AS a')",
            "42701",
        ),
        ("SELECT mvrefresh.create_materialized_view('mv')", "22023"),
        (
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT 1 AS x', view_name => 'v')",
            "22023",
        ),
        (
            "SELECT mvrefresh.create_materialized_view('mv', view_name => 'plain')",
            "42809",
        ),
        (
            "SELECT mvrefresh.create_materialized_view('mv', view_name => 'none')",
            "42P01",
        ),
        (
            "SELECT mvrefresh.create_materialized_view('mv', 'SELECT 1 AS x', refresh_method => 'quick')",
            "22023",
        ),
        (
            "SELECT mvrefresh.refresh_materialized_view('none')",
            "42P01",
        ),
        (
            "SELECT mvrefresh.refresh_materialized_view('plain')",
            "42809",
        ),
        ("SELECT mvrefresh.adopt_materialized_view('plain')", "42809"),
        ("SELECT mvrefresh.drop_materialized_view('v')", "42809"),
    ] {
        let error = session.failure(sql).await;
        assert_eq!(error.code, code, "{sql}: {}", error.message);
        assert!(!error.message.contains("NULL"), "{}", error.message);
    }
    assert_eq!(
        session
            .text("SELECT count(*) FROM mvrefresh.materialized_views")
            .await,
        "0"
    );
}
