//! The reference names everything there is: what is added without being documented fails here.

mod common;

use clap::CommandFactory;
use common::TestServer;
use mvrefreshd::cli::Cli;
use mvrefreshd::config::Config;
use mvrefreshd::dictionary::installation;
use mvrefreshd::sql::ModuleSchema;
use sqlx::PgConnection;

const REFERENCE: &str = include_str!("../docs/reference.md");

fn missing(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let lower = REFERENCE.to_lowercase();
    names
        .into_iter()
        .filter(|name| !lower.contains(&name.to_lowercase()))
        .collect()
}

async fn names(connection: &mut PgConnection, sql: &'static str) -> Vec<String> {
    let names: sqlx::Result<Vec<String>> = sqlx::query_scalar(sql).fetch_all(connection).await;
    let names = names.unwrap_or_else(|error| panic!("{error} in: {sql}"));
    assert!(!names.is_empty(), "nothing found by: {sql}");
    names
}

#[tokio::test]
async fn every_function_for_users_and_every_column_is_in_the_reference() {
    let server = TestServer::start().await;
    let mut connection = server.connect().await;
    installation::install(&mut connection, &ModuleSchema::new("mvrefresh"))
        .await
        .unwrap();
    // what users call is bound when it is created and has no search_path of its own; so are a few single expressions inside
    let functions = names(
        &mut connection,
        "SELECT DISTINCT proname::text FROM pg_proc
         WHERE pronamespace = 'mvrefresh'::regnamespace AND proconfig IS NULL AND pg_get_function_sqlbody(oid) LIKE 'BEGIN ATOMIC%'",
    )
    .await;
    assert!(functions.len() >= 20, "{functions:?}");
    assert_eq!(missing(functions), [""; 0]);
    let columns = names(
        &mut connection,
        "SELECT column_name::text FROM information_schema.columns
         WHERE table_schema = 'mvrefresh'
           AND table_name IN ('materialized_views', 'refresh_history', 'materialized_view_sources')",
    )
    .await;
    assert_eq!(
        missing(columns.iter().map(|name| format!("`{name}`"))),
        [""; 0]
    );
    let tables = names(
        &mut connection,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'mvrefresh'::regnamespace
         AND relkind IN ('r', 'v') AND relname NOT LIKE '\\_sqlx%' AND relname <> 'refresh_permits'",
    )
    .await;
    assert_eq!(missing(tables), [""; 0]);
}

#[tokio::test]
async fn every_function_of_the_module_has_a_comment() {
    let server = TestServer::start().await;
    let mut connection = server.connect().await;
    installation::install(&mut connection, &ModuleSchema::new("mvrefresh"))
        .await
        .unwrap();
    let silent: Vec<String> = sqlx::query_scalar(
        "SELECT proname::text FROM pg_proc
         WHERE pronamespace = 'mvrefresh'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(silent, [""; 0]);
}

#[test]
fn every_command_is_in_the_reference() {
    let command = Cli::command();
    let commands = command
        .get_subcommands()
        .map(|command| format!("`{}", command.get_name()));
    assert_eq!(missing(commands.filter(|name| name != "`help")), [""; 0]);
}

#[test]
fn every_configuration_key_is_in_the_reference() {
    let config = serde_json::to_value(Config::default()).unwrap();
    let keys = config
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(section, keys)| {
            let section = section.clone();
            let keys: Vec<String> = keys.as_object().unwrap().keys().cloned().collect();
            keys.into_iter()
                .map(move |key| format!("`{section}.{key}`"))
        });
    assert_eq!(missing(keys), [""; 0]);
}
