//! The operators as the general strategy takes them: joins gathered, columns that nobody reads left out, names given.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::bounds::Effort;
use super::super::names::free_name;
use super::first::Order;
use crate::definition::{
    AggregateCall, Expression, Limit, MatchKind, Relation, SetFunction, WindowCall,
};

/// An operator that others may share.
pub(super) type NodeRef = Rc<Node>;

/// An operator with its columns.
#[derive(Debug)]
pub(super) struct Node {
    /// Equal operators are one and have one number.
    pub(super) id: usize,
    pub(super) columns: Vec<Column>,
    pub(super) kind: NodeKind,
    /// The base tables that it reads, at any depth.
    tables: BTreeSet<u32>,
    is_transparent: bool,
}

/// By their numbers: of operators that share inputs there are more ways down than there are operators.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// A column: its name, unique in its node and not quoted, and what is known of its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) facts: Expression,
}

/// What an operator does. Expressions count the columns of the inputs through.
#[derive(Debug, PartialEq)]
pub(super) enum NodeKind {
    /// Some columns of a base table.
    Scan {
        relation: Relation,
        columns: Vec<usize>,
    },
    /// Rows of constants.
    Values(Vec<Vec<Expression>>),
    /// `π outputs (σ conditions (item × item × …))`.
    Block {
        items: Vec<NodeRef>,
        conditions: Vec<Expression>,
        outputs: Vec<Expression>,
    },
    /// All rows of all.
    Union(Vec<NodeRef>),
    /// The input's columns, then values of functions over the rows that are equal in these columns.
    Window {
        input: NodeRef,
        keys: Vec<usize>,
        calls: Vec<WindowCall>,
    },
    /// The first rows in an order, of those that are equal in these columns or, without any, of all.
    First {
        input: NodeRef,
        keys: Vec<usize>,
        order: Order,
        limit: Limit,
    },
    /// Each row as often as a column says.
    Repeat { input: NodeRef, times: usize },
    /// LEFT or FULL JOIN.
    Outer { sides: Sides, is_full: bool },
    /// Rows of the left side by whether they have a partner.
    Match { sides: Sides, kind: MatchKind },
    /// The columns of the input, and what functions of them give.
    Unfold {
        input: NodeRef,
        functions: Vec<SetFunction>,
        has_ordinality: bool,
        is_outer: bool,
        conditions: Vec<Expression>,
    },
    /// Groups by the first columns of the input.
    Aggregate {
        input: NodeRef,
        keys: usize,
        calls: Vec<Call>,
    },
}

/// An aggregate over the columns of a grouping's input.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) aggregate: AggregateCall,
}

/// Two inputs and the conditions under which their rows are partners.
#[derive(Debug, PartialEq)]
pub(super) struct Sides {
    pub(super) left: NodeRef,
    pub(super) right: NodeRef,
    /// All conditions.
    pub(super) conditions: Vec<Expression>,
    /// Those of them that are `left column = right column`: the columns' positions on their sides.
    pub(super) equal: Vec<(usize, usize)>,
    /// Those that are about the left side only.
    pub(super) left_only: Vec<Expression>,
    /// Whether there are others.
    pub(super) has_more: bool,
    /// Whether the right side is a subquery that depends on the left side's row.
    pub(super) is_dependent: bool,
}

impl NodeKind {
    fn inputs(&self) -> Vec<&NodeRef> {
        match self {
            Self::Scan { .. } | Self::Values(_) => Vec::new(),
            Self::Block { items: inputs, .. } | Self::Union(inputs) => inputs.iter().collect(),
            Self::Outer { sides, .. } | Self::Match { sides, .. } => {
                vec![&sides.left, &sides.right]
            }
            Self::Aggregate { input, .. }
            | Self::Unfold { input, .. }
            | Self::Repeat { input, .. }
            | Self::Window { input, .. }
            | Self::First { input, .. } => vec![input],
        }
    }

