//! Which indexes base tables have for what a fast refresh looks up in them.

use serde::Serialize;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use crate::sql::{self, ModuleSchema};

/// A table below this many rows is read as quickly without an index.
const SMALL_TABLE: f64 = 1000.0;

/// Rows of a table that are looked up by equality of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The table's oid.
    pub table: u32,
    /// The columns, any of which would do as the first of an index.
    pub columns: Vec<String>,
}

/// A lookup that no index helps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MissingIndex {
    /// The table, with its schema, quoted where needed.
    pub table: String,
    /// The columns.
    pub columns: Vec<String>,
    /// About how many rows the table has.
    pub rows: f64,
    /// Creates the index.
    pub statement: String,
}

#[derive(FromRow)]
struct Unindexed {
    rows: f64,
    is_partitioned: bool,
    table_text: String,
    column_texts: Vec<String>,
}

/// Those of the lookups in tables of some size for which there is no valid, unconditional index that begins with one
/// of the columns.
pub async fn missing(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    lookups: &[Lookup],
) -> sqlx::Result<Vec<MissingIndex>> {
    let mut missing = Vec::new();
    for lookup in lookups {
        let sql = schema.sql(
            "SELECT size.rows, c.relkind = 'p' AS is_partitioned, @.qualified_name(c.oid) AS table_text,
                    ARRAY(SELECT pg_catalog.quote_ident(u) FROM pg_catalog.unnest($2) AS u) AS column_texts
             FROM pg_catalog.pg_class c
             CROSS JOIN LATERAL (
                 -- never analyzed: by its size, at about a hundred bytes a row
                 SELECT coalesce(sum(CASE WHEN m.reltuples >= 0 THEN m.reltuples
                                          ELSE coalesce(pg_catalog.pg_relation_size(m.oid), 0) / 100 END), 0)::pg_catalog.float8 AS rows
                 FROM @.log_members(c.oid) t JOIN pg_catalog.pg_class m ON m.oid = t.member AND m.relkind = 'r') AS size
             WHERE c.oid = $1
               AND NOT EXISTS (
                 SELECT FROM pg_catalog.pg_index i
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                 WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname::text = ANY ($2))",
        );
        let found: Option<Unindexed> = sql::query_as(sql)
            .bind(Oid(lookup.table))
            .bind(&lookup.columns)
            .fetch_optional(&mut *connection)
            .await?;
        missing.extend(
            found
                .filter(|table| table.rows >= SMALL_TABLE)
                .map(|table| missing_index(lookup, &table)),
        );
    }
    Ok(missing)
}

fn missing_index(lookup: &Lookup, table: &Unindexed) -> MissingIndex {
    // not possible on a partitioned table
    let concurrently = if table.is_partitioned {
        ""
    } else {
        "CONCURRENTLY "
    };
    MissingIndex {
        table: table.table_text.clone(),
        columns: lookup.columns.clone(),
        rows: table.rows,
        statement: format!(
            "CREATE INDEX {concurrently}ON {} ({});",
            table.table_text,
            table.column_texts.join(", ")
        ),
    }
}
