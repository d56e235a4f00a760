//! By which columns base tables are looked up as changes are brought up through the operators.

use std::collections::{BTreeMap, BTreeSet};

use super::super::program::Lookup;
use super::super::terms::qualified;
use super::build::{owners, starts};
use super::node::{NodeKind, NodeRef, Sides};
use super::types::is_groupable;
use crate::definition::{Expression, Kind, Relation};

/// What the changes of base tables make a refresh look up.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// By the changed table's oid: tables with the columns that are known, none for a table that is read in full.
    found: BTreeMap<u32, BTreeSet<(u32, Vec<usize>)>>,
    relations: BTreeMap<u32, Relation>,
    /// The base tables whose change is being followed.
    changed: BTreeSet<u32>,
    /// What has been sought for it: the numbers of nodes with the columns that were known.
    sought: BTreeSet<(usize, BTreeSet<usize>)>,
}

impl Lookups {
    /// Those of a tree.
    pub(super) fn of(root: &NodeRef) -> Self {
        let mut lookups = Self::default();
        let mut seen = BTreeSet::new();
        lookups.visit(root, &mut seen);
        lookups
    }

    /// All of them, each once.
    pub(super) fn all(&self) -> Vec<Lookup> {
        let each = self.found.values().flatten();
        let each: BTreeSet<&(u32, Vec<usize>)> = each.collect();
        each.into_iter()
            .filter(|(_, columns)| !columns.is_empty())
            .map(|(oid, columns)| {
                let relation = &self.relations[oid];
                Lookup {
                    oid: *oid,
                    schema: relation.schema.clone(),
                    name: relation.name.clone(),
                    columns: columns
                        .iter()
                        .map(|at| relation.columns[*at].name.clone())
                        .collect(),
                }
            })
            .collect()
    }

    /// What a changed row of a base table leads to, in words.
    pub(super) fn strategy(&self, oid: u32) -> String {
        let Some(found) = self.found.get(&oid) else {
            return "its changes are taken as they are".to_owned();
        };
        let each = found.iter().map(|(other, columns)| {
            let relation = &self.relations[other];
            if columns.is_empty() {
                return format!("{} is read in full", qualified(relation));
            }
            let columns: Vec<&str> = columns
                .iter()
                .map(|at| relation.columns[*at].name.as_str())
                .collect();
            format!(
                "{} is looked up by {}",
                qualified(relation),
                columns.join(", ")
            )
        });
        let each: Vec<String> = each.collect();
        format!("for a changed row, {}", each.join("; "))
    }

    fn visit(&mut self, node: &NodeRef, seen: &mut BTreeSet<usize>) {
        if !seen.insert(node.id) {
            return;
        }
        match &node.kind {
            NodeKind::Scan { relation, .. } => {
                self.relations.insert(relation.oid, relation.clone());
            }
            NodeKind::Union(_)
            | NodeKind::Values(_)
            | NodeKind::Repeat { .. }
            | NodeKind::Unfold { .. } => {}
            NodeKind::Block {
                items, conditions, ..
            } => {
                let (owners, starts) = (owners(items), starts(items));
                for (changed, item) in items.iter().enumerate() {
                    self.begin(item);
                    let bound = (0..owners.len()).filter(|at| owners[*at] == changed);
                    let mut done = vec![false; items.len()];
                    done[changed] = true;
                    let bound = bound.collect();
                    self.follow(items, &starts, conditions, bound, done);
                }
            }
            NodeKind::Outer { sides, .. } | NodeKind::Match { sides, .. } => {
                self.begin(&sides.left);
                self.right_of(sides);
                self.begin(&sides.right);
                let left = sides.equal.iter().map(|(left, _)| *left);
                self.look_up(&sides.left, &left.collect());
                self.right_of(sides);
            }
            NodeKind::Window { input, keys, .. } | NodeKind::First { input, keys, .. } => {
                self.begin(input);
                self.look_up(input, &keys.iter().copied().collect());
            }
            NodeKind::Aggregate { input, keys, .. } => {
                self.begin(input);
                self.look_up(input, &(0..*keys).collect());
            }
        }
        for input in node.inputs() {
            self.visit(input, seen);
        }
    }

    /// Begins with what the changes of a node lead to.
    fn begin(&mut self, node: &NodeRef) {
        self.changed.clone_from(node.tables());
        self.sought.clear();
    }

    fn right_of(&mut self, sides: &Sides) {
        let right = sides.equal.iter().map(|(_, right)| *right);
        self.look_up(&sides.right, &right.collect());
    }

