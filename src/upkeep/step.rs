//! One round of upkeep.

use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::PgConnection;
use tracing::{debug, info, warn};

use super::{Round, Tunables, audit};
use crate::connect::silence;
use crate::dictionary::catalog;
use crate::dictionary::installation;
use crate::dictionary::logs;
use crate::dictionary::programs;
use crate::refresh::compile::{COMPILER, Compiled, compile};
use crate::sql::{ModuleSchema, composed};
use crate::vitals::Vitals;

/// As many rows of a log as are deleted in one transaction.
const BATCH: i32 = 10_000;

/// As many quiet materialized views as are confirmed in one transaction.
const VIEWS: i32 = 100;

pub(super) async fn round(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    vitals: &Vitals,
    tunables: &Tunables,
    broken_after: Duration,
) -> sqlx::Result<Round> {
    // of what a query's function may have set in an audit; nothing else is set here for longer than a transaction, as behind a
    // pooler the session may be somebody else's next
    let settings = format!("RESET ALL; {}", silence::keepalive(broken_after));
    connection
        .execute(sqlx::raw_sql(composed(settings)))
        .await?;
    let version = installation::installed_version(connection, schema).await?;
    if version != installation::known_version() {
        // upgraded meanwhile; opened anew, the connection is refused
        let reason = installation::other_version(schema.to_string(), version);
        return Err(sqlx::Error::Configuration(reason.into()));
    }
    let confirm_seconds = tunables.logs.confirm_every.as_secs_f64();
    let audit_seconds = Some(tunables.audit.every.as_secs_f64()).filter(|every| *every > 0.0);
    if !logs::is_upkeep_wanted(connection, schema, COMPILER, confirm_seconds, audit_seconds).await?
    {
        return Ok(Round::Done);
    }
    let lock_timeout_ms = i32::try_from(tunables.logs.lock_timeout.as_millis()).unwrap_or(i32::MAX);
    repair(connection, schema, lock_timeout_ms).await?;
    let is_complete = compile_all(connection, schema, lock_timeout_ms).await?;
    let confirmed = logs::confirm_quiet(connection, schema, confirm_seconds, VIEWS).await?;
    let has_more = prune(connection, schema, tunables).await? || confirmed >= VIEWS;
    for table in logs::drop_unread(connection, schema, lock_timeout_ms).await? {
        info!(
            table,
            "its log has been dropped: no materialized view reads it any more"
        );
    }
    let has_more = audit::one(connection, schema, vitals, tunables).await? || has_more;
    Ok(match (is_complete, has_more) {
        (_, true) => Round::More,
        (false, false) => Round::Later,
        (true, false) => Round::Done,
    })
}

async fn repair(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    lock_timeout_ms: i32,
) -> sqlx::Result<()> {
    for repair in logs::repair(connection, schema, lock_timeout_ms).await? {
        warn!(
            table = repair.base_table,
            problem = repair.problem,
            outcome = repair.outcome,
            "a materialized view log had missed changes, or could have"
        );
    }
    Ok(())
}

/// Compiles what is to be compiled; whether nothing of it has to wait.
async fn compile_all(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    lock_timeout_ms: i32,
) -> sqlx::Result<bool> {
    let views = programs::to_compile(connection, schema, COMPILER).await?;
    if views.is_empty() {
        return Ok(true);
    }
    let facts = catalog::server_facts(connection).await?;
    let mut is_complete = true;
    for view in views {
        let name = view.mv_name;
        match compile(connection, schema, &facts, view.mv_id, lock_timeout_ms).await {
            Ok(Compiled::Fast) => {
                info!(materialized_view = name, "can be refreshed fast");
            }
            Ok(Compiled::Refused(refusal)) => {
                info!(materialized_view = name, reason = %refusal, "is refreshed completely");
            }
            Ok(Compiled::NotWanted | Compiled::Gone) => {}
            Ok(Compiled::Later(reason)) => {
                debug!(materialized_view = name, reason, "can not be compiled now");
                is_complete = false;
            }
            // the connection's trouble, not the view's
            Err(error) if error.as_database_error().is_none() => return Err(error),
            Err(error) => {
                let error = crate::connect::describe(&error).replace('\n', " ");
                warn!(
                    materialized_view = name,
                    error, "could not be compiled: it is refreshed completely"
                );
            }
        }
    }
    Ok(is_complete)
}

async fn prune(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    tunables: &Tunables,
) -> sqlx::Result<bool> {
    let pruned = logs::prune(connection, schema, tunables.logs.keep.as_secs_f64(), BATCH).await?;
    Ok(pruned.iter().any(|rows| *rows >= i64::from(BATCH)))
}
