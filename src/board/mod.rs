//! Everything there is to see at one instant: what the status page, the metrics and `top` show, read with a handful of
//! statements however many views there are.

pub mod due;
mod view;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgConnection;

pub use view::BoardView;
use view::Parts;

use crate::dictionary::board::{self, LogSizeRow, SourceRow};
use crate::dictionary::{outlook, views};
use crate::scheduler::engine::Census;
use crate::sql::ModuleSchema;

/// As many refreshes as a view's sparkline shows.
const RECENT: i32 = 24;

/// All views and logs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// The database's clock.
    pub database_now: DateTime<Utc>,
    /// Every materialized view, by name.
    pub views: Vec<BoardView>,
    /// Every log, the largest first.
    pub logs: Vec<LogSizeRow>,
}

/// Reads it. What the loop of a daemon knows better than the dictionary is taken from its census.
pub async fn read(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    census: Option<&Census>,
) -> sqlx::Result<Board> {
    let rows = views::all(connection, schema).await?;
    let programs = outlook::programs(connection, schema).await?;
    let recent = board::recent(connection, schema, RECENT).await?;
    let sources = board::sources(connection, schema).await?;
    let logs = board::logs(connection, schema).await?;
    let refreshing = board::refreshing(connection, schema).await?;

    let mut programs: HashMap<i32, _> = programs.into_iter().map(|p| (p.mv_id, p)).collect();
    let mut recent: HashMap<i32, _> = recent.into_iter().map(|r| (r.mv_id, r)).collect();
    let mut sources = by_view(sources);
    let census = census.filter(|census| census.is_current);
    let census: HashMap<i32, _> = census
        .iter()
        .flat_map(|census| census.views.iter().map(|view| (view.mv_id, *view)))
        .collect();
    let database_now = rows
        .iter()
        .map(|row| row.database_now)
        .max()
        .unwrap_or_else(Utc::now);
    let views = rows.into_iter().map(|row| {
        let id = row.mv_id;
        BoardView::new(
            row,
            Parts {
                program: programs.remove(&id),
                recent: recent.remove(&id),
                sources: sources.remove(&id).unwrap_or_default(),
                census: census.get(&id).copied(),
                is_refreshing: refreshing.contains(&id),
            },
        )
    });
    Ok(Board {
        database_now,
        views: views.collect(),
        logs,
    })
}

fn by_view(rows: Vec<SourceRow>) -> HashMap<i32, Vec<SourceRow>> {
    let mut sources: HashMap<i32, Vec<SourceRow>> = HashMap::new();
    for row in rows {
        sources.entry(row.mv_id).or_default().push(row);
    }
    sources
}
