//! The relations of a schema, without the module: the server's facts and their columns are read as the daemon reads them.

use mvrefreshd::definition::{Relation, RelationKind};
use mvrefreshd::dictionary::catalog::{ServerFacts, with_columns_and_keys};
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// Tables and views of a schema, these with their texts as printed in this session.
pub(crate) async fn relations(
    connection: &mut PgConnection,
    schema: &str,
    facts: &ServerFacts,
) -> Vec<Relation> {
    let sql = format!(
        "SELECT c.oid::int8, c.relname::text AS name, CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END AS definition
         FROM pg_class c WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'v')"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let found = rows.iter().map(|row| Relation {
        oid: u32::try_from(row.get::<i64, _>("oid")).unwrap(),
        schema: schema.to_owned(),
        name: row.get("name"),
        kind: row
            .get::<Option<String>, _>("definition")
            .map_or(RelationKind::Table, RelationKind::View),
        columns: Vec::new(),
        unique_keys: Vec::new(),
        has_children: false,
        has_row_security: false,
    });
    with_columns_and_keys(connection, facts, found.collect())
        .await
        .unwrap()
}
