//! Subqueries over nothing but what functions, VALUES and constants make of the row outside: a function of that row.

use super::read_select::Reader;
use super::{AggregateCall, Expression, Kind, Operator};

/// Rows that are made of the row outside alone.
struct Made {
    /// FROM, if anything stands in it.
    from: Written,
    /// Their columns: names of what is in FROM, and what is computed of it and of the row outside.
    columns: Vec<Expression>,
    conditions: Vec<Expression>,
}

/// SQL in the making.
#[derive(Default)]
struct Written {
    text: String,
    texts: Vec<String>,
    parts: Vec<Expression>,
}

impl Reader<'_> {
    // π f(A) is a projection, whatever f is made of: σ f(A) and π f(A) are linear
    /// Whether a subquery is a function of the row outside, as far as this can be written.
    pub(super) fn is_by_row(&self, operator: &Operator) -> bool {
        operator.relations().is_empty() && operator.names_outside() && self.made(operator).is_some()
    }

    /// Whether there is a row that meets conditions, if the rows are made of the row outside.
    pub(super) fn exists_by_row(
        &self,
        operator: &Operator,
        conditions: &[Expression],
    ) -> Option<Expression> {
        if !self.is_by_row(operator) {
            return None;
        }
        let mut made = self.made(operator)?;
        made.restrict(conditions);
        let mut written = Written::default();
        written.word("(EXISTS (SELECT");
        made.write_from(&mut written);
        written.word("))");
        let mut exists = Expression::boolean(written.kind());
        exists.is_nullable = false;
        Some(exists)
    }

    /// The value of a subquery that is a function of the row outside, if it is certain that there is but one.
    pub(super) fn value_by_row(&self, operator: &Operator) -> Option<Expression> {
        if !operator.relations().is_empty() || !operator.names_outside() {
            return None;
        }
        let (input, outputs) = operator.clone().with_outputs();
        let [output] = &outputs[..] else { return None };
        let (made, output) = match input {
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } if keys.is_empty() => {
                let made = self.made(&input)?;
                let aggregates = aggregates.iter();
                let values: Option<Vec<_>> = aggregates.map(|call| made.aggregated(call)).collect();
                (made, bound(output, &values?))
            }
            other => {
                let made = self.made(&other)?;
                if !made.from.is_empty() {
                    return None;
                }
                let output = bound(output, &made.columns);
                (made, output)
            }
        };
        let mut written = Written::default();
        written.word("(SELECT ");
        written.part(output.clone());
        made.write_from(&mut written);
        written.word(")");
        Some(Expression {
            kind: written.kind(),
            is_nullable: true,
            ..output
        })
    }

    fn made(&self, operator: &Operator) -> Option<Made> {
        match operator {
            Operator::Values { rows } if matches!(&rows[..], [row] if row.is_empty()) => {
                Some(Made {
                    from: Written::default(),
                    columns: Vec::new(),
                    conditions: Vec::new(),
                })
            }
            // the arms of VALUES, if these are not constants
            Operator::UnionAll(inputs) => {
                let mut from = Written::default();
                for (number, input) in inputs.iter().enumerate() {
                    from.word(if number == 0 {
                        "(SELECT "
                    } else {
                        " UNION ALL SELECT "
                    });
                    self.made(input)?.write_rows(&mut from);
                }
                Some(self.derived(from, operator))
            }
            Operator::Aggregate {
                input,
                keys,
                aggregates,
            } if aggregates.is_empty() => {
                let mut made = self.made(input)?;
                let keys = keys.iter();
                made.columns = keys.map(|key| bound(key, &made.columns)).collect();
                let mut from = Written::default();
                from.word("(SELECT DISTINCT ");
                made.write_rows(&mut from);
                Some(self.derived(from, operator))
            }
            Operator::Filter { input, condition } => {
                let mut made = self.made(input)?;
                made.restrict(std::slice::from_ref(condition));
                Some(made)
            }
            Operator::Project { input, outputs } => {
                let made = self.made(input)?;
                let outputs = outputs.iter();
                Some(Made {
                    columns: outputs.map(|output| bound(output, &made.columns)).collect(),
                    ..made
                })
            }
            Operator::Unfold {
                input,
                functions,
                has_ordinality,
                is_outer: false,
                conditions,
            } if functions.iter().all(|one| one.definition.is_none()) => {
                let mut made = self.made(input)?;
                if !made.from.is_empty() {
                    made.from.word(" CROSS JOIN LATERAL ");
                }
                made.from.word("ROWS FROM (");
                let calls = functions.iter();
                made.from
                    .list(calls.map(|function| bound(&function.call, &made.columns)));
                made.from.word(")");
                if *has_ordinality {
                    made.from.word(" WITH ORDINALITY");
                }
                let before = made.columns.len();
                let own = operator.columns().split_off(before);
                let own = self.named_columns(&mut made.from, own, before);
                made.columns.extend(own);
                made.restrict(conditions);
                Some(made)
            }
            _ => None,
        }
    }

    /// The rows of a subquery in FROM, of which all but the last parenthesis is written.
    fn derived(&self, mut from: Written, operator: &Operator) -> Made {
        from.word(")");
        Made {
            columns: self.named_columns(&mut from, operator.columns(), 0),
            from,
            conditions: Vec::new(),
        }
    }

    /// Names an item of FROM and its columns, `start` of which there are before it. The names are those of nothing else: they
    /// tell how deep the subquery lies in others.
    fn named_columns(
        &self,
        from: &mut Written,
        columns: Vec<Expression>,
        start: usize,
    ) -> Vec<Expression> {
        let alias = format!("row${}${start}", self.outside.borrow().len());
        let numbers: Vec<String> = (0..columns.len()).map(|at| format!("c{at}")).collect();
        from.word(&format!(" AS {alias}({})", numbers.join(", ")));
        let columns = columns.into_iter().zip(numbers);
        columns
            .map(|(column, name)| Expression {
                kind: Kind::Literal(format!("{alias}.{name}")),
                ..column
            })
            .collect()
    }
}

