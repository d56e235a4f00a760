//! The first fill of a materialized view by several sessions at one snapshot.
//!
//! Three kinds of sessions take part. The *recorder* holds the refresh lock from before the materialized view can be seen
//! until the fill is noted, so that nobody else fills it meanwhile. The *exporter* holds a snapshot, taken after logs and
//! program were committed, so that the next refresh can be fast. Each *worker* takes that snapshot for its own and inserts
//! slices until none is left. They commit when all have succeeded, and then the fill is noted as of the one snapshot.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::definition::{Column, Kind, Operator, Query, Relation};
use crate::dictionary::parallel_fills::{self, Exported, Prepared, Slice, Total};
use crate::sql::ModuleSchema;

/// The sessions that fill a materialized view, with the rights of the module's role.
#[derive(Debug)]
pub struct Sessions {
    /// Holds the refresh lock and notes the fill.
    pub recorder: PgConnection,
    /// Holds the snapshot.
    pub exporter: PgConnection,
    /// Insert the rows; at least one.
    pub workers: Vec<PgConnection>,
}

/// An empty materialized view that is to be filled.
#[derive(Debug, Clone, Copy)]
pub struct Empty<'a> {
    /// The module schema.
    pub schema: &'a ModuleSchema,
    /// The view's key.
    pub mv_id: i32,
    /// What was made to fill it.
    pub prepared: &'a Prepared,
}

/// Fills a materialized view whose refresh lock the recorder has held since that instant; how many rows it has. If that
/// fails, or is not awaited to its end, some slices may have been committed, but nothing is noted: drop it, or refresh it.
pub async fn fill(
    sessions: &mut Sessions,
    view: Empty<'_>,
    begun: DateTime<Utc>,
) -> sqlx::Result<i64> {
    parallel_fills::refresh_needed(&mut sessions.exporter, view.schema, view.mv_id).await?;
    let exported = parallel_fills::export(&mut sessions.exporter, view.schema, view.mv_id).await?;
    let count = i32::try_from(sessions.workers.len()).unwrap_or(i32::MAX);
    let left = Mutex::new(slices(view.prepared, count));
    let workers = sessions.workers.iter_mut();
    let totals =
        try_join_all(workers.map(|worker| insert_slices(worker, view, &exported, &left))).await?;
    // All have succeeded. Readers see the slices appear one after the other, within moments.
    for worker in &mut sessions.workers {
        worker.execute("COMMIT").await?;
    }
    let total = totals.iter().fold(Total::default(), |sum, one| Total {
        rows: sum.rows + one.rows,
        work_ms: sum.work_ms + one.work_ms,
    });
    parallel_fills::finish(
        &mut sessions.recorder,
        view.schema,
        view.mv_id,
        view.prepared,
        &exported,
        begun,
        total,
    )
    .await?;
    sessions.exporter.execute("COMMIT").await?;
    Ok(total.rows)
}

/// Takes slices until none is left, in a transaction that stays open.
async fn insert_slices(
    worker: &mut PgConnection,
    view: Empty<'_>,
    exported: &Exported,
    left: &Mutex<VecDeque<Slice>>,
) -> sqlx::Result<Total> {
    parallel_fills::join_in(worker, exported).await?;
    let mut total = Total::default();
    let next = || {
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        left.pop_front()
    };
    while let Some(slice) = next() {
        let begun = Instant::now();
        total.rows +=
            parallel_fills::insert(worker, view.schema, view.mv_id, &slice, exported).await?;
        total.work_ms += begun.elapsed().as_secs_f64() * 1000.0;
    }
    Ok(total)
}

/// All the work, what may take longest first. Every row is in exactly one slice.
fn slices(prepared: &Prepared, count: i32) -> VecDeque<Slice> {
    let mut slices = VecDeque::new();
    if prepared.has_state {
        slices.push_back(Slice::State);
    }
    match &prepared.bounds {
        Some(bounds) => {
            let mut lower = None;
            for bound in bounds {
                slices.push_back(Slice::Range(lower, Some(bound.clone())));
                lower = Some(bound.clone());
            }
            slices.push_back(Slice::Range(lower, None));
            slices.push_back(Slice::Nulls);
        }
        None => slices.extend((0..count).map(|slice| Slice::Hash(slice, count))),
    }
    slices
}

/// The column of a base table that an output column shows as it is: its values are divided as that table's statistics say,
/// and a range of them can be found by an index.
#[must_use]
pub fn origin(query: &Query, column: &str) -> Option<(u32, i16)> {
    let position = query.columns.iter().position(|name| name == column)?;
    let (relation, column) = shown(&query.root, position)?;
    Some((relation.oid, column.attnum))
}

fn shown(operator: &Operator, position: usize) -> Option<(&Relation, &Column)> {
    let (input, position) = match operator {
        Operator::Scan(relation) => return Some((relation, relation.columns.get(position)?)),
        Operator::Filter { input, .. } => (input.as_ref(), position),
        Operator::Project { input, outputs } => match outputs.get(position)?.kind {
            Kind::Column(position) => (input.as_ref(), position),
            _ => return None,
        },
        Operator::Aggregate { input, keys, .. } => match keys.get(position)?.kind {
            Kind::Column(position) => (input.as_ref(), position),
            _ => return None,
        },
        Operator::Join(inputs) => among(inputs.iter(), position)?,
        Operator::Outer { left, right, .. } => among([left.as_ref(), right.as_ref()], position)?,
        Operator::Match { left, .. } => among([left.as_ref()], position)?,
        // others have no such column, or several
        _ => return None,
    };
    shown(input, position)
}

/// The input that a position among the columns of all of them is in, and the position there.
fn among<'a>(
    inputs: impl IntoIterator<Item = &'a Operator>,
    mut position: usize,
) -> Option<(&'a Operator, usize)> {
    for input in inputs {
        if position < input.width() {
            return Some((input, position));
        }
        position -= input.width();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(bounds: Option<&[&str]>, has_state: bool) -> Prepared {
        let bounds = bounds.map(|bounds| bounds.iter().map(|&bound| bound.to_owned()).collect());
        Prepared {
            bounds,
            has_state,
            index_definitions: None,
            meaning: String::new(),
        }
    }

    #[test]
    fn ranges_join_without_gap_and_nulls_have_a_slice_of_their_own() {
        let slices = Vec::from(slices(&prepared(Some(&["f", "p"]), true), 3));
        let bound = |text: &str| Some(text.to_owned());
        assert_eq!(
            slices,
            [
                Slice::State,
                Slice::Range(None, bound("f")),
                Slice::Range(bound("f"), bound("p")),
                Slice::Range(bound("p"), None),
                Slice::Nulls,
            ]
        );
    }

    #[test]
    fn without_bounds_every_remainder_has_its_slice() {
        let slices = Vec::from(slices(&prepared(None, false), 3));
        assert_eq!(
            slices,
            [Slice::Hash(0, 3), Slice::Hash(1, 3), Slice::Hash(2, 3)]
        );
    }
}
