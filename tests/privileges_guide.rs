//! The privileges that the operations guide tells an administrator to give are enough: to install, to log the changes of base
//! tables, to refresh fast.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Shop, TestServer, covered_majors, execute, installation, options};
use mvrefreshd::scratch::Options;
use sqlx::Executor;

const OPERATIONS: &str = include_str!("../docs/operations.md");

/// The statements of the guide, for the database of the test.
fn statements() -> String {
    let section = OPERATIONS.split("\n## Privileges\n").nth(1).unwrap();
    let block = section.split("```sql\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    assert_eq!(block.matches("GRANT").count(), 2, "{block}");
    block.replace("DATABASE shop", "DATABASE service")
}

/// As on a managed service: the administrator creates roles and databases, and is no superuser.
async fn service(major: u32) -> TestServer {
    let server = TestServer::start_with(Options {
        installation: installation(major),
        ..options()
    })
    .await;
    server
        .create_role("administrator", "CREATEROLE CREATEDB")
        .await;
    let mut administrator = server.connect_as("administrator").await;
    for statement in ["CREATE DATABASE service", "CREATE ROLE shop_owner LOGIN"] {
        administrator.execute(statement).await.unwrap();
    }
    server
}

#[tokio::test]
async fn with_the_privileges_of_the_guide_the_daemon_installs_and_refreshes_fast_on_every_version()
{
    for major in covered_majors() {
        println!("PostgreSQL {major}");
        let server = service(major).await;
        let mut administrator = server.connect_to("service", "administrator").await;
        execute(&mut administrator, &statements()).await;
        let mut owner = server.connect_to("service", "shop_owner").await;
        execute(
            &mut administrator,
            "GRANT shop_owner TO administrator; GRANT CREATE ON DATABASE service TO shop_owner",
        )
        .await;
        execute(&mut owner, "CREATE SCHEMA shop").await;
        let url = server.url_in("service", "mvrefreshd");
        let mut daemon = Shop::daemon(&url);
        daemon.wait_for_line("the database is ready").await;
        // what install prints where it may not create roles, and what the guide says of people who create views
        execute(
            &mut administrator,
            "CREATE ROLE mvrefresh_usage; CREATE ROLE mvrefresh_view; CREATE ROLE mvrefresh_execute",
        )
        .await;
        Shop::stop(daemon).await;
        let daemon = Shop::daemon(&url);
        execute(&mut administrator, "GRANT mvrefresh_execute TO shop_owner").await;
        execute(&mut owner, "SET search_path TO shop").await;
        common::until(
            &mut owner,
            "SELECT has_schema_privilege('mvrefresh', 'USAGE') AND has_function_privilege('mvrefresh.request_refresh(text, text)', 'EXECUTE')",
        )
        .await;
        Shop::make(&mut owner).await;
        Shop::until_fast_and_exact(&mut owner).await;
        Shop::stop(daemon).await;
    }
}