impl Made {
    fn restrict(&mut self, conditions: &[Expression]) {
        let bound = conditions
            .iter()
            .map(|condition| bound(condition, &self.columns));
        let bound: Vec<Expression> = bound.collect();
        self.conditions.extend(bound);
    }

    /// The value of an aggregate; none of one that would be taken for an aggregate of the query outside.
    fn aggregated(&self, call: &AggregateCall) -> Option<Expression> {
        let read = call.expressions();
        let is_of_outside = read.iter().any(|value| value.names_outside())
            && read.iter().all(|value| value.columns().is_empty());
        let is_of_users = call
            .other
            .as_ref()
            .is_some_and(|other| other.name.contains('.'));
        if is_of_outside || is_of_users {
            return None;
        }
        let call = call.moved(&mut |value| bound(value, &self.columns));
        let value = call.value();
        let mut written = Written::default();
        call.write(&mut written);
        Some(Expression {
            kind: written.kind(),
            ..value
        })
    }

    fn write_rows(mut self, written: &mut Written) {
        written.list(std::mem::take(&mut self.columns).into_iter());
        self.write_from(written);
    }

    fn write_from(self, written: &mut Written) {
        if !self.from.is_empty() {
            written.word(" FROM ");
            written.append(self.from);
        }
        for (number, condition) in self.conditions.into_iter().enumerate() {
            written.word(if number == 0 { " WHERE (" } else { " AND (" });
            written.part(condition);
            written.word(")");
        }
    }
}

impl AggregateCall {
    fn write(self, written: &mut Written) {
        written.word(self.word());
        written.word("(");
        match self.other {
            None => match self.argument {
                Some(argument) => written.part(argument),
                None => written.word("*"),
            },
            Some(other) => {
                written.word(if other.is_distinct { "DISTINCT " } else { "" });
                written.list(other.arguments.into_iter());
                if !other.order.is_empty() {
                    written.word(if other.is_within_group {
                        ") WITHIN GROUP (ORDER BY "
                    } else {
                        " ORDER BY "
                    });
                }
                for (number, (value, direction)) in other.order.into_iter().enumerate() {
                    written.word(if number == 0 { "" } else { ", " });
                    written.part(value);
                    written.word(&direction);
                }
            }
        }
        written.word(")");
        if let Some(filter) = self.filter {
            written.word(" FILTER (WHERE ");
            written.part(filter);
            written.word(")");
        }
    }
}

impl Written {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.parts.is_empty()
    }

    fn word(&mut self, word: &str) {
        self.text += word;
    }

    fn part(&mut self, part: Expression) {
        self.texts.push(std::mem::take(&mut self.text));
        self.parts.push(part);
    }

    fn list(&mut self, parts: impl Iterator<Item = Expression>) {
        for (number, part) in parts.enumerate() {
            self.word(if number == 0 { "" } else { ", " });
            self.part(part);
        }
    }

    fn append(&mut self, other: Self) {
        let mut texts = other.texts.into_iter();
        for part in other.parts {
            self.word(&texts.next().unwrap_or_default());
            self.part(part);
        }
        self.word(&other.text);
    }

    fn kind(mut self) -> Kind {
        self.texts.push(self.text);
        Kind::Written {
            texts: self.texts,
            parts: self.parts,
        }
    }
}

/// An expression over such columns, and over the row outside.
fn bound(expression: &Expression, columns: &[Expression]) -> Expression {
    expression.rewritten(&mut |part| match &part.kind {
        Kind::Column(at) => columns.get(*at).cloned(),
        Kind::Outer(value) => Some((**value).clone()),
        _ => None,
    })
}