    /// A node's rows are sought by the values of some columns; none: all of them are read.
    fn look_up(&mut self, node: &NodeRef, columns: &BTreeSet<usize>) {
        if !self.sought.insert((node.id, columns.clone())) {
            return;
        }
        match &node.kind {
            NodeKind::Scan {
                relation,
                columns: of,
            } => {
                self.relations.insert(relation.oid, relation.clone());
                let columns: Vec<usize> = columns.iter().map(|at| of[*at]).collect();
                for changed in &self.changed {
                    let found = self.found.entry(*changed).or_default();
                    found.insert((relation.oid, columns.clone()));
                }
            }
            NodeKind::Block {
                items,
                conditions,
                outputs,
            } => {
                let bound = columns.iter().filter_map(|at| match outputs[*at].kind {
                    Kind::Column(at) => Some(at),
                    _ => None,
                });
                let bound = bound.collect();
                let done = vec![false; items.len()];
                self.follow(items, &starts(items), conditions, bound, done);
            }
            NodeKind::Values(_) => {}
            NodeKind::Union(inputs) => {
                for input in inputs {
                    self.look_up(input, columns);
                }
            }
            NodeKind::Unfold { input, .. } => {
                let columns = columns.range(..input.columns.len()).copied();
                self.look_up(input, &columns.collect());
            }
            NodeKind::Repeat { input, .. } => self.look_up(input, columns),
            NodeKind::Window { input, keys, .. } | NodeKind::First { input, keys, .. } => {
                let keys: BTreeSet<usize> = keys.iter().copied().collect();
                let of_keys: BTreeSet<usize> = columns.intersection(&keys).copied().collect();
                if of_keys.is_empty() && !keys.is_empty() {
                    // the rows themselves, then all those of their keys
                    let width = input.columns.len();
                    self.look_up(input, &columns.range(..width).copied().collect());
                    self.look_up(input, &keys);
                } else {
                    self.look_up(input, &of_keys);
                }
            }
            NodeKind::Aggregate { input, keys, .. } => {
                let columns = columns.iter().copied().filter(|at| at < keys);
                self.look_up(input, &columns.collect());
            }
            NodeKind::Outer { sides, .. } | NodeKind::Match { sides, .. } => {
                let width = sides.left.columns.len();
                let left: BTreeSet<usize> = columns.range(..width).copied().collect();
                let right: BTreeSet<usize> = columns
                    .iter()
                    .filter_map(|at| at.checked_sub(width))
                    .filter(|at| *at < sides.right.columns.len())
                    .collect();
                if left.is_empty() && !right.is_empty() && !sides.equal.is_empty() {
                    self.look_up(&sides.right, &right);
                    let left = sides.equal.iter().map(|(left, _)| *left);
                    self.look_up(&sides.left, &left.collect());
                } else {
                    self.look_up(&sides.left, &left);
                    self.right_of(sides);
                }
            }
        }
    }

    /// From known columns of a join to others, by its conditions.
    fn follow(
        &mut self,
        items: &[NodeRef],
        starts: &[usize],
        conditions: &[Expression],
        mut bound: BTreeSet<usize>,
        mut done: Vec<bool>,
    ) {
        loop {
            for condition in conditions {
                if let Some((one, other)) = equal_columns(condition) {
                    for (one, other) in [(&one, &other), (&other, &one)] {
                        let Kind::Column(at) = other.kind else {
                            continue;
                        };
                        let columns = one.columns();
                        if !columns.is_empty() && columns.iter().all(|at| bound.contains(at)) {
                            bound.insert(at);
                        }
                    }
                }
            }
            let of_item = |item: usize, bound: &BTreeSet<usize>| -> BTreeSet<usize> {
                let reach = starts[item]..starts[item] + items[item].columns.len();
                bound.range(reach).map(|at| at - starts[item]).collect()
            };
            let waiting = (0..items.len()).filter(|item| !done[*item]);
            // the one of which most is known comes next
            let next = waiting.max_by_key(|item| (of_item(*item, &bound).len(), usize::MAX - item));
            let Some(next) = next else { return };
            self.look_up(&items[next], &of_item(next, &bound));
            done[next] = true;
            bound.extend(starts[next]..starts[next] + items[next].columns.len());
        }
    }
}

fn equal_columns(condition: &Expression) -> Option<(Expression, Expression)> {
    match &condition.kind {
        Kind::Operator {
            left: Some(left),
            operator,
            right,
        } if operator == "=" && is_groupable(left) && is_groupable(right) => {
            Some((*left.clone(), *right.clone()))
        }
        _ => None,
    }
}
