//! The normal form below any grouping: a sum of joins of base tables, each filtered and projected.

use crate::definition::{Expression, Kind, Operator, Refusal, Relation};

/// `π outputs (σ conditions (scan × scan × …))`. Columns count through all scans.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) scans: Vec<Relation>,
    pub(super) conditions: Vec<Expression>,
    pub(super) outputs: Vec<Expression>,
}

impl Block {
    fn width(&self) -> usize {
        self.scans.iter().map(|scan| scan.columns.len()).sum()
    }

    /// The scan of a column and the column's position in it.
    pub(super) fn origin(&self, mut position: usize) -> (usize, usize) {
        for (number, scan) in self.scans.iter().enumerate() {
            if position < scan.columns.len() {
                return (number, position);
            }
            position -= scan.columns.len();
        }
        unreachable!("a column of a block is one of its scans'")
    }

    /// Other outputs, computed from the ones it has.
    pub(super) fn computing(&self, outputs: &[Expression]) -> Self {
        Self {
            outputs: outputs
                .iter()
                .map(|output| substituted(output, &self.outputs))
                .collect(),
            ..self.clone()
        }
    }
}

/// An expression over columns that are themselves computed.
pub(super) fn substituted(expression: &Expression, columns: &[Expression]) -> Expression {
    expression.rewritten(&mut |part| match part.kind {
        Kind::Column(position) => columns.get(position).cloned(),
        _ => None,
    })
}

/// The operators without grouping as a sum of blocks.
pub(super) fn flatten(operator: &Operator) -> Result<Vec<Block>, Refusal> {
    Ok(match operator {
        Operator::Scan(relation) => vec![scan(relation)],
        // σ and π are linear: σ(A + B) = σA + σB
        Operator::Filter { input, condition } => {
            let mut blocks = flatten(input)?;
            for block in &mut blocks {
                let conjuncts = condition.clone().conjuncts();
                let conditions = conjuncts
                    .iter()
                    .map(|conjunct| substituted(conjunct, &block.outputs));
                block.conditions.extend(conditions);
            }
            blocks
        }
        Operator::Project { input, outputs } => flatten(input)?
            .iter()
            .map(|block| block.computing(outputs))
            .collect(),
        Operator::UnionAll(inputs) => inputs
            .iter()
            .map(flatten)
            .collect::<Result<Vec<_>, _>>()?
            .concat(),
        // (A + B) × C = A × C + B × C
        Operator::Join(inputs) => {
            let mut inputs = inputs.iter().map(flatten);
            let first = inputs.next().unwrap_or_else(|| Ok(Vec::new()))?;
            inputs.try_fold(first, |left, right| {
                let right = right?;
                Ok::<_, Refusal>(
                    left.iter()
                        .flat_map(|a| right.iter().map(|b| product(a, b)))
                        .collect(),
                )
            })?
        }
        Operator::Aggregate { .. }
        | Operator::Outer { .. }
        | Operator::Match { .. }
        | Operator::Unfold { .. }
        | Operator::Repeat { .. }
        | Operator::Window { .. }
        | Operator::First { .. }
        | Operator::Values { .. } => {
            return Err(not_simple());
        }
    })
}

/// The refusal of what has no such form; the general strategy takes its place.
pub(super) fn not_simple() -> Refusal {
    Refusal::unknown("a query that is no grouping over a sum of joins")
}

fn scan(relation: &Relation) -> Block {
    Block {
        scans: vec![relation.clone()],
        conditions: Vec::new(),
        outputs: relation.column_expressions(),
    }
}

fn product(left: &Block, right: &Block) -> Block {
    let width = left.width();
    let shifted = |expressions: &[Expression]| -> Vec<Expression> {
        expressions
            .iter()
            .map(|expression| {
                expression.rewritten(&mut |part| match part.kind {
                    Kind::Column(position) => Some(part.as_column(position + width)),
                    _ => None,
                })
            })
            .collect()
    };
    Block {
        scans: [left.scans.clone(), right.scans.clone()].concat(),
        conditions: [left.conditions.clone(), shifted(&right.conditions)].concat(),
        outputs: [left.outputs.clone(), shifted(&right.outputs)].concat(),
    }
}
