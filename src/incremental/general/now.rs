//! The rows of operators as they are now, all of them or those with certain values.

use super::super::print::sql;
use super::join::{Output, Source};
use super::node::{Node, NodeKind, NodeRef, Sides};
use super::unfold::unfolded_text;
use super::writer::{Keys, Writer, columns_of, in_parentheses, listed, where_clause};
use crate::definition::{Expression, Kind, MatchKind, Refusal, TypeName};
use crate::sql::identifier;

impl Writer<'_> {
    /// `SELECT` of a node's columns: all rows, or those whose columns have one of the values.
    pub(super) fn now(&mut self, node: &NodeRef, keys: Option<&Keys>) -> Result<String, Refusal> {
        self.spent.step()?;
        let text = self.now_text(node, keys)?;
        self.spent.wrote(&text)?;
        Ok(text)
    }

    fn now_text(&mut self, node: &NodeRef, keys: Option<&Keys>) -> Result<String, Refusal> {
        if let Some(keys) = keys {
            return self.restricted(node, keys);
        }
        match &node.kind {
            NodeKind::Values(rows) => {
                let rows = rows.iter().map(|row| {
                    let values = row.iter().map(|value| sql(value, &|_| String::new()));
                    format!("({})", listed(values))
                });
                let rows = listed(rows);
                // a row of nothing
                Ok(if rows == "()" {
                    "SELECT".to_owned()
                } else {
                    format!("VALUES {rows}")
                })
            }
            NodeKind::Scan { .. } => Ok(format!(
                "SELECT {}\nFROM {}",
                listed(columns_of(node, "")),
                self.text_in_from(node)?
            )),
            NodeKind::Block {
                items, conditions, ..
            } => {
                let sources: Vec<Source> = items.iter().cloned().map(Source::Now).collect();
                self.join(&sources, conditions, &block_outputs(node, 0), None)
            }
            NodeKind::Union(inputs) => {
                let arms = inputs.iter().map(|input| self.now(input, None));
                Ok(arms.collect::<Result<Vec<_>, _>>()?.join("\nUNION ALL\n"))
            }
            NodeKind::Aggregate { .. } => self.grouped_now(node, None),
            NodeKind::Unfold { input, .. } => {
                let input = self.text_in_from(input)?;
                Ok(unfolded_text(node, &input, None))
            }
            NodeKind::Window { .. } => self.windowed_now(node, None),
            NodeKind::First { .. } => self.first_now(node, None),
            NodeKind::Repeat { input, times } => self.repeated_now(input, *times, None),
            NodeKind::Outer { sides, .. } | NodeKind::Match { sides, .. } => {
                let left = self.text_in_from(&sides.left)?;
                let right = match self.groups_of_kept_row(sides)? {
                    Some(groups) => groups,
                    None => self.text_in_from(&sides.right)?,
                };
                Ok(paired(node, sides, &left, &right, None))
            }
        }
    }

    fn restricted(&mut self, node: &NodeRef, keys: &Keys) -> Result<String, Refusal> {
        match &node.kind {
            NodeKind::Aggregate { .. } => self.grouped_now(node, Some(keys)),
            NodeKind::Window { .. } => self.windowed_now(node, Some(keys)),
            NodeKind::First { .. } => self.first_now(node, Some(keys)),
            NodeKind::Repeat { input, times } => self.repeated_now(input, *times, Some(keys)),
            NodeKind::Union(inputs) => {
                let arms = inputs.iter().map(|input| self.now(input, Some(keys)));
                Ok(arms.collect::<Result<Vec<_>, _>>()?.join("\nUNION ALL\n"))
            }
            NodeKind::Block {
                items, conditions, ..
            } => {
                let sources: Vec<Source> = items.iter().cloned().map(Source::Now).collect();
                self.arms(node, keys, &sources, conditions)
            }
            NodeKind::Outer { is_full, sides } if !node.is_transparent() => {
                let is_left = |at: usize| at < sides.left.columns.len();
                if !is_full && keys.columns.iter().all(|key| is_left(key.at)) {
                    return self.paired_with(node, sides, keys);
                }
                let text = match self.keys_among(keys, &is_left) {
                    Some(some) if !is_full => self.paired_with(node, sides, &some)?,
                    _ => self.now(node, None)?,
                };
                self.filtered_text(node, keys, text)
            }
            NodeKind::Match { sides, .. } if !node.is_transparent() => {
                if keys
                    .columns
                    .iter()
                    .all(|key| key.at < sides.left.columns.len())
                {
                    return self.paired_with(node, sides, keys);
                }
                let text = self.now(node, None)?;
                self.filtered_text(node, keys, text)
            }
            NodeKind::Unfold { input, .. } if !node.is_transparent() => {
                let is_kept = |at: usize| at < input.columns.len();
                let text = match self.keys_among(keys, &is_kept) {
                    Some(some) => {
                        let input = in_parentheses(&self.now(input, Some(&some))?);
                        unfolded_text(node, &input, None)
                    }
                    None => self.now(node, None)?,
                };
                if keys.columns.iter().all(|key| is_kept(key.at)) {
                    return Ok(text);
                }
                self.filtered_text(node, keys, text)
            }
            NodeKind::Scan { .. }
            | NodeKind::Values(_)
            | NodeKind::Outer { .. }
            | NodeKind::Unfold { .. }
            | NodeKind::Match { .. } => self.arms(node, keys, &[Source::Now(node.clone())], &[]),
        }
    }

    /// The rows of a text that have one of the values.
    pub(super) fn filtered_text(
        &mut self,
        node: &NodeRef,
        keys: &Keys,
        text: String,
    ) -> Result<String, Refusal> {
        let source = Source::Text {
            text,
            columns: node.columns.clone(),
        };
        self.arms(node, keys, &[source], &[])
    }

    /// The left side by keys, then the right side by what the left one has.
    fn paired_with(
        &mut self,
        node: &NodeRef,
        sides: &Sides,
        keys: &Keys,
    ) -> Result<String, Refusal> {
        let left = self.now(&sides.left, Some(keys))?;
        let left = self.part(&format!("{}_found", sides.left.word()), &left);
        let right = self.partners(sides, &left)?;
        Ok(paired(node, sides, &identifier(&left), &right, None))
    }

    /// The right side's rows as far as rows of the left side in this part may have them for partners, for FROM.
    pub(super) fn partners(&mut self, sides: &Sides, part: &str) -> Result<String, Refusal> {
        if sides.right.is_transparent() || sides.equal.is_empty() {
            return self.text_in_from(&sides.right);
        }
        let columns: Vec<_> = sides
            .equal
            .iter()
            .map(|(left, right)| {
                let column = sides.left.columns[*left].clone();
                (identifier(&column.name), *right, column, false)
            })
            .collect();
        let keys = self.keys_of(part, columns.into_iter());
        Ok(in_parentheses(&self.now(&sides.right, Some(&keys))?))
    }

    /// The rows of sources that have one of the values: those without NULL by `=`, those with NULL apart, as `=` alone can
    /// be driven by an index or a hash.
    fn arms(
        &mut self,
        node: &Node,
        keys: &Keys,
        sources: &[Source],
        conditions: &[Expression],
    ) -> Result<String, Refusal> {
        let width = keys.columns.len();
        let outputs = match &node.kind {
            NodeKind::Block { .. } => block_outputs(node, width),
            _ => plain_outputs(node, width),
        };
        let value = |at: usize| outputs[at].0.clone();
        let moved: Vec<Expression> = conditions
            .iter()
            .map(|condition| condition.moved(&|at| at + width))
            .collect();
        let mut arms = Vec::new();
        let may_have_null = |key: &super::writer::KeyColumn| {
            key.finds_null && key.column.facts.is_nullable && value(key.at).is_nullable
        };
        let has_null_arm = keys.columns.iter().any(may_have_null);
        if !keys.all_have_null || !has_null_arm {
            let mut conditions = moved.clone();
            for (number, key) in keys.columns.iter().enumerate() {
                let own = key.column.facts.as_column(number);
                conditions.push(infix(value(key.at), "=", own));
            }
            arms.push(self.join(
                &with_keys(&keys.part, keys, sources),
                &conditions,
                &outputs,
                None,
            )?);
        }
        if has_null_arm {
            let with_null = if keys.all_have_null {
                keys.clone()
            } else {
                self.keys_with_null(keys)
            };
            let mut conditions = moved;
            for (number, key) in keys.columns.iter().enumerate() {
                let own = key.column.facts.as_column(number);
                conditions.push(if keys.columns.len() == 1 && node.is_transparent() {
                    test(value(key.at), "IS NULL")
                } else if may_have_null(key) {
                    infix(value(key.at), "IS NOT DISTINCT FROM", own)
                } else {
                    infix(value(key.at), "=", own)
                });
            }
            arms.push(self.join(
                &with_keys(&with_null.part, &with_null, sources),
                &conditions,
                &outputs,
                None,
            )?);
        }
        Ok(arms.join("\nUNION ALL\n"))
    }

    fn keys_with_null(&mut self, keys: &Keys) -> Keys {
        let tests: Vec<String> = keys
            .columns
            .iter()
            .filter(|key| key.finds_null)
            .map(|key| format!("{} IS NULL", identifier(&key.column.name)))
            .collect();
        let body = format!(
            "SELECT *\nFROM {}\nWHERE {}",
            identifier(&keys.part),
            tests.join(" OR ")
        );
        Keys {
            part: self.part(&format!("{}_with_null", keys.part), &body),
            all_have_null: true,
            ..keys.clone()
        }
    }
}

