//! The facts of the server's catalog that reading a defining view depends on.

use std::collections::HashMap;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, Row};

use crate::definition::{
    Catalog, Column, FunctionFact, FunctionKind, OperatorFact, Relation, RelationKind, Signature,
    TypeName, UniqueKey,
};
use crate::sql::{self, ModuleSchema};

/// Functions, operators, casts, types and collations: the same for every defining view, so read once for many.
#[derive(Debug, Clone, Default)]
pub struct ServerFacts {
    catalog: Catalog,
    types: HashMap<i64, TypeName>,
}

impl ServerFacts {
    /// The facts for a defining view that reads these relations.
    #[must_use]
    pub fn with_relations(&self, relations: Vec<Relation>) -> Catalog {
        Catalog {
            relations,
            ..self.catalog.clone()
        }
    }

    fn data_type(&self, oid: i64) -> sqlx::Result<TypeName> {
        self.types.get(&oid).cloned().ok_or_else(|| {
            sqlx::Error::Protocol(format!("type {oid} was created just now: try again"))
        })
    }
}

/// Reads the facts that don't depend on the query.
pub async fn server_facts(connection: &mut PgConnection) -> sqlx::Result<ServerFacts> {
    let mut facts = ServerFacts::default();
    types(connection, &mut facts).await?;
    operators(connection, &mut facts).await?;
    functions(connection, &mut facts).await?;
    casts(connection, &mut facts).await?;
    let collations = sql::query_scalar::<String>(
        "SELECT '\"' || pg_catalog.replace(n.nspname, '\"', '\"\"') || '\".\"' || pg_catalog.replace(c.collname, '\"', '\"\"') || '\"'
         FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
         WHERE NOT c.collisdeterministic",
    );
    facts.catalog.nondeterministic_collations = collations
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .collect();
    Ok(facts)
}

async fn types(connection: &mut PgConnection, facts: &mut ServerFacts) -> sqlx::Result<()> {
    // arrays are known as their elements with a mark, domains as what they are of: operators and functions see nothing else.
    // (One that refuses NULL refuses that of an outer join when it is cast to it, which the query does not do.)
    let rows = sql::query(
        "WITH RECURSIVE meant AS (
            SELECT t.oid, t.oid AS base FROM pg_catalog.pg_type t WHERE t.typtype <> 'd' OR t.typnotnull
            UNION ALL
            SELECT d.oid, m.base FROM meant m JOIN pg_catalog.pg_type d ON d.typbasetype = m.oid AND d.typtype = 'd' AND NOT d.typnotnull
         )
         SELECT m.oid::int8, n.nspname::text AS schema, coalesce(e.typname, t.typname)::text AS name,
                e.oid IS NOT NULL AS is_array, t.typtype = 'e' AS is_enumeration
         FROM meant m
         JOIN pg_catalog.pg_type t ON t.oid = m.base
         LEFT JOIN meant o ON o.oid = t.typelem AND t.typcategory = 'A'
         LEFT JOIN pg_catalog.pg_type e ON e.oid = o.base
         JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(e.typnamespace, t.typnamespace)",
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let plain = TypeName::new(
            row.try_get::<String, _>("schema")?,
            row.try_get::<String, _>("name")?,
        );
        let data_type = if row.try_get("is_array")? {
            plain.array()
        } else {
            plain
        };
        if row.try_get("is_enumeration")? {
            facts.catalog.enumerations.insert(data_type.clone());
        }
        facts.types.insert(row.try_get("oid")?, data_type);
    }
    Ok(())
}

async fn operators(connection: &mut PgConnection, facts: &mut ServerFacts) -> sqlx::Result<()> {
    let rows = sql::query(
        "SELECT n.nspname::text AS schema, o.oprname::text AS name, o.oprleft::int8 AS left_type, o.oprright::int8 AS right_type,
                o.oprresult::int8 AS result, p.provolatile = 'i' AS is_immutable
         FROM pg_catalog.pg_operator o
         JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
         JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode",
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let left: i64 = row.try_get("left_type")?;
        let key = (
            row.try_get("schema")?,
            row.try_get("name")?,
            if left == 0 {
                None
            } else {
                Some(facts.data_type(left)?)
            },
            facts.data_type(row.try_get("right_type")?)?,
        );
        let fact = OperatorFact {
            result: facts.data_type(row.try_get("result")?)?,
            is_immutable: row.try_get("is_immutable")?,
        };
        // one of a domain's own is not told from that of what the domain is of
        let known = facts.catalog.operators.entry(key).or_insert(fact.clone());
        known.is_immutable &= known.result == fact.result && fact.is_immutable;
    }
    Ok(())
}

/// A constant as the server prints it, as a regular expression.
const CONSTANT: &str = r#"(true|false|NULL|\(?-?[0-9.]+\)?|'[^']*')(::[a-z0-9_ ."\[\]]+)?"#;

