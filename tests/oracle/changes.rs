//! Changes by statements that reach the triggers in ways of their own.

use fastrand::Rng;

use pg_query::protobuf::Token;

use crate::generate::Table;
use crate::words::replaced;

/// `INSERT … ON CONFLICT`, `MERGE`, `COPY`, several tables in one statement. Rows have ids below `below`.
pub(crate) fn special(rng: &mut Rng, table: &Table, tables: &[Table], below: i32) -> String {
    let name = &table.name;
    let other = &tables[rng.usize(..tables.len())].name;
    let first = rng.i32(0..30);
    match rng.u8(..8) {
        0 if table.has_key => format!(
            "INSERT INTO {name} (id, a, b, c) VALUES ({first}, 1, 'x', 1.50), ({}, NULL, 'y', 2)
             ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = {name}.b, c = coalesce({name}.c, 0) + 1",
            first + 1
        ),
        1 => format!(
            "MERGE INTO {name} USING (SELECT DISTINCT ON (id) * FROM {other} WHERE id >= {first} AND id < {below} ORDER BY id, a, b) AS source
             ON {name}.id = source.id
             WHEN MATCHED AND {name}.a > 2 THEN DELETE
             WHEN MATCHED THEN UPDATE SET b = source.b, c = source.c
             WHEN NOT MATCHED AND source.id < {} THEN INSERT (id, a, b) VALUES (source.id, source.a, 'merged')",
            first + 10
        ),
        2 => format!(
            "COPY {name} (id, a, b, d) FROM PROGRAM 'printf \"{first}\\t1\\tx\\tt\\n{}\\t\\\\\\N\\ty\\tf\\n\"'",
            first + 1
        ),
        3 if name != other => format!(
            "WITH gone AS (DELETE FROM {name} WHERE id >= {first} AND id < {} RETURNING *)
             INSERT INTO {other} SELECT * FROM gone ON CONFLICT DO NOTHING",
            first + 10
        ),
        4 => format!(
            "UPDATE {name} SET a = source.a, f = source.f FROM {other} AS source
             WHERE {name}.id = source.id AND {name}.id >= {first} AND {name}.id < {below}"
        ),
        5 => format!("UPDATE {name} SET a = a WHERE id < {below}"),
        6 => format!("UPDATE {name} SET id = id + 9 WHERE id >= {first} AND id < {}", first + 6),
        _ => format!("DELETE FROM {name} USING {other} AS source WHERE {name}.id = source.id AND {name}.id < {first}"),
    }
}

/// A change of one of a table's partitions instead; rows that belong to another one make it fail.
pub(crate) fn of_partition(rng: &mut Rng, table: &Table, change: &str) -> String {
    let partition = format!("{}_{}", table.name, ["low", "high"][rng.usize(..2)]);
    replaced(change, &|token, word| {
        (token == Token::Ident && word == table.name).then(|| partition.clone())
    })
}
