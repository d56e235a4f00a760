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
        Operator::Aggregate { input, keys, .. } => {
            let of_keys = keys
                .iter()
                .enumerate()
                .filter_map(|(at, key)| match key.kind {
                    Kind::Column(column) if known.contains(&at) => Some(column),
                    _ => None,
                });
            let fixed = fixed(input, of_keys.collect());
            // of a computed key equal values might make different ones
            let is_fixed =
                |key: &Expression| matches!(key.kind, Kind::Column(at) if fixed.contains(&at));
            keys.iter()
                .enumerate()
                .all(|(at, key)| known.contains(&at) || is_fixed(key))
        }
        Operator::Outer {
            left,
            right,
            conditions,
            is_full: false,
            is_dependent: _,
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
        known = fixed_by(inputs, conditions, known);
        let next = open
            .iter()
            .position(|(start, input)| determine(input, &of_input(&known, *start, input.width())));
        let Some(next) = next else { return false };
        let (start, input) = open.remove(next);
        known.extend(start..start + input.width());
    }
    true
}

/// The columns of an operator that are equal in rows that are equal in the known ones, among them these.
fn fixed(operator: &Operator, known: BTreeSet<usize>) -> BTreeSet<usize> {
    match operator {
        Operator::Scan(relation) if has_key_among(relation, &known) => {
            (0..operator.width()).collect()
        }
        Operator::Filter { input, condition } => {
            let conditions = condition.clone().conjuncts();
            fixed_by(&[input], &conditions, known)
        }
        Operator::Join(inputs) => fixed_by(&inputs.iter().collect::<Vec<_>>(), &[], known),
        Operator::Match { left, .. }
        | Operator::Outer {
            left,
            is_full: false,
            ..
        } => {
            let of_left = of_input(&known, 0, left.width());
            known.into_iter().chain(fixed(left, of_left)).collect()
        }
        Operator::Project { input, outputs } => {
            let of_input = known.iter().filter_map(|at| match outputs[*at].kind {
                Kind::Column(column) => Some(column),
                _ => None,
            });
            let of_input = fixed(input, of_input.collect());
            let is_fixed = |output: &Expression| matches!(output.kind, Kind::Column(at) if of_input.contains(&at));
            let outputs = outputs.iter().enumerate();
            let more = outputs.filter(|(_, output)| is_fixed(output));
            known
                .iter()
                .copied()
                .chain(more.map(|(at, _)| at))
                .collect()
        }
        _ => known,
    }
}

fn fixed_by(
    inputs: &[&Operator],
    conditions: &[Expression],
    mut known: BTreeSet<usize>,
) -> BTreeSet<usize> {
    // a filter stands over its joins
    if let [Operator::Join(inputs)] = inputs {
        return fixed_by(&inputs.iter().collect::<Vec<_>>(), conditions, known);
    }
    if let [Operator::Filter { input, condition }] = inputs {
        let more = condition.clone().conjuncts();
        let conditions: Vec<Expression> = conditions.iter().cloned().chain(more).collect();
        return fixed_by(&[input], &conditions, known);
    }
    loop {
        let before = known.len();
        known = tied(known, conditions);
        let mut start = 0;
        for input in inputs {
            let own = fixed(input, of_input(&known, start, input.width()));
            known.extend(own.into_iter().map(|at| at + start));
            start += input.width();
        }
        if known.len() == before {
            return known;
        }
    }
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
