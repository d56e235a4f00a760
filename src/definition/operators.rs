//! The relational operators of which a query is made. A bag (multiset) goes in and out of each.

use super::{AggregateCall, Expression, Kind, Limit, Relation, WindowCall};

/// One operator over its inputs. Expressions refer to the columns of the input by position.
#[derive(Debug, Clone, PartialEq)]
pub enum Operator {
    /// The rows of a base table, all its columns.
    Scan(Relation),
    /// Rows of constants, all of the same types.
    Values {
        /// At least one.
        rows: Vec<Vec<Expression>>,
    },
    /// All combinations of the inputs' rows; columns of the first input first. An inner join is a filter over it.
    Join(Vec<Operator>),
    /// The rows for which the condition is true.
    Filter {
        /// What it filters.
        input: Box<Operator>,
        /// A boolean over the input's columns.
        condition: Expression,
    },
    /// Each row computed from one row of the input.
    Project {
        /// What it computes from.
        input: Box<Operator>,
        /// The columns.
        outputs: Vec<Expression>,
    },
    /// The rows of all inputs, which agree in their columns.
    UnionAll(Vec<Operator>),
    /// One row per distinct key: the key, then the aggregates. Without keys exactly one row.
    Aggregate {
        /// What is grouped.
        input: Box<Operator>,
        /// The key, over the input's columns. Equal keys are the same bytes.
        keys: Vec<Expression>,
        /// What is aggregated in each group.
        aggregates: Vec<AggregateCall>,
    },
    /// The rows of the input, with the values of functions over all rows of the same key behind them.
    Window {
        /// Whose rows these are.
        input: Box<Operator>,
        /// The key, over the input's columns. Equal keys are the same bytes.
        keys: Vec<Expression>,
        /// The functions.
        calls: Vec<WindowCall>,
    },
    /// Of the rows of each key some of the first in an order, which leaves no choice but among equal rows. Without keys of
    /// all rows.
    First {
        /// Whose rows these are.
        input: Box<Operator>,
        /// The key, over the input's columns. Equal keys are the same bytes.
        keys: Vec<Expression>,
        /// The order, with the direction as written.
        order: Vec<(Expression, String)>,
        /// Which of them.
        limit: Limit,
    },
    /// Each row as often as a column of it says, of a whole number that is never NULL and at least 1.
    Repeat {
        /// Whose rows these are.
        input: Box<Operator>,
        /// The position of that column.
        times: usize,
    },
    /// LEFT JOIN, or FULL JOIN: pairs that meet all conditions, and rows without a partner with NULLs in its place.
    Outer {
        /// The side whose rows all stay.
        left: Box<Operator>,
        /// The other side; its columns come second.
        right: Box<Operator>,
        /// Booleans over both sides' columns.
        conditions: Vec<Expression>,
        /// Whether the right side's rows all stay, too.
        is_full: bool,
        /// Whether the right side is a subquery that depends on the left side's row.
        is_dependent: bool,
    },
    /// Each row of the input with every row that functions of it give, side by side; the columns of the input first.
    Unfold {
        /// Of what the functions are.
        input: Box<Operator>,
        /// At least one; where they give different numbers of rows, those of the others are filled up with NULLs.
        functions: Vec<SetFunction>,
        /// Whether a last column counts the rows of each row.
        has_ordinality: bool,
        /// Whether a row stays, with NULLs, for which there is none (that meets the conditions).
        is_outer: bool,
        /// Booleans over all columns.
        conditions: Vec<Expression>,
    },
    /// The rows of the left side, depending on whether a row of the right side meets all conditions with them.
    Match {
        /// Whose rows these are.
        left: Box<Operator>,
        /// Where partners are sought.
        right: Box<Operator>,
        /// Booleans over both sides' columns.
        conditions: Vec<Expression>,
        /// What becomes of the answer.
        kind: MatchKind,
    },
}

/// A function in FROM.
#[derive(Debug, Clone, PartialEq)]
pub struct SetFunction {
    /// Its call, over the columns of the input.
    pub call: Expression,
    /// What is known of the columns that it gives.
    pub columns: Vec<Expression>,
    /// Names and types of the columns, as SQL, where the call has to say so.
    pub definition: Option<String>,
}

