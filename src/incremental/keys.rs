//! Keys of a query's rows that follow from the base tables' unique keys.

use super::blocks::Block;
use super::identity::is_identical_if_equal;
use crate::definition::{Expression, Kind, Relation};

/// Up to so many tables the combinations that may determine all others are tried.
const MOST_TABLES: usize = 8;

/// Outputs of a block whose values together occur at most once, and the scans they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowKey {
    /// Positions of the outputs, none of which is ever NULL.
    pub(super) outputs: Vec<usize>,
    /// The scans whose unique keys these are: all others are determined by them.
    pub(super) roots: Vec<Root>,
}

/// A scan by whose key other scans are determined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) scan: usize,
    /// The columns of its key.
    pub(super) columns: Vec<usize>,
    /// The outputs that show them.
    pub(super) outputs: Vec<usize>,
}

impl Block {
    /// Where a column of a scan stands among the columns of all.
    pub(super) fn position(&self, scan: usize, column: usize) -> usize {
        let before = self.scans[..scan].iter().map(|scan| scan.columns.len());
        before.sum::<usize>() + column
    }
}

/// The key of a block's rows, if it can be proved.
///
/// A scan is determined by others if equalities tie all columns of one of its unique keys to theirs (or to constants): for
/// one row of those there is at most one of it. The keys of scans that determine all others are a key of the join.
pub(super) fn row_key(block: &Block) -> Option<RowKey> {
    let count = block.scans.len();
    if count > MOST_TABLES {
        return None;
    }
    let ties = Ties::of(block);
    let mut sets: Vec<u32> = (1..1 << count).collect();
    sets.sort_by_key(|set| (set.count_ones(), *set));
    sets.into_iter().find_map(|set| {
        let roots: Vec<usize> = (0..count).filter(|scan| set >> scan & 1 == 1).collect();
        if !determine_all(block, &ties, &roots) {
            return None;
        }
        let roots: Vec<Root> = roots
            .into_iter()
            .map(|root| exposed_key(block, &ties, root))
            .collect::<Option<_>>()?;
        let mut outputs: Vec<usize> = roots.iter().flat_map(|root| root.outputs.clone()).collect();
        outputs.sort_unstable();
        outputs.dedup();
        Some(RowKey { outputs, roots })
    })
}

/// Whether for each row of this scan of a block there is at most one of every other.
pub(super) fn finds_one_of_others(block: &Block, scan: usize) -> bool {
    determines_all(block, &[scan])
}

/// Whether for each combination of rows of these scans of a block there is at most one of every other.
pub(super) fn determines_all(block: &Block, roots: &[usize]) -> bool {
    determine_all(block, &Ties::of(block), roots)
}

/// Whether conditions on two scans alone tie all columns of a unique key of one to columns of the other.
pub(super) fn are_linked_by_key(block: &Block, one: usize, other: usize) -> bool {
    let is_of_these = |position: usize| [one, other].contains(&block.origin(position).0);
    let conditions = block.conditions.iter().filter(|condition| {
        let columns = condition.columns();
        columns.into_iter().all(is_of_these)
    });
    let pair = Block {
        conditions: conditions.cloned().collect(),
        ..block.clone()
    };
    let ties = Ties::of(&pair);
    [(one, other), (other, one)]
        .into_iter()
        .any(|(found, by)| is_found_by(&pair, &ties, found, &known_of(&pair, &ties, by)))
}

/// The columns, by position in the relation, of a unique key none of which is ever NULL, of these columns only.
pub(super) fn key_of(relation: &Relation, among: &dyn Fn(usize) -> bool) -> Option<Vec<usize>> {
    keys_of(relation).find(|key| key.iter().all(|column| among(*column)))
}

fn keys_of(relation: &Relation) -> impl Iterator<Item = Vec<usize>> {
    relation.unique_keys.iter().filter_map(|key| {
        let positions: Option<Vec<usize>> = key
            .columns
            .iter()
            .map(|attnum| {
                relation
                    .columns
                    .iter()
                    .position(|column| column.attnum == *attnum && column.is_not_null)
            })
            .collect();
        positions.filter(|positions| !positions.is_empty())
    })
}

