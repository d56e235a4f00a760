//! Which columns tell the rows of an operator apart.

use std::collections::BTreeSet;

use super::{Expression, Kind, Operator, Relation};

/// Whether no two rows have equal values in all of these columns. Proved by unique keys and equalities, else it is denied.
pub(super) fn determine(operator: &Operator, known: &BTreeSet<usize>) -> bool {
    match operator {
        Operator::Scan(relation) => has_key_among(relation, known),
        Operator::Filter { .. } | Operator::Join(_) => {
            let mut conditions = Vec::new();
            let mut base = operator;
            while let Operator::Filter { input, condition } = base {
                conditions.extend(condition.clone().conjuncts());
                base = input;
            }
            let inputs = match base {
                Operator::Join(inputs) => inputs.iter().collect(),
                other => vec![other],
            };
            determine_all(&inputs, &conditions, known)
        }
        Operator::Project { input, outputs } => {
            let known = known.iter().filter_map(|at| match outputs[*at].kind {
                Kind::Column(column) => Some(column),
                _ => None,
            });
            determine(input, &known.collect())
        }
        Operator::Aggregate { keys, .. } => (0..keys.len()).all(|key| known.contains(&key)),
        Operator::Outer {
            left,
            right,
            conditions,
            is_full: false,
        } => {
            let width = left.width();
            // of one row of the left side there are its partners, or one row without any
            let of_left = known.range(..width).copied().collect();
            let mut known = known.clone();
            known.extend(0..width);
            determine(left, &of_left)
                && determine(
                    right,
                    &of_input(&tied(known, conditions), width, right.width()),
                )
        }
        Operator::Match { left, .. } => {
            determine(left, &known.range(..left.width()).copied().collect())
        }
        Operator::Window { input, .. } => {
            determine(input, &known.range(..input.width()).copied().collect())
        }
        Operator::First {
            input, keys, limit, ..
        } => {
            let is_known =
                |key: &Expression| matches!(key.kind, Kind::Column(at) if known.contains(&at));
            let is_one = limit.count.is_some_and(|count| count < 2) && !limit.with_ties;
            (is_one && keys.iter().all(is_known)) || determine(input, known)
        }
        _ => false,
    }
}

fn determine_all(inputs: &[&Operator], conditions: &[Expression], known: &BTreeSet<usize>) -> bool {
    let mut known = known.clone();
    let mut open: Vec<(usize, &Operator)> = Vec::new();
    let mut start = 0;
    for input in inputs {
        open.push((start, *input));
        start += input.width();
    }
    while !open.is_empty() {
        known = tied(known, conditions);
        let next = open
            .iter()
            .position(|(start, input)| determine(input, &of_input(&known, *start, input.width())));
        let Some(next) = next else { return false };
        let (start, input) = open.remove(next);
        known.extend(start..start + input.width());
    }
    true
}

fn of_input(known: &BTreeSet<usize>, start: usize, width: usize) -> BTreeSet<usize> {
    known
        .range(start..start + width)
        .map(|at| at - start)
        .collect()
}

/// Columns with all those that conditions make equal to them or to constants.
fn tied(mut known: BTreeSet<usize>, conditions: &[Expression]) -> BTreeSet<usize> {
    loop {
        let before = known.len();
        for condition in conditions {
            let Kind::Operator {
                left: Some(left),
                operator,
                right,
            } = &condition.kind
            else {
                continue;
            };
            if operator != "=" || !is_one_equality(left, right) {
                continue;
            }
            for (one, other) in [(left, right), (right, left)] {
                let Kind::Column(at) = one.kind else { continue };
                let is_fixed = match other.kind {
                    Kind::Column(other) => known.contains(&other),
                    // of the row outside there is one at a time
                    _ => other.columns().is_empty(),
                };
                if is_fixed {
                    known.insert(at);
                }
            }
        }
        if known.len() == before {
            return known;
        }
    }
}

/// Whether `=` between these is the equality by which unique keys are unique.
fn is_one_equality(left: &Expression, right: &Expression) -> bool {
    let is_integer = |value: &Expression| {
        ["int2", "int4", "int8"]
            .iter()
            .any(|name| value.data_type.is(name))
    };
    (left.data_type == right.data_type && left.collation == right.collation)
        || (is_integer(left) && is_integer(right))
}

fn has_key_among(relation: &Relation, known: &BTreeSet<usize>) -> bool {
    relation.unique_keys.iter().any(|key| {
        key.columns.iter().all(|attnum| {
            let at = relation
                .columns
                .iter()
                .position(|column| column.attnum == *attnum);
            at.is_some_and(|at| known.contains(&at) && relation.columns[at].is_not_null)
        })
    })
}
