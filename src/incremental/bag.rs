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
                "    -- as many stored rows as each negative weight says, found by hash and the same\n    SELECT candidate.row_address\n    FROM (\n        SELECT stored.ctid AS row_address, -change.{weight} AS surplus,\n               row_number() OVER (PARTITION BY change.{number}) AS occurrence\n        FROM numbered_changes AS change\n        JOIN ONLY {mv} AS stored ON {stored_hash} = change.{hashes} AND {same}\n        WHERE change.{weight} < 0\n    ) AS candidate\n    WHERE candidate.occurrence <= candidate.surplus",
                number = names.number,
                hashes = names.hash,
                stored_hash = hash("stored."),
                same = same_rows(outputs, columns),
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

/// Whether a stored row is the one of a change: byte for byte, but for arrays of which equal ones are shown alike. Of these two may
/// differ in whether they could hold NULLs: a slice can as soon as what it was cut from has any.
fn same_rows(outputs: &[Expression], columns: &[String]) -> String {
    let (arrays, others): (Vec<_>, Vec<_>) =
        outputs.iter().zip(columns).partition(|(output, _)| {
            output.data_type.element().is_some() && is_identical_if_equal(output)
        });
    let list = |alias: &str| {
        let columns = others.iter().map(|(_, column)| format!("{alias}.{column}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    let bytes = (!others.is_empty()).then(|| {
        format!(
            "ROW({})::record *= ROW({})::record",
            list("stored"),
            list("change")
        )
    });
    let equal = arrays
        .iter()
        .map(|(_, column)| format!("stored.{column} IS NOT DISTINCT FROM change.{column}"));
    bytes
        .into_iter()
        .chain(equal)
        .collect::<Vec<_>>()
        .join(" AND ")
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
