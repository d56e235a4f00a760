//! The whole life of a materialized view on every version of the server that is here, the daemon's role no superuser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Database, TestServer, covered_majors, install_as};

#[tokio::test]
async fn a_view_is_created_refreshed_verified_upgraded_and_dropped() {
    for major in covered_majors() {
        let server = TestServer::on_version(major).await.unwrap();
        let database = Database::with_ordinary_roles_on(server).await;
        let mut alice = database.session("alice").await;
        alice
            .run(
                "SET search_path TO alice;
                 CREATE TABLE base AS SELECT g AS id, g % 5 AS kind, g * 1.5 AS amount FROM generate_series(1, 200) g;
                 CREATE VIEW totals AS SELECT kind, sum(amount) AS total FROM base GROUP BY kind;
                 SELECT mvrefresh.create_materialized_view('mv', 'SELECT * FROM base', 60);
                 SELECT mvrefresh.CreateMaterializedViewAs('totals', 60);
                 CREATE MATERIALIZED VIEW native AS SELECT * FROM base;
                 SELECT mvrefresh.adopt_materialized_view('native', 60);",
            )
            .await;
        let ids = alice
            .values::<i32>("SELECT mv_id FROM mvrefresh.materialized_views")
            .await;
        let mut daemon = database.session("refresher").await;
        for round in [
            "",
            "CREATE UNIQUE INDEX ON mv (id); CREATE UNIQUE INDEX ON totals (kind); CREATE UNIQUE INDEX ON native (id);",
        ] {
            alice
                .run(&format!(
                    "{round} UPDATE base SET amount = amount + 1, kind = 7 WHERE id % 40 = 1; DELETE FROM base WHERE id % 50 = 2;
                     INSERT INTO base SELECT max(id) + 1, NULL, NULL FROM base;"
                ))
                .await;
            for id in &ids {
                daemon
                    .refresh_as_daemon(*id)
                    .await
                    .unwrap_or_else(|error| panic!("PostgreSQL {major}: {error:?}"));
            }
            for name in ["mv", "totals", "native"] {
                alice.assert_exact(name).await;
            }
        }
        let mut admin = database.admin().await;
        admin
            .run("SELECT mvrefresh.drop_materialized_view('alice.native')")
            .await;
        admin
            .run("SELECT * FROM mvrefresh.drop_all_materialized_views()")
            .await;
        assert_eq!(
            admin
                .text("SELECT array_agg(outcome) FROM mvrefresh.recreate_all_materialized_views()")
                .await,
            "{recreated,recreated}"
        );
        install_as(&database.server, "refresher", &database.schema).await;
        assert_eq!(
            admin
                .text("SELECT count(*) FROM mvrefresh.self_check() WHERE status <> 'fine'")
                .await,
            "0"
        );
        alice
            .run(
                "SELECT mvrefresh.refresh_materialized_view('mv', 'rebuild');
                 SELECT mvrefresh.drop_materialized_view('mv'); SELECT mvrefresh.DropMaterializedView('totals');
                 SELECT count(*) FROM totals;",
            )
            .await;
    }
}
