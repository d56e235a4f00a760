//! `drop`: a materialized view and its dictionary row.

use serde_json::json;

use super::output::Output;
use super::session::Session;
use crate::cli::Drop;
use crate::dictionary::{changes, views};
use crate::error::{CommandError, Exit};

pub(super) async fn run(
    session: &mut Session,
    arguments: &Drop,
    output: Output,
) -> Result<Exit, CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    let view = views::by_name(connection, schema, &arguments.name).await?;
    changes::drop(connection, schema, &arguments.name).await?;
    let name = &view.full_name;
    output.data(&json!({ "dropped": name }), |_| {
        if view.kind == "native" {
            format!("{name} is no longer refreshed by schedule; the native MATERIALIZED VIEW stays")
        } else {
            format!("dropped {name}")
        }
    })?;
    Ok(Exit::Ok)
}