async fn functions(connection: &mut PgConnection, facts: &mut ServerFacts) -> sqlx::Result<()> {
    let rows = sql::query(
        "SELECT n.nspname::text AS schema, p.proname::text AS name,
                ARRAY(SELECT a::int8 FROM pg_catalog.unnest(p.proargtypes) AS a) AS arguments,
                CASE WHEN p.proargmodes IS NULL OR p.proargnames IS NULL THEN p.proargnames::text[]
                     ELSE ARRAY(SELECT name FROM ROWS FROM (pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes)) WITH ORDINALITY AS a (name, mode, n)
                                WHERE mode IN ('i', 'b', 'v') ORDER BY n) END AS names,
                -- what may be left out, if that stands for a constant
                CASE WHEN pg_catalog.pg_get_expr(p.proargdefaults, 0) ~ $1 THEN p.pronargdefaults ELSE 0 END::int4 AS defaults,
                p.prorettype::int8 AS result, p.prokind::text AS kind, p.proretset AS returns_set,
                -- an aggregate is what its functions are
                p.provolatile = 'i' AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_aggregate a
                    JOIN pg_catalog.pg_proc f ON f.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                                                           a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
                    WHERE a.aggfnoid = p.oid AND f.provolatile <> 'i') AS is_immutable
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace",
    )
    .bind(format!("^{CONSTANT}(, {CONSTANT})*$"))
    .fetch_all(connection)
    .await?;
    let mut shortened = Vec::new();
    for row in rows {
        let kind: String = row.try_get("kind")?;
        let kind = match (kind.as_str(), row.try_get("returns_set")?) {
            ("a", _) => FunctionKind::Aggregate,
            ("w", _) => FunctionKind::Window,
            (_, true) => FunctionKind::SetReturning,
            _ => FunctionKind::Plain,
        };
        let fact = FunctionFact {
            result: facts.data_type(row.try_get("result")?)?,
            is_immutable: row.try_get("is_immutable")?,
            kind,
        };
        let arguments: Vec<i64> = row.try_get("arguments")?;
        let arguments = arguments
            .into_iter()
            .map(|argument| facts.data_type(argument))
            .collect::<Result<Vec<_>, _>>()?;
        let name: (String, String) = (row.try_get("schema")?, row.try_get("name")?);
        let defaults: i32 = row.try_get("defaults")?;
        let defaults = usize::try_from(defaults).unwrap_or_default();
        for count in arguments.len() - defaults.min(arguments.len())..arguments.len() {
            let key = (name.0.clone(), name.1.clone(), arguments[..count].to_vec());
            shortened.push((key, fact.clone()));
        }
        if let Some(names) = row.try_get::<Option<Vec<String>>, _>("names")?
            && names.len() == arguments.len()
        {
            let parameters = names.into_iter().zip(arguments.iter().cloned());
            let signatures = facts.catalog.signatures.entry(name.clone()).or_default();
            signatures.push(Signature {
                parameters: parameters.collect(),
                defaults,
                fact: fact.clone(),
            });
        }
        // one of a domain's own is not told from that of what the domain is of
        let known = facts
            .catalog
            .functions
            .entry((name.0, name.1, arguments))
            .or_insert(fact.clone());
        known.is_immutable &=
            known.result == fact.result && known.kind == fact.kind && fact.is_immutable;
    }
    // one that takes just these arguments goes before those of which some are left out
    shortened.retain(|(key, _)| !facts.catalog.functions.contains_key(key));
    for (key, fact) in shortened {
        let known = facts.catalog.functions.entry(key).or_insert(fact.clone());
        known.is_immutable &= *known == fact;
    }
    Ok(())
}

async fn casts(connection: &mut PgConnection, facts: &mut ServerFacts) -> sqlx::Result<()> {
    // those declared, and those to text through a type's output function
    let rows: Vec<(i64, i64)> = sql::query_as(
        "SELECT castsource::int8, casttarget::int8
         FROM pg_catalog.pg_cast c LEFT JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
         WHERE (c.castmethod = 'b' OR (c.castmethod = 'f' AND p.provolatile = 'i'))
           -- PostgreSQL ignores those of domains
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_type d WHERE d.oid IN (c.castsource, c.casttarget) AND d.typtype = 'd')
         UNION
         SELECT t.oid::int8, s.oid::int8
         FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p ON p.oid = t.typoutput CROSS JOIN pg_catalog.pg_type s
         WHERE p.provolatile = 'i' AND t.typtype IN ('b', 'e') AND t.typcategory <> 'A'
           AND s.oid IN ('pg_catalog.text'::regtype, 'pg_catalog.varchar'::regtype)",
    )
    .fetch_all(connection)
    .await?;
    for (source, target) in rows {
        let cast = (facts.data_type(source)?, facts.data_type(target)?);
        facts.catalog.immutable_casts.insert(cast);
    }
    Ok(())
}

