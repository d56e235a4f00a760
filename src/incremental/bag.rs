//! A signed bag of rows applied to the stored rows.

use super::blocks::Block;
use super::identity::{any_of_same, hashed, identity, is_identical_if_equal};
use super::names::Names;
use super::program::Target;
use super::terms::Writer;
use crate::definition::{Expression, Refusal};

/// The parts up to the signed rows of a sum of joins.
pub(super) fn row_changes(
    writer: &Writer<'_>,
    blocks: &[Block],
    columns: &[String],
) -> Vec<(String, String)> {
    // rows of one table only are added up later in any case
    let mut parts = writer.changes(|block| block.scans.len() == 1, blocks);
    parts.push((
        "row_changes AS".to_owned(),
        format!(
            "    -- difference of the query's rows\n{}",
            writer.difference(blocks, columns)
        ),
    ));
    parts
}

/// The difference by rows, equal ones added up: what the statement's parts after it read.
///
/// Rows are equal if they are the same bytes; of those that are, any one stands for all.
pub(super) fn net_rows(
    outputs: &[Expression],
    columns: &[String],
    names: &Names,
    from: &str,
) -> Result<String, Refusal> {
    let mut keys = Vec::new();
    let mut values = Vec::new();
    for (output, column) in outputs.iter().zip(columns) {
        keys.extend(identity(output, column).ok_or_else(|| {
            Refusal::new(
                format!("column {column}"),
                format!(
                    "values of type {} can't be told apart byte for byte",
                    output.data_type
                ),
            )
        })?);
        values.push(if is_identical_if_equal(output) {
            column.clone()
        } else {
            format!("{} AS {column}", any_of_same(output, column))
        });
    }
    Ok(format!(
        "    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now\n    SELECT {}, sum({weight})::int8 AS {weight}\n    FROM {from}\n    GROUP BY {}\n    HAVING sum({weight}) <> 0",
        values.join(", "),
        keys.join(", "),
        weight = names.weight,
    ))
}

/// The number of rows that should have been there.
pub(super) fn missing(names: &Names) -> String {
    format!(
        "(SELECT coalesce(sum(-{weight}), 0) FROM numbered_changes WHERE {weight} < 0) - (SELECT count(*) FROM deleted_rows)",
        weight = names.weight
    )
}

/// The parts of the statement that delete and insert.
pub(super) fn apply(
    outputs: &[Expression],
    columns: &[String],
    names: &Names,
    target: &Target,
) -> Vec<(String, String)> {
    let list = |prefix: &str| {
        columns
            .iter()
            .map(|column| format!("{prefix}{column}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let hash = |prefix: &str| row_hash(outputs, columns, prefix);
    let mv = target.view_text();
    let weight = &names.weight;
    vec![
        (
            "numbered_changes AS MATERIALIZED".to_owned(),
            format!(
                "    SELECT {}, {weight}, row_number() OVER () AS {number}, {} AS {hashes}\n    FROM net_rows",
                list(""),
                hash(""),
                number = names.number,
                hashes = names.hash,
            ),
        ),
        (
            "doomed_rows AS MATERIALIZED".to_owned(),
            format!(
                "    -- as many stored rows as each negative weight says, found by hash and equal byte for byte\n    SELECT candidate.row_address\n    FROM (\n        SELECT stored.ctid AS row_address, -change.{weight} AS surplus,\n               row_number() OVER (PARTITION BY change.{number}) AS occurrence\n        FROM numbered_changes AS change\n        JOIN ONLY {mv} AS stored ON {stored_hash} = change.{hashes} AND ROW({stored})::record *= ROW({changed})::record\n        WHERE change.{weight} < 0\n    ) AS candidate\n    WHERE candidate.occurrence <= candidate.surplus",
                number = names.number,
                hashes = names.hash,
                stored_hash = hash("stored."),
                stored = list("stored."),
                changed = list("change."),
            ),
        ),
        (
            "deleted_rows AS".to_owned(),
            format!(
                "    DELETE FROM ONLY {mv} AS stored USING doomed_rows\n    WHERE stored.ctid = doomed_rows.row_address\n    RETURNING 1"
            ),
        ),
        (
            "inserted_rows AS".to_owned(),
            format!(
                "    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate\n    INSERT INTO {mv} ({})\n    SELECT {}\n    FROM numbered_changes AS change\n    CROSS JOIN generate_series(1, change.{weight})\n    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions\n    RETURNING 1",
                list(""),
                list("change."),
            ),
        ),
    ]
}

/// The hash by which stored rows are found; the index of the materialized view is on exactly this.
pub(super) fn row_hash(outputs: &[Expression], columns: &[String], prefix: &str) -> String {
    let fields: Vec<String> = outputs
        .iter()
        .zip(columns)
        .map(|(output, column)| hashed(output, &format!("{prefix}{column}")))
        .collect();
    format!("hash_record_extended(ROW({}), 0)", fields.join(", "))
}