/// Rows of an outer, semi or anti join over texts in FROM. With a weight, the left side's weights go with them.
pub(super) fn paired(
    node: &Node,
    sides: &Sides,
    left: &str,
    right: &str,
    weight: Option<&str>,
) -> String {
    let left_width = sides.left.columns.len();
    let mut texts = columns_of(&sides.left, "kept.");
    texts.extend(columns_of(&sides.right, "other."));
    let on: Vec<String> = sides
        .conditions
        .iter()
        .map(|condition| sql(condition, &|at| texts[at].clone()))
        .collect();
    let on = if on.is_empty() {
        "true".to_owned()
    } else {
        on.join(" AND ")
    };
    let mut outputs: Vec<String> = match &node.kind {
        NodeKind::Outer { .. } => texts.clone(),
        _ => texts[..left_width].to_vec(),
    };
    for (text, column) in outputs.iter_mut().zip(&node.columns) {
        *text = super::join::named(text, &column.name);
    }
    let exists = format!("EXISTS (SELECT FROM {right} AS other WHERE {on})");
    let (join, filter) = match &node.kind {
        NodeKind::Outer { is_full, .. } => {
            // with weights it is the difference of the left side that is being joined
            let word = if *is_full && weight.is_none() {
                "FULL"
            } else {
                "LEFT"
            };
            (format!("\n{word} JOIN {right} AS other ON {on}"), None)
        }
        NodeKind::Match { kind, .. } => match kind {
            MatchKind::Semi => (String::new(), Some(exists)),
            MatchKind::Anti => (String::new(), Some(format!("NOT {exists}"))),
            MatchKind::Mark => {
                let mark = node.columns.last().map_or("", |mark| mark.name.as_str());
                outputs.push(format!("{exists} AS {}", identifier(mark)));
                (String::new(), None)
            }
        },
        _ => (String::new(), None),
    };
    let mut conditions = Vec::new();
    if let Some(weight) = weight {
        outputs.push(format!("kept.{weight}"));
        conditions.push(format!("EXISTS (SELECT FROM {left})"));
    }
    conditions.extend(filter);
    format!(
        "SELECT {}\nFROM {left} AS kept{join}{}",
        listed(outputs),
        where_clause(&conditions)
    )
}