fn determine_all(block: &Block, ties: &Ties, roots: &[usize]) -> bool {
    let mut determined = roots.to_vec();
    let mut known: Vec<usize> = ties.constants.clone();
    for root in roots {
        known.extend(known_of(block, ties, *root));
    }
    loop {
        let next = (0..block.scans.len())
            .find(|scan| !determined.contains(scan) && is_found_by(block, ties, *scan, &known));
        match next {
            Some(scan) => {
                known.extend(known_of(block, ties, scan));
                determined.push(scan);
            }
            None => return determined.len() == block.scans.len(),
        }
    }
}

/// The classes of a scan's columns.
fn known_of(block: &Block, ties: &Ties, scan: usize) -> Vec<usize> {
    let columns = 0..block.scans[scan].columns.len();
    columns
        .map(|column| ties.class(block.position(scan, column)))
        .collect()
}

/// Whether values of these classes are those of all columns of a unique key of a scan.
fn is_found_by(block: &Block, ties: &Ties, scan: usize, known: &[usize]) -> bool {
    keys_of(&block.scans[scan]).any(|key| {
        key.iter()
            .all(|column| known.contains(&ties.class(block.position(scan, *column))))
    })
}

/// A key of a scan that outputs show.
fn exposed_key(block: &Block, ties: &Ties, scan: usize) -> Option<Root> {
    keys_of(&block.scans[scan]).find_map(|columns| {
        let outputs: Vec<usize> = columns
            .iter()
            .map(|column| {
                let class = ties.class(block.position(scan, *column));
                block.outputs.iter().position(|output| {
                    matches!(output.kind, Kind::Column(position) if ties.class(position) == class)
                        && is_identical_if_equal(output)
                })
            })
            .collect::<Option<_>>()?;
        Some(Root {
            scan,
            columns,
            outputs,
        })
    })
}

/// Which columns of a block are equal in every row.
#[derive(Debug)]
struct Ties {
    /// By column: the first of those equal to it.
    classes: Vec<usize>,
    /// The classes that are equal to a constant.
    constants: Vec<usize>,
}

impl Ties {
    fn of(block: &Block) -> Self {
        let mut ties = Self {
            classes: (0..block.scans.iter().map(|scan| scan.columns.len()).sum()).collect(),
            constants: Vec::new(),
        };
        let mut constants = Vec::new();
        for condition in &block.conditions {
            ties.note(condition, &mut constants);
        }
        ties.constants = constants
            .into_iter()
            .map(|column| ties.class(column))
            .collect();
        ties
    }

    fn class(&self, column: usize) -> usize {
        self.classes[column]
    }

    fn note(&mut self, condition: &Expression, constants: &mut Vec<usize>) {
        match &condition.kind {
            Kind::Logical {
                word: "AND",
                operands,
            } => {
                for operand in operands {
                    self.note(operand, constants);
                }
            }
            Kind::Operator {
                left: Some(left),
                operator,
                right,
            } if operator == "=" && is_one_equality(left, right) => {
                match (&left.kind, &right.kind) {
                    (Kind::Column(left), Kind::Column(right)) => self.tie(*left, *right),
                    (Kind::Column(column), Kind::Literal(_))
                    | (Kind::Literal(_), Kind::Column(column)) => constants.push(*column),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn tie(&mut self, left: usize, right: usize) {
        let (kept, gone) = (self.classes[left], self.classes[right]);
        for class in &mut self.classes {
            if *class == gone {
                *class = kept;
            }
        }
    }
}

/// Whether `=` between these is the equality by which unique keys are unique.
fn is_one_equality(left: &Expression, right: &Expression) -> bool {
    let integers = ["int2", "int4", "int8"];
    let is_integer =
        |expression: &Expression| integers.iter().any(|name| expression.data_type.is(name));
    (left.data_type == right.data_type && left.collation == right.collation)
        || (is_integer(left) && is_integer(right))
}
