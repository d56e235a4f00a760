//! Scalar expressions: only what is deterministic gets this far.

use std::collections::BTreeSet;

use super::TypeName;

/// An expression and what is known of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// What it is.
    pub kind: Kind,
    /// The type of its values.
    pub data_type: TypeName,
    /// The collation its values are compared by (quoted, with its schema), if there is one and it is known.
    pub collation: Option<String>,
    /// The number of digits after the point that every value has, where that is certain; of a `char` the length to which every
    /// value is padded.
    pub scale: Option<i32>,
    /// Whether it may be NULL.
    pub is_nullable: bool,
}

/// The forms of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A column of the input, by position.
    Column(usize),
    /// An aggregate, by position; only while a grouped SELECT is being read.
    Aggregate(usize),
    /// A value of the row for which a subquery is evaluated, over that row's columns; only while the subquery is being read.
    Outer(Box<Expression>),
    /// The value of a window function, by position; only while the SELECT that it is in is being read.
    Window(usize),
    /// What GROUPING says, by position; only while a grouped SELECT is being read.
    Grouping(usize),
    /// What a subquery says, by position; only while the query around it is being read.
    Subquery(usize),
    /// A constant as SQL text.
    Literal(String),
    /// A binary or (without left side) prefix operator, by its text.
    Operator {
        /// The left side.
        left: Option<Box<Expression>>,
        /// The operator as written.
        operator: String,
        /// The right side.
        right: Box<Expression>,
    },
    /// A function, or anything written like one, by its text.
    Call {
        /// Its name as written.
        name: String,
        /// Its arguments.
        arguments: Vec<Expression>,
    },
    /// A cast to a type with its modifier, as written.
    Cast {
        /// What is cast.
        operand: Box<Expression>,
        /// The type's text.
        target: String,
    },
    /// AND or OR.
    Logical {
        /// The word.
        word: &'static str,
        /// What it connects, at least two.
        operands: Vec<Expression>,
    },
    /// NOT.
    Not(Box<Expression>),
    /// A test such as IS NULL.
    Test {
        /// What is tested.
        operand: Box<Expression>,
        /// The test as written.
        test: &'static str,
    },
    /// CASE.
    Case {
        /// What the branches compare with, if anything.
        subject: Option<Box<Expression>>,
        /// Conditions and results.
        branches: Vec<(Expression, Expression)>,
        /// ELSE.
        otherwise: Option<Box<Expression>>,
    },
    /// `left operator ANY (array)` or ALL.
    Quantified {
        /// The left side.
        left: Box<Expression>,
        /// The operator as written.
        operator: String,
        /// ANY or ALL.
        word: &'static str,
        /// The right side, an array.
        array: Box<Expression>,
    },
    /// ARRAY[…].
    Array(Vec<Expression>),
    /// COLLATE.
    Collate(Box<Expression>, String),
    /// Text around parts, of which there is one less: a subscript, a slice.
    Written {
        /// What stands before, between and after the parts.
        texts: Vec<String>,
        /// The parts.
        parts: Vec<Expression>,
    },
}

impl Expression {
    /// An expression of a type, of which nothing else is known.
    #[must_use]
    pub fn new(kind: Kind, data_type: TypeName) -> Self {
        Self {
            kind,
            data_type,
            collation: None,
            scale: None,
            is_nullable: true,
        }
    }

    /// A boolean.
    #[must_use]
    pub fn boolean(kind: Kind) -> Self {
        Self::new(kind, TypeName::built_in("bool"))
    }

