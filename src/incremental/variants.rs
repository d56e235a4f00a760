//! For which base tables, if only they have changed, there is a statement of its own: planning the terms of all others would cost
//! more than the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::logs::{Changed, ChangedTable};
use super::program::Variant;
use crate::definition::{Expression, Kind, Operator, Query, Refusal};

/// Beyond so many pairs of tables there is none for pairs: the text would be too long.
const MOST_PAIRS: usize = 12;

/// A statement for each table, and for each two that equal values join: what changes together mostly belongs together.
pub(super) fn variants(
    query: &Query,
    tables: &BTreeMap<u32, ChangedTable>,
    statement: &dyn Fn(Changed<'_>) -> Result<String, Refusal>,
) -> Result<Vec<Variant>, Refusal> {
    let mut sets: Vec<BTreeSet<u32>> = tables.keys().map(|oid| BTreeSet::from([*oid])).collect();
    if tables.len() > 1 {
        let mut pairs = BTreeSet::new();
        linked(&query.root, &mut pairs);
        if pairs.len() <= MOST_PAIRS {
            sets.extend(pairs.into_iter().map(|(one, other)| [one, other].into()));
        }
    }
    let places: Vec<u32> = tables.keys().copied().collect();
    let place = |oid: &u32| places.iter().position(|other| other == oid);
    sets.iter()
        .map(|set| {
            // Of rows that are a part of the statement the planner knows less than of the log: no good where they are joined.
            let few = match query.root.relations().as_slice() {
                [only] => Some(statement(Changed::Few(only.oid))?),
                _ => None,
            };
            Ok(Variant {
                tables: set.iter().filter_map(place).collect(),
                statement: statement(Changed::Only(set))?,
                few,
            })
        })
        .collect()
}

/// Notes the pairs of base tables of which columns are said to be equal; gives the base table that each column of an operator is of.
fn linked(operator: &Operator, pairs: &mut BTreeSet<(u32, u32)>) -> Vec<Option<u32>> {
    let mut inputs: Vec<Vec<Option<u32>>> = operator
        .inputs()
        .into_iter()
        .map(|input| linked(input, pairs))
        .collect();
    let note = |conditions: &[Expression], columns: &[Option<u32>], pairs: &mut BTreeSet<_>| {
        let all = conditions.iter().flat_map(|all| all.clone().conjuncts());
        pairs.extend(all.filter_map(|condition| pair(&condition, columns)));
    };
    match operator {
        Operator::Scan(relation) => vec![Some(relation.oid); relation.columns.len()],
        Operator::Values { .. } => vec![None; operator.width()],
        Operator::Join(_) => inputs.concat(),
        Operator::Filter { condition, .. } => {
            let columns = inputs.swap_remove(0);
            note(std::slice::from_ref(condition), &columns, pairs);
            columns
        }
        Operator::Project { outputs, .. } => of(outputs, &inputs[0]),
        Operator::Aggregate {
            keys, aggregates, ..
        } => {
            let mut columns = of(keys, &inputs[0]);
            columns.extend(aggregates.iter().map(|_| None));
            columns
        }
        Operator::UnionAll(_) | Operator::First { .. } | Operator::Repeat { .. } => {
            inputs.swap_remove(0)
        }
        Operator::Outer { conditions, .. } => {
            let columns = inputs.concat();
            note(conditions, &columns, pairs);
            columns
        }
        Operator::Unfold { .. } | Operator::Window { .. } => {
            let mut columns = inputs.swap_remove(0);
            columns.resize(operator.width(), None);
            columns
        }
        Operator::Match { conditions, .. } => {
            note(conditions, &inputs.concat(), pairs);
            let mut columns = inputs.swap_remove(0);
            columns.resize(operator.width(), None);
            columns
        }
    }
}

fn of(values: &[Expression], columns: &[Option<u32>]) -> Vec<Option<u32>> {
    let origin = |value: &Expression| match value.kind {
        Kind::Column(at) => columns[at],
        _ => None,
    };
    values.iter().map(origin).collect()
}

/// The two base tables of which a condition says that columns are equal.
fn pair(condition: &Expression, columns: &[Option<u32>]) -> Option<(u32, u32)> {
    let Kind::Operator {
        left: Some(left),
        operator,
        right,
    } = &condition.kind
    else {
        return None;
    };
    let (Kind::Column(left), Kind::Column(right)) = (&left.kind, &right.kind) else {
        return None;
    };
    let (one, other) = (columns[*left]?, columns[*right]?);
    (operator == "=" && one != other).then(|| (one.min(other), one.max(other)))
}
