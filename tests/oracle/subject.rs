//! What cases are run on, and how they end.

use std::collections::BTreeMap;

use mvrefreshd::incremental::Tolerance;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::scenario::Case;
use crate::script::Script;

/// Something that runs cases: the compiler's statements alone, or the whole of it as installed.
pub(crate) trait Subject {
    /// Runs a case from the beginning.
    async fn run(&mut self, case: &Case) -> Result<Report, Failure>;

    /// What the last case ran, for psql.
    fn script(&self) -> &str;

    /// Frees the server of what cases have left.
    async fn tidy(&mut self);
}

/// How a case went that did not fail.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Refreshes whose statement did everything.
    pub(crate) fast: u64,
    /// Refreshes that found nothing pending.
    pub(crate) unchanged: u64,
    /// Complete refreshes of views that can be refreshed fast, by their reasons.
    pub(crate) complete: BTreeMap<String, u64>,
    /// Changes that failed on a constraint or a lock, and took their transaction with them.
    pub(crate) failed_changes: u64,
    /// Why queries were refused.
    pub(crate) refused: Vec<String>,
}

/// In which way a case failed. Shrinking keeps to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The materialized view differs from its query.
    Different,
    /// The statement says that rows were missing.
    Missing,
    /// The statement says that a log lacks changes, though none were truncated.
    Marked,
    /// The statement failed, with this SQLSTATE.
    Error(String),
    /// Something else failed, with this SQLSTATE: most often the case is not one that can be run.
    Unfit(String),
}

/// A failure, and what it looks like.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) details: String,
}

/// Types of the tables that no server has by itself.
pub(crate) const KINDS: &str = "CREATE SCHEMA kinds; CREATE TYPE kinds.mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN kinds.short AS varchar(3) CHECK (value <> 'bad')";

/// What both sessions of a subject begin with.
pub(crate) const SETTINGS: &str =
    "SET jit = off; SET synchronous_commit = off; SET client_min_messages = error;
    SET lock_timeout = '100ms'; SET statement_timeout = '5s'";

/// A SQLSTATE and a message.
pub(crate) type ServerError = (String, String);

/// 1 for a change that failed as changes may, 0 for one that was made.
pub(crate) fn tolerated(done: Result<(), ServerError>, sql: &str) -> Result<u64, Failure> {
    match done {
        Ok(()) => Ok(0),
        Err((code, _)) if may_happen(&code) => Ok(1),
        Err((code, message)) => Err(unfit((code, format!("{message}\nin: {sql}")))),
    }
}

/// Whether a change may fail so.
pub(crate) fn may_happen(code: &str) -> bool {
    // integrity, cardinality (a row changed twice), in_failed_sql_transaction, no such savepoint, serialization, deadlock,
    // lock timeout
    const MAY_HAPPEN: &[&str] = &["23", "21000", "25P02", "3B001", "40001", "40P01", "55P03"];
    MAY_HAPPEN.iter().any(|start| code.starts_with(start))
}

/// Whether a statement took too long.
pub(crate) fn is_slow(failure: &Failure) -> bool {
    matches!(&failure.kind, Kind::Error(code) | Kind::Unfit(code) if code == "57014")
}

pub(crate) fn unfit((code, message): ServerError) -> Failure {
    Failure {
        details: format!("{code} {message}"),
        kind: Kind::Unfit(code),
    }
}

pub(crate) fn described(error: &sqlx::Error) -> ServerError {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .unwrap_or_default();
    (code.into_owned(), error.to_string())
}

pub(crate) async fn run_in(connection: &mut PgConnection, sql: &str) -> Result<(), ServerError> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| described(&error))
}

/// Fails if a materialized view and its query do not give the same rows, to the letter but for what there is a tolerance for.
pub(crate) async fn compare(
    connection: &mut PgConnection,
    script: &mut Script,
    table: &str,
    view: &str,
    tolerance: Option<&Tolerance>,
) -> Result<(), Failure> {
    let (bounds, rows) = match tolerance {
        Some(tolerance) => (
            format!(", bounds AS MATERIALIZED ({})", tolerance.bounds),
            tolerance.rows.as_str(),
        ),
        None => (String::new(), "SELECT * FROM stored_rows"),
    };
    let difference = format!(
        "WITH query_rows AS MATERIALIZED (SELECT * FROM {view}), stored_rows AS (SELECT * FROM {table}){bounds}, view_rows AS MATERIALIZED ({rows})
SELECT 'missing' AS what, r::text AS a_row FROM query_rows r EXCEPT ALL SELECT 'missing', r::text FROM view_rows r
UNION ALL (SELECT 'unexpected', r::text FROM view_rows r EXCEPT ALL SELECT 'unexpected', r::text FROM query_rows r) LIMIT 10"
    );
    script.line("\\echo rows that are missing or unexpected:");
    script.main(&difference);
    let rows = sqlx::raw_sql(AssertSqlSafe(difference))
        .fetch_all(connection)
        .await
        .map_err(|error| unfit(described(&error)))?;
    if rows.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: {}", row.get::<String, _>(0), row.get::<String, _>(1)))
        .collect();
    Err(Failure {
        kind: Kind::Different,
        details: shown.join("\n"),
    })
}
