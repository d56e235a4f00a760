//! From the definition's operators to nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::blocks::substituted;
use super::node::{Column, NodeKind, NodeRef, Nodes};
use super::pushdown;
use crate::definition::{Expression, Kind, Operator, Refusal};

/// Joins of more are parted: the terms of a difference grow with the power of two.
const MOST_IN_A_BLOCK: usize = 4;

/// A node, and where it has the columns of the operator that were asked for.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) node: NodeRef,
    pub(super) at: BTreeMap<usize, usize>,
}

/// A projection of a selection of a product, over all columns of its items.
pub(super) struct Parts {
    pub(super) items: Vec<Operator>,
    pub(super) conditions: Vec<Expression>,
    pub(super) outputs: Vec<Expression>,
}

impl Nodes {
    /// The node that gives these columns of an operator, in this order.
    pub(super) fn exact(
        &mut self,
        operator: &Operator,
        wanted: &[usize],
    ) -> Result<NodeRef, Refusal> {
        let built = self.build(operator, &wanted.iter().copied().collect())?;
        let places: Vec<usize> = wanted.iter().map(|column| built.at[column]).collect();
        let is_same = places.len() == built.node.columns.len()
            && places.iter().enumerate().all(|(at, place)| at == *place);
        // a row must have something in it
        if is_same && !places.is_empty() {
            return Ok(built.node);
        }
        let columns = places
            .iter()
            .map(|place| built.node.columns[*place].clone());
        let columns: Vec<Column> = columns.collect();
        let outputs = columns.iter().map(|column| column.facts.clone()).collect();
        Ok(self.block(vec![built.node], Vec::new(), outputs, columns))
    }

    pub(super) fn block(
        &mut self,
        items: Vec<NodeRef>,
        conditions: Vec<Expression>,
        mut outputs: Vec<Expression>,
        mut columns: Vec<Column>,
    ) -> NodeRef {
        if outputs.is_empty() {
            let mut present = Expression::boolean(Kind::Literal("true".to_owned()));
            present.is_nullable = false;
            columns.push(Column {
                name: "present".to_owned(),
                facts: present.clone(),
            });
            outputs.push(present);
        }
        self.add(
            NodeKind::Block {
                items,
                conditions,
                outputs,
            },
            columns,
        )
    }