    /// What is known of a value that is either this one or the other.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let mut known = self.clone();
        if known.scale != other.scale {
            known.scale = None;
        }
        if known.collation != other.collation {
            known.collation = None;
        }
        known.is_nullable |= other.is_nullable;
        known
    }

    /// The numbers of digits after the point that its values may have, where it is certain which they are.
    #[must_use]
    pub fn scales(&self) -> Option<BTreeSet<i32>> {
        if let Some(scale) = self.scale {
            return Some(BTreeSet::from([scale]));
        }
        let choices: Vec<&Self> = match &self.kind {
            Kind::Case {
                branches,
                otherwise,
                ..
            } => {
                let results = branches.iter().map(|(_, then)| then);
                results.chain(otherwise.iter().map(|e| &**e)).collect()
            }
            Kind::Call { name, arguments }
                if matches!(name.as_str(), "COALESCE" | "GREATEST" | "LEAST") =>
            {
                arguments.iter().collect()
            }
            _ => return None,
        };
        let scales: Option<Vec<_>> = choices.into_iter().map(Self::scales).collect();
        Some(scales?.into_iter().flatten().collect())
    }

    /// The same over columns that stand elsewhere.
    #[must_use]
    pub fn moved(&self, to: &dyn Fn(usize) -> usize) -> Self {
        self.rewritten(&mut |part| match part.kind {
            Kind::Column(position) => Some(part.as_column(to(position))),
            _ => None,
        })
    }

    /// Whether it reads something of the row outside of a subquery.
    #[must_use]
    pub fn names_outside(&self) -> bool {
        self.any(&mut |part| matches!(part.kind, Kind::Outer(_)))
    }

    /// What it reads of that row, over its columns.
    #[must_use]
    pub fn values_outside(&self) -> Vec<Self> {
        let mut values = Vec::new();
        self.any(&mut |part| {
            if let Kind::Outer(value) = &part.kind {
                values.push((**value).clone());
            }
            false
        });
        values
    }

    /// What has to be true for this condition to be true: the parts that AND connects.
    #[must_use]
    pub fn conjuncts(self) -> Vec<Self> {
        match self.kind {
            Kind::Logical {
                word: "AND",
                operands,
            } => operands.into_iter().flat_map(Self::conjuncts).collect(),
            _ => vec![self],
        }
    }

    /// This expression's column, standing at another position.
    #[must_use]
    pub fn as_column(&self, position: usize) -> Self {
        Self {
            kind: Kind::Column(position),
            ..self.clone()
        }
    }

    /// What it directly consists of.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Column(_)
            | Kind::Aggregate(_)
            | Kind::Window(_)
            | Kind::Grouping(_)
            | Kind::Outer(_)
            | Kind::Subquery(_)
            | Kind::Literal(_) => Vec::new(),
            Kind::Operator { left, right, .. } => {
                left.iter().chain([right]).map(|e| &**e).collect()
            }
            Kind::Call { arguments: all, .. }
            | Kind::Logical { operands: all, .. }
            | Kind::Written { parts: all, .. }
            | Kind::Array(all) => all.iter().collect(),
            Kind::Cast { operand, .. }
            | Kind::Not(operand)
            | Kind::Test { operand, .. }
            | Kind::Collate(operand, _) => {
                vec![operand]
            }
            Kind::Case {
                subject,
                branches,
                otherwise,
            } => subject
                .iter()
                .map(|e| &**e)
                .chain(branches.iter().flat_map(|(when, then)| [when, then]))
                .chain(otherwise.iter().map(|e| &**e))
                .collect(),
            Kind::Quantified { left, array, .. } => vec![left, array],
        }
    }

    /// Whether a test holds for this or anything it consists of.
    pub fn any(&self, test: &mut impl FnMut(&Self) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|child| child.any(test))
    }

    /// The positions of the columns it reads, ascending.
    #[must_use]
    pub fn columns(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.any(&mut |part| {
            if let Kind::Column(position) = part.kind {
                found.push(position);
            }
            false
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The same with parts exchanged: `exchange` is asked for every part, outermost first.
    #[must_use]
    pub fn rewritten(&self, exchange: &mut impl FnMut(&Self) -> Option<Self>) -> Self {
        if let Some(other) = exchange(self) {
            return other;
        }
        let mut copy = self.clone();
        let mut may_turn_null = false;
        let mut renew = |part: &mut Self| {
            let renewed = part.rewritten(exchange);
            may_turn_null |= renewed.is_nullable && !part.is_nullable;
            *part = renewed;
        };
        match &mut copy.kind {
            Kind::Column(_)
            | Kind::Aggregate(_)
            | Kind::Window(_)
            | Kind::Grouping(_)
            | Kind::Outer(_)
            | Kind::Subquery(_)
            | Kind::Literal(_) => {}
            Kind::Operator { left, right, .. } => {
                if let Some(left) = left {
                    renew(left);
                }
                renew(right);
            }
            Kind::Call { arguments: all, .. }
            | Kind::Logical { operands: all, .. }
            | Kind::Written { parts: all, .. }
            | Kind::Array(all) => {
                all.iter_mut().for_each(renew);
            }
            Kind::Cast { operand, .. }
            | Kind::Not(operand)
            | Kind::Test { operand, .. }
            | Kind::Collate(operand, _) => {
                renew(operand);
            }
            Kind::Case {
                subject,
                branches,
                otherwise,
            } => {
                if let Some(subject) = subject {
                    renew(subject);
                }
                for (when, then) in branches {
                    renew(when);
                    renew(then);
                }
                if let Some(otherwise) = otherwise {
                    renew(otherwise);
                }
            }
            Kind::Quantified { left, array, .. } => {
                renew(left);
                renew(array);
            }
        }
        copy.is_nullable |= may_turn_null && !copy.is_never_null();
        copy
    }
}
