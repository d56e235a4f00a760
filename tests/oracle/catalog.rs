//! The facts of the catalog, read from a live server.

use std::collections::{HashMap, HashSet};

use mvrefreshd::definition::{
    Catalog, Column, FunctionFact, FunctionKind, OperatorFact, Relation, RelationKind, TypeName,
    UniqueKey,
};
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};

/// A type as two columns; arrays as their elements with a mark.
const TYPES: &str = "
    SELECT t.oid, n.nspname::text AS schema, t.typname::text AS name, false AS is_array, t.typtype = 'e' AS is_enum
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE NOT (t.typcategory = 'A' AND t.typelem <> 0)
    UNION ALL
    SELECT t.oid, n.nspname::text, e.typname::text, true, false
    FROM pg_type t JOIN pg_type e ON e.oid = t.typelem JOIN pg_namespace n ON n.oid = e.typnamespace
    WHERE t.typcategory = 'A' AND t.typelem <> 0";

async fn rows(connection: &mut PgConnection, sql: &str) -> Vec<PgRow> {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

fn oid(row: &PgRow, column: &str) -> i64 {
    row.get(column)
}

/// Functions, operators, casts and types; no relations.
pub(crate) async fn server_facts(
    connection: &mut PgConnection,
) -> (Catalog, HashMap<i64, TypeName>) {
    let mut catalog = Catalog::default();
    let mut types = HashMap::new();
    for row in rows(
        connection,
        &format!("SELECT oid::int8, schema, name, is_array, is_enum FROM ({TYPES}) AS t"),
    )
    .await
    {
        let plain = TypeName::new(row.get::<String, _>("schema"), row.get::<String, _>("name"));
        let data_type = if row.get("is_array") {
            plain.array()
        } else {
            plain
        };
        if row.get("is_enum") {
            catalog.enumerations.insert(data_type.clone());
        }
        types.insert(oid(&row, "oid"), data_type);
    }
    let sql = "SELECT n.nspname::text AS schema, o.oprname::text AS name, o.oprleft::int8 AS l, o.oprright::int8 AS r,
                      o.oprresult::int8 AS result, p.provolatile = 'i' AS is_immutable
               FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace JOIN pg_proc p ON p.oid = o.oprcode";
    for row in rows(connection, sql).await {
        let key = (
            row.get("schema"),
            row.get("name"),
            types.get(&oid(&row, "l")).cloned(),
            types[&oid(&row, "r")].clone(),
        );
        let fact = OperatorFact {
            result: types[&oid(&row, "result")].clone(),
            is_immutable: row.get("is_immutable"),
        };
        catalog.operators.insert(key, fact);
    }
    let sql = "SELECT n.nspname::text AS schema, p.proname::text AS name, ARRAY(SELECT unnest(p.proargtypes)::int8) AS arguments,
                      p.prorettype::int8 AS result, p.provolatile = 'i' AS is_immutable, p.prokind::text AS kind, p.proretset
               FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace";
    for row in rows(connection, sql).await {
        let arguments: Vec<i64> = row.get("arguments");
        let kind = match (row.get::<String, _>("kind").as_str(), row.get("proretset")) {
            ("a", _) => FunctionKind::Aggregate,
            ("w", _) => FunctionKind::Window,
            (_, true) => FunctionKind::SetReturning,
            _ => FunctionKind::Plain,
        };
        let fact = FunctionFact {
            result: types[&oid(&row, "result")].clone(),
            is_immutable: row.get("is_immutable"),
            kind,
        };
        let arguments = arguments
            .iter()
            .map(|argument| types[argument].clone())
            .collect();
        catalog
            .functions
            .insert((row.get("schema"), row.get("name"), arguments), fact);
    }
    let sql = "SELECT castsource::int8 AS source, casttarget::int8 AS target
               FROM pg_cast c LEFT JOIN pg_proc p ON p.oid = c.castfunc
               WHERE c.castmethod = 'b' OR (c.castmethod = 'f' AND p.provolatile = 'i')
               UNION
               SELECT t.oid::int8, s.oid::int8
               FROM pg_type t JOIN pg_proc p ON p.oid = t.typoutput CROSS JOIN pg_type s
               WHERE p.provolatile = 'i' AND t.typtype IN ('b', 'e') AND s.oid IN ('text'::regtype, 'varchar'::regtype)
                 AND t.typcategory <> 'A'";
    let mut casts = HashSet::new();
    for row in rows(connection, sql).await {
        casts.insert((
            types[&oid(&row, "source")].clone(),
            types[&oid(&row, "target")].clone(),
        ));
    }
    catalog.immutable_casts = casts;
    (catalog, types)
}

/// The relations of a schema.
pub(crate) async fn relations(
    connection: &mut PgConnection,
    schema: &str,
    types: &HashMap<i64, TypeName>,
) -> Vec<Relation> {
    let sql = format!(
        "SELECT c.oid::int8, c.relname::text AS name, c.relkind::text AS kind,
                CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END AS definition
         FROM pg_class c WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'v')"
    );
    let mut found = Vec::new();
    for row in rows(connection, &sql).await {
        let relation = oid(&row, "oid");
        let sql = format!(
            "SELECT a.attname::text AS name, a.attnum, a.atttypid::int8 AS type, a.atttypmod, a.attnotnull,
                    '\"' || n.nspname || '\".\"' || l.collname || '\"' AS collation
             FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = l.collnamespace
             WHERE a.attrelid = {relation} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        );
        let described = rows(connection, &sql).await;
        let columns = described.iter().map(|row| Column {
            name: row.get("name"),
            attnum: row.get("attnum"),
            data_type: types[&oid(row, "type")].clone(),
            type_modifier: row.get("atttypmod"),
            is_not_null: row.get("attnotnull"),
            collation: row.get("collation"),
        });
        found.push(Relation {
            oid: u32::try_from(relation).unwrap(),
            schema: schema.to_owned(),
            name: row.get("name"),
            kind: match row.get::<Option<String>, _>("definition") {
                Some(text) => RelationKind::View(text),
                None => RelationKind::Table,
            },
            columns: columns.collect(),
            unique_keys: unique_keys(connection, relation).await,
            has_children: false,
            has_row_security: false,
        });
    }
    found
}

async fn unique_keys(connection: &mut PgConnection, relation: i64) -> Vec<UniqueKey> {
    let sql = format!(
        "SELECT (indkey::int2[])[0:indnkeyatts - 1] AS columns FROM pg_index
         WHERE indrelid = {relation} AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL AND indexprs IS NULL
         ORDER BY indexrelid"
    );
    let keys = rows(connection, &sql).await;
    keys.iter()
        .map(|row| UniqueKey {
            columns: row.get("columns"),
        })
        .collect()
}