    /// The node that gives at least these columns of an operator.
    pub(super) fn build(
        &mut self,
        operator: &Operator,
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        self.spent.step()?;
        match operator {
            Operator::Scan(relation) => {
                let columns: Vec<usize> = wanted.iter().copied().collect();
                let facts = relation.column_expressions();
                let described = columns
                    .iter()
                    .map(|column| Column {
                        name: relation.columns[*column].name.clone(),
                        facts: facts[*column].clone(),
                    })
                    .collect();
                let at = columns.iter().copied().zip(0..).collect();
                let kind = NodeKind::Scan {
                    relation: relation.clone(),
                    columns,
                };
                Ok(Built {
                    node: self.add(kind, described),
                    at,
                })
            }
            Operator::Values { rows } => {
                let named = operator.columns().into_iter().enumerate();
                let named = named.map(|(at, facts)| Column {
                    name: format!("column{}", at + 1),
                    facts,
                });
                let columns: Vec<Column> = named.collect();
                let at = (0..columns.len()).map(|at| (at, at)).collect();
                Ok(Built {
                    node: self.add(NodeKind::Values(rows.clone()), columns),
                    at,
                })
            }
            Operator::Join(_) | Operator::Filter { .. } | Operator::Project { .. } => {
                let mut parts = parts(operator);
                pushdown::push_down(&mut parts, wanted);
                self.gathered(&parts, wanted)
            }
            Operator::UnionAll(inputs) => {
                let columns: Vec<usize> = wanted.iter().copied().collect();
                let inputs = inputs
                    .iter()
                    .map(|input| self.exact(input, &columns))
                    .collect::<Result<Vec<_>, _>>()?;
                let facts = operator.columns();
                let named = columns.iter().zip(&inputs[0].columns);
                let mut described: Vec<Column> = named
                    .map(|(column, input)| Column {
                        name: input.name.clone(),
                        facts: facts[*column].clone(),
                    })
                    .collect();
                if described.is_empty() {
                    described.clone_from(&inputs[0].columns);
                }
                Ok(Built {
                    node: self.add(NodeKind::Union(inputs), described),
                    at: columns.into_iter().zip(0..).collect(),
                })
            }
            Operator::Window { input, keys, calls } => self.windowed(input, keys, calls, wanted),
            Operator::First {
                input,
                keys,
                order,
                limit,
            } => self.first(input, keys, order, *limit, wanted),
            Operator::Repeat { input, times } => self.repeated(input, *times, wanted),
            Operator::Outer {
                left,
                right,
                conditions,
                is_full,
                is_dependent,
            } => self.outer(left, right, conditions, (*is_full, *is_dependent), wanted),
            Operator::Unfold { .. } => self.unfolded(operator, wanted),
            Operator::Match {
                left,
                right,
                conditions,
                kind,
            } => self.matched(left, right, conditions, *kind, wanted),
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } => self.grouped(input, keys, aggregates, wanted),
        }
    }

    fn gathered(&mut self, parts: &Parts, wanted: &BTreeSet<usize>) -> Result<Built, Refusal> {
        let outputs: Vec<&Expression> = wanted.iter().map(|at| &parts.outputs[*at]).collect();
        let used: BTreeSet<usize> = outputs
            .iter()
            .copied()
            .chain(&parts.conditions)
            .flat_map(Expression::columns)
            .collect();
        let mut items = Vec::new();
        let mut places = BTreeMap::new();
        let (mut before, mut built_before) = (0, 0);
        for item in &parts.items {
            let width = item.width();
            let of_item = used.range(before..before + width).map(|at| at - before);
            let built = self.build(item, &of_item.collect())?;
            for (column, at) in &built.at {
                places.insert(before + column, built_before + at);
            }
            before += width;
            built_before += built.node.columns.len();
            items.push(built.node);
        }
        let moved = |expression: &Expression| expression.moved(&|at| places[&at]);
        let conditions: Vec<Expression> = parts.conditions.iter().map(moved).collect();
        let outputs: Vec<Expression> = outputs.into_iter().map(moved).collect();
        if let ([item], [], Some(plain)) = (&items[..], &conditions[..], plain_columns(&outputs)) {
            return Ok(Built {
                node: item.clone(),
                at: wanted.iter().copied().zip(plain).collect(),
            });
        }
        let (items, conditions, outputs) = self.parted(items, conditions, outputs);
        let described = described(&items, &outputs);
        Ok(Built {
            node: self.block(items, conditions, outputs, described),
            at: wanted.iter().copied().zip(0..).collect(),
        })
    }

    /// A large join as a join with a join in it. Those that conditions connect come together.
    fn parted(
        &mut self,
        mut items: Vec<NodeRef>,
        mut conditions: Vec<Expression>,
        mut outputs: Vec<Expression>,
    ) -> (Vec<NodeRef>, Vec<Expression>, Vec<Expression>) {
        while items.len() > MOST_IN_A_BLOCK {
            let owners = owners(&items);
            let mut inner = vec![0];
            while inner.len() < MOST_IN_A_BLOCK {
                let is_linked = |item: usize| {
                    conditions.iter().any(|condition| {
                        let of: BTreeSet<usize> =
                            condition.columns().iter().map(|at| owners[*at]).collect();
                        of.contains(&item) && of.iter().any(|other| inner.contains(other))
                    })
                };
                let free = (0..items.len()).filter(|item| !inner.contains(item));
                let free: Vec<usize> = free.collect();
                let next = free.iter().copied().find(|item| is_linked(*item));
                inner.push(next.unwrap_or(free[0]));
            }
            let is_inner = |expression: &Expression| {
                let columns = expression.columns();
                columns.iter().all(|at| inner.contains(&owners[*at])) && !columns.is_empty()
            };
            let (inside, outside): (Vec<_>, Vec<_>) = conditions.into_iter().partition(is_inner);
            let kept: BTreeSet<usize> = outside
                .iter()
                .chain(&outputs)
                .flat_map(Expression::columns)
                .filter(|at| inner.contains(&owners[*at]))
                .collect();
            let mut order = inner.clone();
            order.extend((0..items.len()).filter(|item| !inner.contains(item)));
            let starts = starts(&items);
            let inner_items: Vec<NodeRef> = inner.iter().map(|item| items[*item].clone()).collect();
            // where columns of inner items stand inside, and where all columns stand afterwards
            let mut inside_at = BTreeMap::new();
            for item in &inner {
                for column in 0..items[*item].columns.len() {
                    inside_at.insert(starts[*item] + column, inside_at.len());
                }
            }
            let mut after: BTreeMap<usize, usize> = kept.iter().copied().zip(0..).collect();
            let mut next = kept.len().max(1);
            for item in &order[inner.len()..] {
                for column in 0..items[*item].columns.len() {
                    after.insert(starts[*item] + column, next);
                    next += 1;
                }
            }
            let inside = inside
                .iter()
                .map(|condition| condition.moved(&|at| inside_at[&at]))
                .collect();
            let all: Vec<&Column> = items.iter().flat_map(|item| &item.columns).collect();
            let inner_outputs: Vec<Expression> = kept
                .iter()
                .map(|at| all[*at].facts.as_column(inside_at[at]))
                .collect();
            let columns = kept.iter().map(|at| all[*at].clone()).collect();
            let block = self.block(inner_items, inside, inner_outputs, columns);
            conditions = outside
                .iter()
                .map(|condition| condition.moved(&|at| after[&at]))
                .collect();
            outputs = outputs
                .iter()
                .map(|output| output.moved(&|at| after[&at]))
                .collect();
            let rest = order[inner.len()..].iter().map(|item| items[*item].clone());
            items = [block].into_iter().chain(rest).collect();
        }
        (items, conditions, outputs)
    }
}

