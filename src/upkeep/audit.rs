//! Audits, one at a time.

use sqlx::Executor;
use sqlx::postgres::PgConnection;
use tracing::{debug, error, warn};

use super::Tunables;
use crate::connect::describe;
use crate::dictionary::audits::{self, Audit, DueAudit};
use crate::sql::ModuleSchema;
use crate::vitals::Vitals;

/// Audits the view that has waited longest, if any is due; whether there was one.
pub(super) async fn one(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    vitals: &Vitals,
    tunables: &Tunables,
) -> sqlx::Result<bool> {
    let every = tunables.audit.every.as_secs_f64();
    if every == 0.0 {
        return Ok(false);
    }
    let Some(view) = audits::due(connection, schema, every).await? else {
        return Ok(false);
    };
    let sample_above_ms = tunables.audit.sample_above.as_secs_f64() * 1000.0;
    match audits::perform(connection, schema, view.mv_id, sample_above_ms).await {
        Ok(audit) => {
            audits::prune(connection, schema, tunables.history.keep.as_secs_f64()).await?;
            count(vitals, &audit);
            say(&view, &audit);
            Ok(audit.audit_id.is_some())
        }
        Err(error) if error.as_database_error().is_none() => Err(error),
        Err(error) => {
            let error = describe(&error).replace('\n', " ");
            let view = view.mv_name;
            warn!(materialized_view = view, error, "could not be audited");
            connection.execute("RESET ALL").await?;
            Ok(false)
        }
    }
}

fn count(vitals: &Vitals, audit: &Audit) {
    if audit.audit_id.is_none() {
        return; // being refreshed
    }
    let mut tallies = vitals.tallies();
    if is_different(audit) {
        tallies.audits_different += 1;
    } else {
        tallies.audits_equal += 1;
    }
}

fn is_different(audit: &Audit) -> bool {
    audit.rows_missing.unwrap_or(0) + audit.rows_unexpected.unwrap_or(0) > 0
}

fn say(view: &DueAudit, audit: &Audit) {
    let name = &view.mv_name;
    if is_different(audit) {
        error!(
            materialized_view = name,
            audit_id = audit.audit_id,
            rows_missing = audit.rows_missing,
            rows_unexpected = audit.rows_unexpected,
            "its rows were not those of its query: put right, and refreshed completely until it is resumed; the evidence is in the table audits"
        );
    } else {
        debug!(
            materialized_view = name,
            rows_compared = audit.rows_compared,
            sampled_by = audit.sampled_by,
            "audited: equal to its query"
        );
    }
}
