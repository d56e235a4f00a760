//! Aggregates whose value depends on the order of rows: ORDER BY in them has to leave but one.

use std::collections::BTreeSet;

use super::read_select::Reader;
use super::uniqueness::determine;
use super::{AggregateCall, Expression, Kind, Operator, OtherAggregate, Refusal};

/// Those of `PostgreSQL` itself that put together what they are over.
const PUT_TOGETHER: &[&str] = &[
    "string_agg",
    "array_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
];

impl Reader<'_> {
    /// Refuses aggregates that take rows in an order that leaves a choice. `keys` are those that are equal in each group.
    pub(super) fn require_orders(
        &self,
        input: &Operator,
        keys: &[&Expression],
        aggregates: &[AggregateCall],
    ) -> Result<(), Refusal> {
        for aggregate in aggregates {
            if let Some(call) = &aggregate.other
                && let Err(refusal) = self.require_order(call)
                && !has_unique_order(input, keys, call)
            {
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Refuses unless ORDER BY, or DISTINCT, leaves but one order of what is aggregated, whatever the rows are.
    pub(super) fn require_order(&self, call: &OtherAggregate) -> Result<(), Refusal> {
        // those of users have a schema in their names
        if !PUT_TOGETHER.contains(&call.name.as_str()) && !call.name.contains('.') {
            return Ok(());
        }
        let clause = format!("{}(…)", call.name);
        let mut known: Vec<&Expression> = call.order.iter().map(|(value, _)| value).collect();
        if call.is_distinct {
            // what is DISTINCT is sorted by its first argument
            known.extend(call.arguments.first());
        }
        if known.is_empty() {
            return Err(Refusal::new(
                clause,
                "its value depends on the order in which rows are read; add ORDER BY",
            ));
        }
        for value in &known {
            if !call.arguments.contains(value) {
                continue;
            }
            self.require_identity(value, &clause)?;
        }
        let columns: BTreeSet<usize> = known
            .iter()
            .filter_map(|value| match value.kind {
                Kind::Column(at) if self.require_identity(value, &clause).is_ok() => Some(at),
                _ => None,
            })
            .collect();
        let is_known = |argument: &Expression| {
            known.contains(&argument) || argument.columns().iter().all(|at| columns.contains(at))
        };
        if call.arguments.iter().all(is_known) {
            return Ok(());
        }
        Err(Refusal::new(
            clause,
            "rows that ORDER BY takes for equal may come in any order; order by what is aggregated, or by a unique key, too",
        ))
    }
}

/// Whether no two rows of a group are equal in ORDER BY.
fn has_unique_order(input: &Operator, keys: &[&Expression], call: &OtherAggregate) -> bool {
    // of values that DISTINCT takes for equal any might stay
    if call.is_distinct {
        return false;
    }
    let order = call.order.iter().map(|(value, _)| value);
    let equal = keys.iter().copied().chain(order);
    let columns = equal.filter_map(|value| match value.kind {
        Kind::Column(at) => Some(at),
        _ => None,
    });
    determine(input, &columns.collect())
}
