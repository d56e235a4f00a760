//! One materialized view in full, for those who look at it.

use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::connect::silence;
use crate::dictionary::board::{self, AuditRow};
use crate::dictionary::definitions;
use crate::dictionary::history::{self, HistoryRow};
use crate::dictionary::outlook::{self, LogRow, OutlookRow};
use crate::explanation::Fast;
use crate::refresh::examine;
use crate::sql::ModuleSchema;

/// As many refreshes as are plotted.
const HISTORY: u32 = 300;
const AUDITS: i32 = 5;

/// What happened, and what would happen next.
#[derive(Debug, Serialize)]
pub(super) struct Detail {
    /// The latest first.
    history: Vec<HistoryRow>,
    /// None where a relation is gone.
    next: Option<OutlookRow>,
    logs: Vec<LogRow>,
    audits: Vec<AuditRow>,
    /// None where a relation is gone, or it is a native one.
    query: Option<String>,
}

/// None if there is no such view.
pub(super) async fn detail(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    id: i32,
) -> sqlx::Result<Option<Detail>> {
    let history = history::latest_of_id(connection, schema, id, HISTORY).await?;
    let mut transaction = connection.begin().await?;
    transaction.execute(silence::IDLE_LIMIT).await?;
    definitions::use_catalog_names(&mut transaction).await?;
    let subject = definitions::subject(&mut transaction, schema, id).await?;
    if subject.is_none() && history.is_empty() {
        transaction.rollback().await?;
        return Ok(None);
    }
    let query = match &subject {
        Some(subject) => Some(definitions::text(&mut transaction, schema, subject.source).await?),
        None => None,
    };
    let next = match &subject {
        Some(_) => Some(outlook::of(&mut transaction, schema, id).await?),
        None => None,
    };
    let detail = Detail {
        history,
        next,
        logs: outlook::logs(&mut transaction, schema, id).await?,
        audits: board::audits(&mut transaction, schema, id, AUDITS).await?,
        query,
    };
    transaction.rollback().await?;
    Ok(Some(detail))
}

/// Whether and how it is refreshed fast, found out anew; none where a relation is gone, or it is a native one.
pub(super) async fn explanation(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    id: i32,
) -> sqlx::Result<Option<Fast>> {
    let mut transaction = connection.begin().await?;
    transaction.execute(silence::IDLE_LIMIT).await?;
    definitions::use_catalog_names(&mut transaction).await?;
    let examined = examine::materialized_view(&mut transaction, schema, id).await?;
    let explained = match examined {
        Some(examined) => Some(Fast::new(&mut transaction, schema, examined, false).await?),
        None => None,
    };
    transaction.rollback().await?;
    Ok(explained)
}
