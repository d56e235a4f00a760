//! Materialized views that read materialized views.
//!
//! The graph is whatever a function says that a node reads directly, so the registry needs no second copy of it.
//! None of the walks recurses: a chain may be as long as there are views.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// A node of a dependency graph: a view's id or a unit.
pub trait Node: Copy + Ord + Hash {}

impl<N: Copy + Ord + Hash> Node for N {}

/// All that `start` reads, directly or through others; contains `start` only if it is on a cycle.
pub fn closure<N: Node>(start: N, reads: impl Fn(N) -> Vec<N>) -> BTreeSet<N> {
    let mut found = BTreeSet::new();
    let mut open = reads(start);
    while let Some(node) = open.pop() {
        if found.insert(node) {
            open.extend(reads(node));
        }
    }
    found
}

/// The nodes in an order in which each comes after all it reads (among themselves), otherwise in their own order; or
/// the members of a cycle, each reading the next and the last reading the first.
pub fn topological_order<N: Node>(
    nodes: impl IntoIterator<Item = N>,
    reads: impl Fn(N) -> Vec<N>,
) -> Result<Vec<N>, Vec<N>> {
    let nodes: BTreeSet<N> = nodes.into_iter().collect();
    let mut done: HashMap<N, bool> = HashMap::new();
    let mut order = Vec::with_capacity(nodes.len());
    for node in &nodes {
        // The path from `node` down, each with what it reads that is still to be looked at.
        let mut path: Vec<(N, Vec<N>)> = Vec::new();
        let mut next = Some(*node);
        loop {
            if let Some(node) = next.take() {
                match done.get(&node) {
                    Some(true) => {}
                    Some(false) => return Err(cycle_on(&path, node)),
                    None => {
                        done.insert(node, false);
                        let mut read: Vec<N> = reads(node)
                            .into_iter()
                            .filter(|read| nodes.contains(read))
                            .collect();
                        read.sort_unstable_by(|a, b| b.cmp(a));
                        path.push((node, read));
                    }
                }
            }
            let Some((node, unseen)) = path.last_mut() else {
                break;
            };
            next = unseen.pop();
            if next.is_none() {
                done.insert(*node, true);
                order.push(*node);
                path.pop();
            }
        }
    }
    Ok(order)
}

fn cycle_on<N: Node>(path: &[(N, Vec<N>)], again: N) -> Vec<N> {
    path.iter()
        .map(|(node, _)| *node)
        .skip_while(|node| *node != again)
        .collect()
}

/// The members of some cycle, each reading the next and the last reading the first.
pub fn cycle<N: Node>(
    nodes: impl IntoIterator<Item = N>,
    reads: impl Fn(N) -> Vec<N>,
) -> Option<Vec<N>> {
    topological_order(nodes, reads).err()
}

/// Whether `node` need not wait for anything it reads, directly or through others.
///
/// `goes_first(other)` says that `other` is due or running, and was so before `node`. Views that are suspended,
/// disabled or backing off are not due, so a broken one never holds up those that read it. A node that reads `node`
/// in turn (possible between refresh groups, whose members read each other both ways) is not waited for either,
/// or both would wait for ever.
pub fn may_start<N: Node>(
    node: N,
    reads: impl Fn(N) -> Vec<N>,
    goes_first: impl Fn(N) -> bool,
) -> bool {
    closure(node, &reads)
        .into_iter()
        .all(|other| other == node || !goes_first(other) || closure(other, &reads).contains(&node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(i32, i32)]) -> impl Fn(i32) -> Vec<i32> {
        move |node| {
            edges
                .iter()
                .filter(|(reader, _)| *reader == node)
                .map(|(_, read)| *read)
                .collect()
        }
    }

    /// 4 reads 2 and 3, which read 1; 6 reads 5.
    const DIAMOND: [(i32, i32); 5] = [(4, 2), (4, 3), (2, 1), (3, 1), (6, 5)];

    #[test]
    fn closure_finds_everything_below() {
        assert_eq!(
            closure(4, graph(&DIAMOND)).into_iter().collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert!(closure(1, graph(&DIAMOND)).is_empty());
    }

    #[test]
    fn order_puts_each_view_after_what_it_reads() {
        assert_eq!(
            topological_order(1..=6, graph(&DIAMOND)),
            Ok(vec![1, 2, 3, 4, 5, 6])
        );
        let upside_down = [(1, 2), (2, 3), (3, 4)];
        assert_eq!(
            topological_order(1..=4, graph(&upside_down)),
            Ok(vec![4, 3, 2, 1])
        );
        assert_eq!(
            topological_order([1, 3], graph(&[(1, 3)])),
            Ok(vec![3, 1]),
            "others are left out"
        );
    }

    #[test]
    fn a_cycle_names_its_members_and_only_them() {
        let edges = [(1, 2), (2, 3), (3, 4), (4, 2), (5, 1)];
        assert_eq!(cycle(1..=5, graph(&edges)), Some(vec![2, 3, 4]));
        assert_eq!(cycle([7], graph(&[(7, 7)])), Some(vec![7]));
        assert_eq!(cycle(1..=6, graph(&DIAMOND)), None);
    }

    #[test]
    fn a_view_waits_for_everything_below_that_goes_first() {
        let waits_for = |busy: i32| !may_start(4, graph(&DIAMOND), |node| node == busy);
        assert!(waits_for(1) && waits_for(2) && waits_for(3));
        assert!(!waits_for(4) && !waits_for(5) && !waits_for(6));
    }

    #[test]
    fn a_view_on_a_cycle_waits_for_what_is_below_the_cycle_only() {
        let edges = [(1, 2), (2, 1), (2, 3)];
        assert!(may_start(1, graph(&edges), |node| node == 2));
        assert!(!may_start(1, graph(&edges), |node| node == 3));
    }

    #[test]
    fn long_chains_do_not_exhaust_the_stack() {
        let chain = |node: i32| if node > 0 { vec![node - 1] } else { vec![] };
        assert_eq!(
            topological_order(0..100_000, chain).map(|order| order.len()),
            Ok(100_000)
        );
        assert_eq!(
            cycle(0..100_000, |node: i32| vec![(node + 1) % 100_000]).map(|cycle| cycle.len()),
            Some(100_000)
        );
        assert_eq!(closure(99_999, chain).len(), 99_999);
    }
}
