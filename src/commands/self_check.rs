//! `self-check`: every object of the module, and every materialized view.

use super::output::{self, Output};
use super::session::Session;
use crate::dictionary::installation::{self, CheckRow};
use crate::error::{CommandError, Exit};

pub(super) async fn run(session: &mut Session, output: Output) -> Result<Exit, CommandError> {
    let rows = installation::self_check(&mut session.connection, &session.schema).await?;
    let all_fine = rows.iter().all(is_fine);
    output.data(&rows, |rows| as_text(rows))?;
    Ok(if all_fine { Exit::Ok } else { Exit::Negative })
}

fn is_fine(row: &CheckRow) -> bool {
    row.status == "fine"
}

fn as_text(rows: &[CheckRow]) -> String {
    let wrong: Vec<&CheckRow> = rows.iter().filter(|row| !is_fine(row)).collect();
    if wrong.is_empty() {
        return format!("{} objects, all fine", rows.len());
    }
    let header = ["OBJECT", "NAME", "STATUS", "WHAT TO DO"];
    let cells = wrong.iter().map(|row| {
        [
            row.object_kind.clone(),
            row.object_name.clone(),
            row.status.clone(),
            row.remedy.clone().unwrap_or_default(),
        ]
    });
    format!(
        "{}\n\n{} objects, {} not fine",
        output::table(header, cells),
        rows.len(),
        wrong.len()
    )
}
