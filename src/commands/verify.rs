//! `verify`: materialized views compared with their queries.

use serde::Serialize;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::output::Output;
use super::phrases;
use super::session::Session;
use crate::cli::Which;
use crate::connect::{describe, sqlstate};
use crate::dictionary::definitions;
use crate::dictionary::requests::{self, ComparisonRow};
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

/// How many of the missing and of the unexpected rows are shown.
const SAMPLES: i32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Equal,
    Different,
    /// They differ, which proves nothing: the query doesn't return the same rows twice.
    Undecidable,
    Failed,
}

#[derive(Debug, Serialize)]
struct Verification {
    full_name: String,
    verdict: Verdict,
    #[serde(flatten)]
    comparison: Option<ComparisonRow>,
    /// What makes the query's result change by itself.
    unsteady: Vec<String>,
    error: Option<String>,
}

pub(super) async fn run(
    session: &mut Session,
    arguments: &Which,
    output: Output,
) -> Result<Exit, CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    let Some(name) = &arguments.name else {
        return all(connection, schema, output).await;
    };
    let view = views::by_name(connection, schema, name).await?;
    let verification = verify(connection, schema, &view).await?;
    output.data(&verification, in_words)?;
    Ok(match verification.verdict {
        Verdict::Equal => Exit::Ok,
        Verdict::Different => Exit::Negative,
        Verdict::Undecidable | Verdict::Failed => Exit::Data,
    })
}

/// Neither a difference nor an error keeps the others from being compared.
async fn all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    output: Output,
) -> Result<Exit, CommandError> {
    let candidates = views::of_the_user(connection, schema).await?;
    let mut verifications = Vec::with_capacity(candidates.len());
    for view in &candidates {
        let verification = match verify(connection, schema, view).await {
            Ok(verification) => verification,
            Err(error) if sqlstate(&error).is_none() => return Err(error.into()),
            Err(error) => Verification {
                full_name: view.full_name.clone(),
                verdict: Verdict::Failed,
                comparison: None,
                unsteady: Vec::new(),
                error: Some(describe(&error)),
            },
        };
        output.line(in_words(&verification));
        verifications.push(verification);
    }
    let number = |verdict| {
        verifications
            .iter()
            .filter(|v| v.verdict == verdict)
            .count()
    };
    let summary = format!(
        "{} equal, {} different, {} undecidable, {} failed",
        number(Verdict::Equal),
        number(Verdict::Different),
        number(Verdict::Undecidable),
        number(Verdict::Failed)
    );
    output.data(&verifications, |_| summary)?;
    let is_fine = |v: &Verification| matches!(v.verdict, Verdict::Equal | Verdict::Undecidable);
    Ok(if verifications.iter().all(is_fine) {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

async fn verify(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    view: &ViewRow,
) -> sqlx::Result<Verification> {
    let comparison = requests::verify(connection, schema, view.mv_id, SAMPLES).await?;
    let equal = comparison.rows_missing == 0 && comparison.rows_unexpected == 0;
    let (unsteady, is_volatile) = if equal {
        (Vec::new(), false)
    } else {
        unsteady(connection, schema, view.mv_id).await?
    };
    Ok(Verification {
        full_name: view.full_name.clone(),
        verdict: match (equal, is_volatile) {
            (true, _) => Verdict::Equal,
            (false, false) => Verdict::Different,
            (false, true) => Verdict::Undecidable,
        },
        comparison: Some(comparison),
        unsteady,
        error: None,
    })
}

/// What in the query changes by itself, and whether any of it is volatile.
async fn unsteady(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    mv_id: i32,
) -> sqlx::Result<(Vec<String>, bool)> {
    let mut transaction = connection.begin().await?;
    definitions::use_catalog_names(&mut transaction).await?;
    let rows = match definitions::subject(&mut transaction, schema, mv_id).await? {
        Some(subject) => definitions::unsteady(&mut transaction, schema, subject.source).await?,
        None => Vec::new(),
    };
    transaction.rollback().await?;
    let is_volatile = rows.iter().any(|row| row.is_volatile);
    Ok((rows.into_iter().map(|row| row.name).collect(), is_volatile))
}

fn in_words(verification: &Verification) -> String {
    let name = &verification.full_name;
    let Some(comparison) = &verification.comparison else {
        let error = verification.error.as_deref().unwrap_or_default();
        return format!("{name}: failed: {error}");
    };
    let compared = phrases::rows(comparison.rows_compared);
    let differences = format!(
        "{compared} compared, {} missing, {} unexpected",
        comparison.rows_missing, comparison.rows_unexpected
    );
    let unsteady = verification.unsteady.join(", ");
    match verification.verdict {
        Verdict::Equal => format!("{name}: equal ({compared} compared)"),
        Verdict::Undecidable => format!(
            "{name}: cannot be verified: its query calls {unsteady}, which need not return the same twice ({differences})"
        ),
        Verdict::Different | Verdict::Failed => {
            let mut lines = vec![format!("{name}: different: {differences}")];
            if !unsteady.is_empty() {
                lines.push(format!(
                    "  its query uses {unsteady}: it may differ by the time gone since the refresh alone"
                ));
            }
            lines.extend(samples("missing", comparison.missing_samples.as_ref()));
            lines.extend(samples(
                "unexpected",
                comparison.unexpected_samples.as_ref(),
            ));
            lines.join("\n")
        }
    }
}

fn samples(label: &str, rows: Option<&serde_json::Value>) -> Vec<String> {
    rows.and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .map(|row| format!("  {label}: {row}"))
        .collect()
}