/// A block's outputs over its items' columns, which come after so many others.
pub(super) fn block_outputs(node: &Node, after: usize) -> Vec<Output> {
    let NodeKind::Block { outputs, .. } = &node.kind else {
        return plain_outputs(node, after);
    };
    outputs
        .iter()
        .zip(&node.columns)
        .map(|(output, column)| (output.moved(&|at| at + after), column.name.clone()))
        .collect()
}

/// A node's columns as they are, after so many others.
pub(super) fn plain_outputs(node: &Node, after: usize) -> Vec<Output> {
    let numbered = node.columns.iter().enumerate();
    numbered
        .map(|(at, column)| (column.facts.as_column(at + after), column.name.clone()))
        .collect()
}

fn with_keys(part: &str, keys: &Keys, sources: &[Source]) -> Vec<Source> {
    let columns = keys.columns.iter().map(|key| key.column.clone());
    let keys = Source::Part {
        name: part.to_owned(),
        word: "keys".to_owned(),
        columns: columns.collect(),
        is_weighted: false,
    };
    [keys].into_iter().chain(sources.iter().cloned()).collect()
}

pub(super) fn infix(left: Expression, operator: &str, right: Expression) -> Expression {
    Expression::boolean(Kind::Operator {
        left: Some(Box::new(left)),
        operator: operator.to_owned(),
        right: Box::new(right),
    })
}

fn test(operand: Expression, test: &'static str) -> Expression {
    Expression::new(
        Kind::Test {
            operand: Box::new(operand),
            test,
        },
        TypeName::built_in("bool"),
    )
}
