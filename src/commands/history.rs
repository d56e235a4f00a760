//! `history`: the latest refreshes.

use super::output::{self, Output};
use super::phrases;
use super::session::Session;
use crate::cli::History;
use crate::dictionary::history::{self, HistoryRow};
use crate::error::{CommandError, Exit};

pub(super) async fn run(
    session: &mut Session,
    arguments: &History,
    output: Output,
) -> Result<Exit, CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    let rows = match &arguments.name {
        Some(name) => history::latest_of(connection, schema, name, arguments.limit).await?,
        None => history::latest(connection, schema, arguments.limit).await?,
    };
    output.data(&rows, |rows| as_text(rows))?;
    Ok(Exit::Ok)
}

fn as_text(rows: &[HistoryRow]) -> String {
    if rows.is_empty() {
        return "no refreshes yet".to_owned();
    }
    let header = [
        "STARTED (UTC)",
        "NAME",
        "BY",
        "METHOD",
        "PENDING",
        "TOOK",
        "+INS ~UPD -DEL",
        "WHY",
    ];
    output::table(header, rows.iter().map(row))
}

fn row(row: &HistoryRow) -> [String; 8] {
    let counts = [row.rows_inserted, row.rows_updated, row.rows_deleted];
    let changes = match (&row.error, counts) {
        (Some(error), _) => format!("failed: {}", error.replace('\n', " ")),
        (None, [None, None, None]) => "-".to_owned(),
        // a rebuild doesn't count what it throws away
        (None, [inserted, _, None]) => format!("+{}", inserted.unwrap_or_default()),
        (None, [inserted, updated, Some(deleted)]) => format!(
            "+{} ~{} -{deleted}",
            inserted.unwrap_or_default(),
            updated.unwrap_or_default()
        ),
    };
    [
        row.started_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        row.mv_name.clone(),
        row.trigger.clone(),
        phrases::method(row.method.as_deref(), row.form.as_deref()),
        phrases::or_dash(row.pending_rows, |rows| rows.to_string()),
        phrases::or_dash(row.duration_ms, phrases::milliseconds),
        changes,
        row.reason.clone().unwrap_or_default(),
    ]
}