impl SetFunction {
    /// The same over other values.
    pub(crate) fn with(&self, call: Expression) -> Self {
        Self {
            call,
            ..self.clone()
        }
    }
}

/// How many columns functions give side by side.
fn unfolded_width(functions: &[SetFunction], has_ordinality: bool) -> usize {
    let columns = functions.iter().map(|function| function.columns.len());
    columns.sum::<usize>() + usize::from(has_ordinality)
}

/// What a search for partners is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchKind {
    /// Rows with a partner stay.
    Semi,
    /// Rows without a partner stay.
    Anti,
    /// All rows stay; a last column says whether there is a partner.
    Mark,
}

impl Operator {
    /// How many columns it gives.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Scan(relation) => relation.columns.len(),
            Self::Values { rows } => rows.first().map_or(0, Vec::len),
            Self::Join(inputs) => inputs.iter().map(Self::width).sum(),
            Self::Filter { input, .. } | Self::Repeat { input, .. } | Self::First { input, .. } => {
                input.width()
            }
            Self::Window { input, calls, .. } => input.width() + calls.len(),
            Self::Project { outputs, .. } => outputs.len(),
            Self::UnionAll(inputs) => inputs.first().map_or(0, Self::width),
            Self::Aggregate {
                keys, aggregates, ..
            } => keys.len() + aggregates.len(),
            Self::Outer { left, right, .. } => left.width() + right.width(),
            Self::Match { left, kind, .. } => left.width() + usize::from(*kind == MatchKind::Mark),
            Self::Unfold {
                input,
                functions,
                has_ordinality,
                ..
            } => input.width() + unfolded_width(functions, *has_ordinality),
        }
    }

    /// Its columns, with what is known of their values.
    #[must_use]
    pub fn columns(&self) -> Vec<Expression> {
        let placed = |columns: Vec<Expression>| {
            let numbered = columns.into_iter().enumerate();
            numbered.map(|(at, column)| column.as_column(at)).collect()
        };
        match self {
            Self::Scan(relation) => relation.column_expressions(),
            Self::Values { rows } => {
                let known = rows.iter().cloned().reduce(|known, other| {
                    let pairs = known.iter().zip(&other);
                    pairs.map(|(one, other)| one.or(other)).collect()
                });
                placed(known.unwrap_or_default())
            }
            Self::Join(inputs) => placed(inputs.iter().flat_map(Self::columns).collect()),
            Self::Filter { input, .. } | Self::Repeat { input, .. } | Self::First { input, .. } => {
                input.columns()
            }
            Self::Window { input, calls, .. } => {
                let values = calls.iter().map(|call| call.value.clone());
                placed(input.columns().into_iter().chain(values).collect())
            }
            Self::Project { outputs, .. } => placed(outputs.clone()),
            Self::UnionAll(inputs) => {
                let mut all = inputs.iter().map(Self::columns);
                let first = all.next().unwrap_or_default();
                all.fold(first, |known, other| {
                    known
                        .iter()
                        .zip(&other)
                        .map(|(one, other)| one.or(other))
                        .collect()
                })
            }
            Self::Aggregate {
                keys, aggregates, ..
            } => {
                let results = aggregates.iter().map(AggregateCall::value);
                placed(keys.iter().cloned().chain(results).collect())
            }
            Self::Outer {
                left,
                right,
                is_full,
                ..
            } => {
                let mut columns = left.columns();
                let kept = columns.len();
                columns.extend(right.columns());
                for (at, column) in columns.iter_mut().enumerate() {
                    column.is_nullable |= at >= kept || *is_full;
                }
                placed(columns)
            }
            Self::Unfold {
                input,
                functions,
                has_ordinality,
                is_outer,
                ..
            } => {
                let mut columns = input.columns();
                let known = columns.len();
                columns.extend(functions.iter().flat_map(|of| of.columns.iter().cloned()));
                if *has_ordinality {
                    let mut number =
                        Expression::new(Kind::Column(0), super::TypeName::built_in("int8"));
                    number.is_nullable = false;
                    columns.push(number);
                }
                for column in &mut columns[known..] {
                    column.is_nullable |= *is_outer;
                }
                placed(columns)
            }
            Self::Match { left, kind, .. } => {
                let mut columns = left.columns();
                if *kind == MatchKind::Mark {
                    let mut mark = Expression::boolean(Kind::Column(columns.len()));
                    mark.is_nullable = false;
                    columns.push(mark);
                }
                columns
            }
        }
    }

    /// What a projection computes from, and what it computes; of anything else its columns.
    pub(super) fn with_outputs(self) -> (Self, Vec<Expression>) {
        match self {
            Self::Project { input, outputs } => (*input, outputs),
            other => {
                let outputs = other.columns();
                (other, outputs)
            }
        }
    }

    /// Its rows for which all conditions are true.
    pub(super) fn filtered(self, conditions: Vec<Expression>) -> Self {
        let filter = |input, condition| Self::Filter {
            input: Box::new(input),
            condition,
        };
        conditions.into_iter().fold(self, filter)
    }

    /// What it computes from.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Self> {
        match self {
            Self::Scan(_) | Self::Values { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Unfold { input, .. }
            | Self::Repeat { input, .. }
            | Self::Window { input, .. }
            | Self::First { input, .. }
            | Self::Aggregate { input, .. } => vec![input],
            Self::Join(inputs) | Self::UnionAll(inputs) => inputs.iter().collect(),
            Self::Outer { left, right, .. } | Self::Match { left, right, .. } => vec![left, right],
        }
    }

    /// How many operators it consists of.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.inputs().into_iter().map(Self::count).sum::<usize>()
    }

    /// The base tables that it reads, as often as it does.
    #[must_use]
    pub fn relations(&self) -> Vec<&Relation> {
        match self {
            Self::Scan(relation) => vec![relation],
            _ => self
                .inputs()
                .into_iter()
                .flat_map(Self::relations)
                .collect(),
        }
    }

    /// The expressions of this operator itself.
    pub(super) fn expressions(&self) -> Vec<&Expression> {
        match self {
            Self::Scan(_) | Self::Join(_) | Self::UnionAll(_) | Self::Repeat { .. } => Vec::new(),
            Self::Values { rows } => rows.iter().flatten().collect(),
            Self::Filter { condition, .. } => vec![condition],
            Self::Project { outputs, .. } => outputs.iter().collect(),
            Self::Aggregate {
                keys, aggregates, ..
            } => {
                let of_call = |call| AggregateCall::expressions(call);
                keys.iter()
                    .chain(aggregates.iter().flat_map(of_call))
                    .collect()
            }
            Self::Window { keys, calls, .. } => {
                let of_call = |call| WindowCall::expressions(call);
                keys.iter().chain(calls.iter().flat_map(of_call)).collect()
            }
            Self::First { keys, order, .. } => {
                let order = order.iter().map(|(value, _)| value);
                keys.iter().chain(order).collect()
            }
            Self::Outer { conditions, .. } | Self::Match { conditions, .. } => {
                conditions.iter().collect()
            }
            Self::Unfold {
                functions,
                conditions,
                ..
            } => {
                let calls = functions.iter().map(|function| &function.call);
                calls.chain(conditions).collect()
            }
        }
    }

    /// Whether anything in it reads something of the row outside of a subquery.
    #[must_use]
    pub fn names_outside(&self) -> bool {
        self.expressions()
            .into_iter()
            .any(Expression::names_outside)
            || self.inputs().into_iter().any(Self::names_outside)
    }

    /// What it reads of that row, over its columns.
    #[must_use]
    pub fn values_outside(&self) -> Vec<Expression> {
        let own = self.expressions().into_iter();
        let own = own.flat_map(Expression::values_outside);
        let inputs = self.inputs().into_iter();
        own.chain(inputs.flat_map(Self::values_outside)).collect()
    }

    /// Whether there is an aggregate anywhere in it.
    #[must_use]
    pub fn is_aggregated(&self) -> bool {
        matches!(self, Self::Aggregate { .. }) || self.inputs().into_iter().any(Self::is_aggregated)
    }
}
