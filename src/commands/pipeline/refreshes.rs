//! All materialized views refreshed, and compared with their queries.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::report::Outcome;
use crate::commands::phrases;
use crate::connect::{describe, sqlstate};
use crate::dictionary::requests::{self, RefreshedRow};
use crate::dictionary::views::ViewRow;
use crate::dictionary::{outlook, views};
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

/// The materialized views of a schema, in the order in which they were created.
async fn of_schema(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> Result<Vec<ViewRow>, CommandError> {
    let mut found = views::of_the_user(connection, schema).await?;
    found.retain(|view| view.mv_schema == name);
    found.sort_by_key(|view| view.mv_id);
    if found.is_empty() {
        let message = format!("there are no materialized views in schema {name}");
        return Err(CommandError::new(Exit::Data, message)
            .with_hint("Hint: mvrefreshd pipeline install, then mvrefreshd pipeline views"));
    }
    Ok(found)
}

#[derive(Default)]
struct Counts {
    fast: usize,
    complete: usize,
    unchanged: usize,
}

/// Refreshes each in a transaction of its own: fast what has a fast refresh, completely all else.
pub(super) async fn refresh_all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> Result<Outcome, CommandError> {
    let mut counts = Counts::default();
    let mut problems = Vec::new();
    for view in of_schema(connection, schema, name).await? {
        let program = outlook::program(connection, schema, view.mv_id).await?;
        let method = program
            .is_some_and(|program| program.is_fast)
            .then_some("fast");
        match refresh(connection, schema, view.mv_id, method).await {
            Ok(row) => problems.extend(counts.add(&row, method)),
            Err(error) if sqlstate(&error).is_none() => return Err(error.into()),
            Err(error) => problems.push(format!("{}: {}", view.full_name, describe(&error))),
        }
    }
    let Counts {
        fast,
        complete,
        unchanged,
    } = counts;
    Ok(Outcome {
        words: format!("refreshed {fast} fast, {complete} completely; {unchanged} unchanged"),
        notes: Vec::new(),
        problems,
    })
}

async fn refresh(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
    method: Option<&str>,
) -> sqlx::Result<RefreshedRow> {
    let mut transaction = connection.begin().await?;
    let rows = requests::refresh(&mut transaction, schema, mv_id, method, "sql").await?;
    transaction.commit().await?;
    rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)
}

impl Counts {
    /// Counts a refresh; what is wrong with it.
    fn add(&mut self, row: &RefreshedRow, wanted: Option<&str>) -> Option<String> {
        match (row.status.as_str(), row.method.as_deref()) {
            ("unchanged", _) => self.unchanged += 1,
            ("refreshed", Some("fast")) => self.fast += 1,
            ("refreshed", _) => self.complete += 1,
            (status, _) => return Some(format!("{}: {status}", row.full_name)),
        }
        let is_complete = row.status == "refreshed" && row.method.as_deref() != Some("fast");
        (wanted == Some("fast") && is_complete).then(|| {
            let reason = row.reason.as_deref().unwrap_or_default();
            format!(
                "{}: refreshed completely instead of fast: {reason}",
                row.full_name
            )
        })
    }
}

/// Compares each with its query.
pub(super) async fn compare_all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    name: &str,
) -> Result<Outcome, CommandError> {
    let mut equal = 0;
    let mut rows = 0;
    let mut problems = Vec::new();
    for view in of_schema(connection, schema, name).await? {
        match requests::verify(connection, schema, view.mv_id, 1).await {
            Ok(found) if found.rows_missing + found.rows_unexpected == 0 => {
                equal += 1;
                rows += found.rows_compared;
            }
            Ok(found) => problems.push(format!(
                "{} differs from its query: {} missing, {} unexpected",
                view.full_name, found.rows_missing, found.rows_unexpected
            )),
            Err(error) if sqlstate(&error).is_none() => return Err(error.into()),
            Err(error) => problems.push(format!("{}: {}", view.full_name, describe(&error))),
        }
    }
    Ok(Outcome {
        words: format!("{equal} equal, {} compared", phrases::rows(rows)),
        notes: Vec::new(),
        problems,
    })
}
