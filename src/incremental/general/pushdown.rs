//! Conditions brought down into the inputs that they are about.

use std::collections::BTreeSet;

use super::build::Parts;
use crate::definition::{Expression, Kind, MatchKind, Operator};

/// Lets conditions about one item work in it: σc(A ⟕ B) = σc(A) ⟕ B, and so for semi and anti joins, if c is about A only.
/// A mark that serves but to filter becomes a semi or anti join.
pub(super) fn push_down(parts: &mut Parts, wanted: &BTreeSet<usize>) {
    let mut start = 0;
    for number in 0..parts.items.len() {
        let width = parts.items[number].width();
        if filter_by_mark(parts, number, start, wanted) {
            // its mark, the last of its columns, is no more
            let moved = |at: usize| {
                if at >= start + width { at - 1 } else { at }
            };
            for expression in parts.conditions.iter_mut().chain(&mut parts.outputs) {
                *expression = expression.moved(&moved);
            }
        }
        let (Operator::Match { left, .. }
        | Operator::Outer {
            left,
            is_full: false,
            ..
        }
        // a function may fail for rows that a condition leaves out
        | Operator::Unfold { input: left, .. }) = &mut parts.items[number]
        else {
            start += parts.items[number].width();
            continue;
        };
        let reach = start..start + left.width();
        let (inside, outside): (Vec<_>, Vec<_>) = std::mem::take(&mut parts.conditions)
            .into_iter()
            .partition(|condition| {
                let columns = condition.columns();
                !columns.is_empty() && columns.iter().all(|at| reach.contains(at))
            });
        parts.conditions = outside;
        for condition in inside {
            let input = std::mem::replace(left, Box::new(Operator::Join(Vec::new())));
            **left = Operator::Filter {
                input,
                condition: condition.moved(&|at| at - start),
            };
        }
        start += parts.items[number].width();
    }
}

/// Turns an item that marks into one that filters, if one condition is its mark or NOT its mark and nothing else reads it.
fn filter_by_mark(
    parts: &mut Parts,
    number: usize,
    start: usize,
    wanted: &BTreeSet<usize>,
) -> bool {
    let Operator::Match {
        left,
        kind: kind @ MatchKind::Mark,
        ..
    } = &mut parts.items[number]
    else {
        return false;
    };
    let mark = start + left.width();
    let reads = |expression: &Expression| expression.columns().contains(&mark);
    if wanted.iter().any(|at| reads(&parts.outputs[*at])) {
        return false;
    }
    let mut readers = parts
        .conditions
        .iter()
        .enumerate()
        .filter(|(_, condition)| reads(condition));
    let (Some((condition, found)), None) = (readers.next(), readers.next()) else {
        return false;
    };
    *kind = match &found.kind {
        Kind::Column(_) => MatchKind::Semi,
        Kind::Not(operand) if matches!(operand.kind, Kind::Column(_)) => MatchKind::Anti,
        _ => return false,
    };
    parts.conditions.remove(condition);
    // outputs that nobody wants may still name it
    for (at, output) in parts.outputs.iter_mut().enumerate() {
        if !wanted.contains(&at) && output.columns().contains(&mark) {
            output.kind = Kind::Literal("NULL".to_owned());
        }
    }
    true
}