fn parts(operator: &Operator) -> Parts {
    match operator {
        Operator::Filter { input, condition } => {
            let mut parts = parts(input);
            let condition = substituted(condition, &parts.outputs);
            parts.conditions.extend(condition.conjuncts());
            parts
        }
        Operator::Project { input, outputs } => {
            let parts = parts(input);
            Parts {
                outputs: outputs
                    .iter()
                    .map(|output| substituted(output, &parts.outputs))
                    .collect(),
                ..parts
            }
        }
        Operator::Join(inputs) => {
            let mut all = Parts {
                items: Vec::new(),
                conditions: Vec::new(),
                outputs: Vec::new(),
            };
            for input in inputs {
                let width: usize = all.items.iter().map(Operator::width).sum();
                let more = parts(input);
                let moved = |expression: &Expression| expression.moved(&|at| at + width);
                all.conditions.extend(more.conditions.iter().map(moved));
                all.outputs.extend(more.outputs.iter().map(moved));
                all.items.extend(more.items);
            }
            all
        }
        other => Parts {
            items: vec![other.clone()],
            conditions: Vec::new(),
            outputs: other.columns(),
        },
    }
}

fn plain_columns(outputs: &[Expression]) -> Option<Vec<usize>> {
    outputs
        .iter()
        .map(|output| match output.kind {
            Kind::Column(at) => Some(at),
            _ => None,
        })
        .collect()
}

/// The item that each column belongs to.
pub(super) fn owners(items: &[NodeRef]) -> Vec<usize> {
    let numbered = items.iter().enumerate();
    numbered
        .flat_map(|(number, item)| vec![number; item.columns.len()])
        .collect()
}

/// The position of each item's first column.
pub(super) fn starts(items: &[NodeRef]) -> Vec<usize> {
    let mut next = 0;
    items
        .iter()
        .map(|item| {
            let start = next;
            next += item.columns.len();
            start
        })
        .collect()
}

/// Columns for outputs: by the name of the column that they are, or numbered.
pub(super) fn described(items: &[NodeRef], outputs: &[Expression]) -> Vec<Column> {
    let all: Vec<&Column> = items.iter().flat_map(|item| &item.columns).collect();
    let named = |(number, output): (usize, &Expression)| Column {
        name: match output.kind {
            Kind::Column(at) => all[at].name.clone(),
            _ => format!("value_{}", number + 1),
        },
        facts: output.clone(),
    };
    outputs.iter().enumerate().map(named).collect()
}
