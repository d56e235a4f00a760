//! `uninstall`: the module removed from the database.

use std::io::{self, BufRead, IsTerminal};

use serde_json::json;
use sqlx::Connection;

use super::output::Output;
use super::session::Session;
use super::{phrases, privileges, upgrade as outcomes};
use crate::cli::Uninstall;
use crate::config::Sources;
use crate::dictionary::installation::{self, InstallError};
use crate::dictionary::upgrade::{self, RemainingRow};
use crate::error::{CommandError, Exit};

pub(super) async fn run(
    sources: &Sources,
    arguments: &Uninstall,
    output: Output,
) -> Result<Exit, CommandError> {
    let session = &mut Session::connect(sources).await?;
    match uninstall(session, arguments, output).await {
        Ok(exit) => Ok(exit),
        Err(error) => Err(privileges::with_missing_grant(error, session).await),
    }
}

async fn uninstall(
    session: &mut Session,
    arguments: &Uninstall,
    output: Output,
) -> Result<Exit, CommandError> {
    require_any_version(session).await?;
    let views = upgrade::remaining(&mut session.connection, &session.schema).await?;
    if !arguments.yes && !confirmed(&plan(session, &views, arguments.drop_views))? {
        output.line("nothing was changed");
        return Ok(Exit::Negative);
    }
    if arguments.drop_views {
        drop_views(session).await?;
    }
    let kept_roles = installation::uninstall(&mut session.connection, &session.schema)
        .await
        .map_err(|error| session.installation_error(error))?;
    let views = if arguments.drop_views {
        &[]
    } else {
        views.as_slice()
    };
    let names = |native: bool| -> Vec<&str> {
        views
            .iter()
            .filter(|view| view.is_there && (view.kind == "native") == native)
            .map(|view| view.full_name.as_str())
            .collect()
    };
    let result = json!({
        "uninstalled": session.schema.name(),
        "tables_left": names(false),
        "native_left": names(true),
        "renamed_views_left": views.iter().filter_map(|v| v.renamed_view.as_deref()).collect::<Vec<_>>(),
        "roles_left": kept_roles,
    });
    output.data(&result, |_| {
        in_words(&session.schema.to_string(), views, &kept_roles)
    })?;
    Ok(Exit::Ok)
}

/// Whatever version is installed may be removed.
async fn require_any_version(session: &mut Session) -> Result<(), CommandError> {
    let found = installation::require(&mut session.connection, &session.schema).await;
    match found {
        Ok(()) | Err(InstallError::Newer { .. } | InstallError::Different { .. }) => Ok(()),
        Err(InstallError::Older { installed, .. }) if installed > 0 => Ok(()),
        Err(error) => Err(session.installation_error(error)),
    }
}

fn plan(session: &Session, views: &[RemainingRow], drop_views: bool) -> String {
    let number = i64::try_from(views.len()).unwrap_or(i64::MAX);
    let views = phrases::count(number, "materialized view", "materialized views");
    let fate = if drop_views {
        "DROPPED with all their rows"
    } else {
        "left behind as plain tables, no longer refreshed"
    };
    format!(
        "This removes the module schema {} with its dictionary, its history and its roles.\n\
         {views}: {fate}.\n\
         Stop the daemon first.",
        session.schema
    )
}

/// Asks on the terminal; without one, only `--yes` will do.
fn confirmed(plan: &str) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::new(
            Exit::Usage,
            "uninstall asks before it removes anything, and there is no terminal to ask on",
        )
        .with_hint("Hint: add --yes if you mean it."));
    }
    eprint!("{plan}\nGo on? [y/N] ");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| CommandError::new(Exit::Usage, format!("no answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// All or none: what can't be dropped would be left without the dictionary that knows how to.
async fn drop_views(session: &mut Session) -> Result<(), CommandError> {
    let schema = &session.schema;
    let mut transaction = session.connection.begin().await?;
    let rows = upgrade::drop_all(&mut transaction, schema, false).await?;
    let left = upgrade::remaining(&mut transaction, schema).await?;
    if left.is_empty() {
        transaction.commit().await?;
        return Ok(());
    }
    transaction.rollback().await?;
    let failed: Vec<_> = rows
        .into_iter()
        .filter(|row| row.outcome == "failed")
        .collect();
    let others = left.len() - failed.len();
    let mut error = CommandError::new(
        Exit::Negative,
        "some materialized views cannot be dropped, so nothing was changed",
    );
    if !failed.is_empty() {
        error = error.with_hint(outcomes::in_words(&failed).replace('\n', "\n  "));
    }
    if others > 0 {
        error = error.with_hint(format!("{others} belong to other roles"));
    }
    Err(error)
}

fn in_words(schema: &str, views: &[RemainingRow], kept_roles: &[String]) -> String {
    let mut lines = vec![format!("removed the module schema {schema}")];
    for view in views.iter().filter(|view| view.is_there) {
        let what = match view.kind.as_str() {
            "native" => "stays a native materialized view",
            _ => "stays as a plain table",
        };
        lines.push(format!("{} {what}", view.full_name));
        if let Some(renamed) = &view.renamed_view {
            lines.push(format!("  and so does the view it replaced, as {renamed}"));
        }
    }
    for role in kept_roles {
        lines.push(format!(
            "role {role} stays: it is used elsewhere, or not this role's to drop"
        ));
    }
    lines.join("\n")
}