    fn tables(&self) -> BTreeSet<u32> {
        if let Self::Scan { relation, .. } = self {
            return BTreeSet::from([relation.oid]);
        }
        let inputs = self.inputs().into_iter();
        inputs.flat_map(|input| input.tables.clone()).collect()
    }

    fn is_transparent(&self) -> bool {
        match self {
            Self::Scan { .. } | Self::Values(_) => true,
            Self::Block { .. } | Self::Outer { .. } | Self::Match { .. } | Self::Unfold { .. } => {
                self.inputs().iter().all(|input| input.is_transparent)
            }
            Self::Union(_)
            | Self::Aggregate { .. }
            | Self::Repeat { .. }
            | Self::Window { .. }
            | Self::First { .. } => false,
        }
    }
}

impl Node {
    pub(super) fn inputs(&self) -> Vec<&NodeRef> {
        self.kind.inputs()
    }

    /// The base tables that it reads, at any depth.
    pub(super) fn tables(&self) -> &BTreeSet<u32> {
        &self.tables
    }

    /// Whether it reads one of certain base tables, at any depth.
    pub(super) fn reads(&self, is_one: &dyn Fn(u32) -> bool) -> bool {
        self.tables.iter().any(|table| is_one(*table))
    }

    /// Whether the planner itself brings a restriction of its rows down to base tables.
    pub(super) fn is_transparent(&self) -> bool {
        self.is_transparent
    }

    /// The name that its rows go by in a statement.
    pub(super) fn word(&self) -> String {
        match &self.kind {
            NodeKind::Scan { relation, .. } => relation.name.chars().take(30).collect(),
            NodeKind::Values(_) => "constants".to_owned(),
            NodeKind::Block { .. } => "joined".to_owned(),
            NodeKind::Union(_) => "united".to_owned(),
            NodeKind::Repeat { .. } => "repeated".to_owned(),
            NodeKind::Window { .. } => "windowed".to_owned(),
            NodeKind::First { .. } => "first".to_owned(),
            NodeKind::Outer { .. } => "outer_joined".to_owned(),
            NodeKind::Match { .. } => "matched".to_owned(),
            NodeKind::Unfold { .. } => "unfolded".to_owned(),
            NodeKind::Aggregate { .. } => "group".to_owned(),
        }
    }
}

/// Every operator that was made, each once.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    all: Vec<NodeRef>,
    pub(super) spent: Effort,
}

impl Nodes {
    /// The node of this kind with these columns; names are made unique.
    pub(super) fn add(&mut self, kind: NodeKind, mut columns: Vec<Column>) -> NodeRef {
        let mut taken = BTreeSet::new();
        for (at, column) in columns.iter_mut().enumerate() {
            column.name = unique(&column.name, &taken);
            taken.insert(column.name.clone());
            column.facts = column.facts.as_column(at);
        }
        if let Some(known) = self
            .all
            .iter()
            .find(|node| node.kind == kind && node.columns == columns)
        {
            return Rc::clone(known);
        }
        let node = Rc::new(Node {
            id: self.all.len(),
            columns,
            tables: kind.tables(),
            is_transparent: kind.is_transparent(),
            kind,
        });
        self.all.push(Rc::clone(&node));
        node
    }

    /// All scans: what is read of which base table.
    pub(super) fn scans(&self) -> impl Iterator<Item = (&Relation, &[usize])> {
        self.all.iter().filter_map(|node| match &node.kind {
            NodeKind::Scan { relation, columns } => Some((relation, &columns[..])),
            _ => None,
        })
    }

    /// The names of all columns.
    pub(super) fn column_names(&self) -> impl Iterator<Item = &str> {
        let columns = self.all.iter().flat_map(|node| &node.columns);
        columns.map(|column| column.name.as_str())
    }
}

/// A name that is not taken.
pub(super) fn unique(wanted: &str, taken: &BTreeSet<String>) -> String {
    free_name(wanted, "", |name| !taken.contains(name))
}