/// The relations that a view reads, through views of any depth, itself included; views with their texts as printed in
/// this session. Row security is told for the role that will refresh.
pub async fn relations(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    facts: &ServerFacts,
    view: u32,
    owner: u32,
) -> sqlx::Result<Vec<Relation>> {
    let sql = schema.sql(
        "SELECT c.oid::int8, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
                CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
                c.relkind <> 'p' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) AS has_children,
                NOT @.bypasses_row_security($2::oid, c.oid) AS has_row_security
         FROM @.read_relations($1::oid) r
         JOIN pg_catalog.pg_class c ON c.oid = r.relation
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         ORDER BY c.oid",
    );
    let rows = sql::query(sql)
        .bind(i64::from(view))
        .bind(i64::from(owner))
        .fetch_all(&mut *connection)
        .await?;
    let found = rows.iter().map(|row| {
        let kind = match row.try_get::<String, _>("kind")?.as_str() {
            "v" => RelationKind::View(row.try_get("definition")?),
            "r" => RelationKind::Table,
            "p" => RelationKind::Partitioned,
            other => RelationKind::Other(kind_in_words(other).to_owned()),
        };
        Ok(Relation {
            oid: as_oid(row.try_get("oid")?)?,
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
            kind,
            columns: Vec::new(),
            unique_keys: Vec::new(),
            has_children: row.try_get("has_children")?,
            has_row_security: row.try_get("has_row_security")?,
        })
    });
    let found = found.collect::<sqlx::Result<_>>()?;
    with_columns_and_keys(connection, facts, found).await
}

/// Relations with their columns and unique keys, of which only the rest is known yet.
pub async fn with_columns_and_keys(
    connection: &mut PgConnection,
    facts: &ServerFacts,
    mut relations: Vec<Relation>,
) -> sqlx::Result<Vec<Relation>> {
    let oids: Vec<i64> = relations
        .iter()
        .map(|relation| i64::from(relation.oid))
        .collect();
    let mut columns = columns(connection, facts, &oids).await?;
    let mut keys = unique_keys(connection, &oids).await?;
    for (relation, oid) in relations.iter_mut().zip(oids) {
        relation.columns = columns.remove(&oid).unwrap_or_default();
        relation.unique_keys = keys.remove(&oid).unwrap_or_default();
    }
    Ok(relations)
}

fn as_oid(number: i64) -> sqlx::Result<u32> {
    u32::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn kind_in_words(kind: &str) -> &'static str {
    match kind {
        "f" => "foreign table",
        "m" => "native MATERIALIZED VIEW",
        "S" => "sequence",
        _ => "relation of another kind",
    }
}

async fn columns(
    connection: &mut PgConnection,
    facts: &ServerFacts,
    relations: &[i64],
) -> sqlx::Result<HashMap<i64, Vec<Column>>> {
    let rows: Vec<PgRow> = sql::query(
        "SELECT a.attrelid::int8 AS relation, a.attname::text AS name, a.attnum, a.atttypid::int8 AS type, a.atttypmod,
                -- from PostgreSQL 18 on the constraint may be NOT VALID: rows that were there before may have NULL
                a.attnotnull AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated
                ) AS is_not_null,
                '\"' || pg_catalog.replace(n.nspname, '\"', '\"\"') || '\".\"' || pg_catalog.replace(l.collname, '\"', '\"\"') || '\"' AS collation
         FROM pg_catalog.pg_attribute a
         LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
         WHERE a.attrelid = ANY ($1::int8[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attrelid, a.attnum",
    )
    .bind(relations)
    .fetch_all(connection)
    .await?;
    let mut found: HashMap<i64, Vec<Column>> = HashMap::new();
    for row in rows {
        let column = Column {
            name: row.try_get("name")?,
            attnum: row.try_get("attnum")?,
            data_type: facts.data_type(row.try_get("type")?)?,
            type_modifier: row.try_get("atttypmod")?,
            is_not_null: row.try_get("is_not_null")?,
            collation: row.try_get("collation")?,
        };
        found
            .entry(row.try_get("relation")?)
            .or_default()
            .push(column);
    }
    Ok(found)
}

async fn unique_keys(
    connection: &mut PgConnection,
    relations: &[i64],
) -> sqlx::Result<HashMap<i64, Vec<UniqueKey>>> {
    #[derive(FromRow)]
    struct Key {
        relation: i64,
        columns: Vec<i16>,
    }
    let rows: Vec<Key> = sql::query_as(
        "SELECT i.indrelid::int8 AS relation,
                ARRAY(SELECT i.indkey[n] FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS n) AS columns
         FROM pg_catalog.pg_index i
         WHERE i.indrelid = ANY ($1::int8[]::oid[]) AND i.indisunique AND i.indimmediate AND i.indisvalid
           AND i.indpred IS NULL AND i.indexprs IS NULL
           -- by another equality than the type's own, or another collation than the column's, a key may be none for joins
           AND NOT EXISTS (
               SELECT FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS n
               JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[n]
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n]
               WHERE NOT o.opcdefault OR a.attcollation <> i.indcollation[n])
         ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid",
    )
    .bind(relations)
    .fetch_all(connection)
    .await?;
    let mut found: HashMap<i64, Vec<UniqueKey>> = HashMap::new();
    for key in rows {
        found.entry(key.relation).or_default().push(UniqueKey {
            columns: key.columns,
        });
    }
    Ok(found)
}
