//! Inner joins of rows that are written already with rows as they are now.

use std::collections::BTreeSet;

use super::super::print::sql;
use super::super::terms::qualified;
use super::node::{Column, NodeKind, NodeRef, unique};
use super::types::is_groupable;
use super::writer::{Writer, in_parentheses, listed, where_clause};
use crate::definition::{Expression, Kind, Refusal};
use crate::sql::identifier;

/// Rows that take part in a join.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A part of the statement.
    Part {
        name: String,
        /// What its rows are of.
        word: String,
        columns: Vec<Column>,
        is_weighted: bool,
    },
    /// All rows of a node as they are now.
    Now(NodeRef),
    /// The rows of a text of its own.
    Text { text: String, columns: Vec<Column> },
}

impl Source {
    fn columns(&self) -> &[Column] {
        match self {
            Self::Part { columns, .. } | Self::Text { columns, .. } => columns,
            Self::Now(node) => &node.columns,
        }
    }
}

/// A column of a result: its value over the columns of all sources, and its name.
pub(super) type Output = (Expression, String);

/// A join in the making. Columns count through all sources.
struct Joining<'a> {
    conditions: Vec<&'a Expression>,
    /// How each column is written.
    text: Vec<String>,
    columns: Vec<Column>,
    /// The columns that are there already.
    bound: BTreeSet<usize>,
    from: Vec<String>,
    weights: Vec<String>,
    gates: BTreeSet<String>,
    aliases: BTreeSet<String>,
}

impl Writer<'_> {
    /// `SELECT` of outputs from sources where conditions hold; with a sign, also the product of the sources' weights.
    ///
    /// Sources that the planner can't restrict by itself are restricted to the values that the others before them have,
    /// where a condition says so.
    pub(super) fn join(
        &mut self,
        sources: &[Source],
        conditions: &[Expression],
        outputs: &[Output],
        sign: Option<i32>,
    ) -> Result<String, Refusal> {
        let mut joining = Joining {
            conditions: conditions.iter().collect(),
            text: Vec::new(),
            columns: Vec::new(),
            bound: BTreeSet::new(),
            from: Vec::new(),
            weights: Vec::new(),
            gates: BTreeSet::new(),
            aliases: BTreeSet::new(),
        };
        let has_parts = sources
            .iter()
            .any(|source| matches!(source, Source::Part { .. }));
        let mut later = Vec::new();
        let mut start = 0;
        for source in sources {
            let columns = source.columns();
            joining.columns.extend_from_slice(columns);
            joining.text.resize(start + columns.len(), String::new());
            match source {
                Source::Now(node) if has_parts && !node.is_transparent() => {
                    later.push((start, node));
                }
                _ => self.bind(&mut joining, source, start, sources.len() > 1)?,
            }
            start += columns.len();
        }
        while !later.is_empty() {
            let links: Vec<_> = later
                .iter()
                .map(|(start, node)| joining.links(*start, node))
                .collect();
            let next = links
                .iter()
                .position(|links| !links.is_empty())
                .unwrap_or(0);
            let (start, node) = later.remove(next);
            let text = if links[next].is_empty() {
                self.now(node, None)?
            } else {
                let part = self.cut(&mut joining, outputs);
                let columns = links[next].iter().map(|link| {
                    let value = sql(link.value, &|at| joining.text[at].clone());
                    let facts = link.value.clone();
                    let column = Column {
                        name: String::new(),
                        facts,
                    };
                    (value, link.at, column, link.finds_null)
                });
                let columns: Vec<_> = columns.collect();
                let keys = self.keys_of(&part, columns.into_iter());
                self.now(node, Some(&keys))?
            };
            let source = Source::Text {
                text,
                columns: node.columns.clone(),
            };
            self.bind(&mut joining, &source, start, true)?;
        }
        let text = |at: usize| joining.text[at].clone();
        let mut listed_outputs: Vec<String> = outputs
            .iter()
            .map(|(value, name)| named(&sql(value, &text), name))
            .collect();
        if let Some(sign) = sign {
            listed_outputs.push(named(&product(&joining.weights, sign), self.weight));
        }
        let mut conditions: Vec<String> = joining.gates.iter().cloned().collect();
        conditions.extend(
            joining
                .conditions
                .iter()
                .map(|condition| sql(condition, &text)),
        );
        Ok(format!(
            "SELECT {}\nFROM {}{}",
            listed(listed_outputs),
            joining.from.join(", "),
            where_clause(&conditions)
        ))
    }

    fn bind(
        &mut self,
        joining: &mut Joining<'_>,
        source: &Source,
        start: usize,
        is_gated: bool,
    ) -> Result<(), Refusal> {
        let (from, word) = match source {
            Source::Part { name, word, .. } => (identifier(name), word.clone()),
            Source::Now(node) => (self.text_in_from(node)?, node.word()),
            Source::Text { text, .. } => (in_parentheses(text), "found".to_owned()),
        };
        let alias = unique(&word, &joining.aliases);
        joining.aliases.insert(alias.clone());
        let alias = identifier(&alias);
        joining.from.push(if from == alias {
            from
        } else {
            format!("{from} AS {alias}")
        });
        for (number, column) in source.columns().iter().enumerate() {
            joining.text[start + number] = format!("{alias}.{}", identifier(&column.name));
            joining.bound.insert(start + number);
        }
        if let Source::Part {
            name, is_weighted, ..
        } = source
        {
            if *is_weighted {
                joining.weights.push(format!("{alias}.{}", self.weight));
            }
            if is_gated {
                // asked once before anything else is read
                let gate = format!("EXISTS (SELECT FROM {})", identifier(name));
                joining.gates.insert(gate);
            }
        }
        Ok(())
    }

    /// Writes what is joined so far as a part, which takes its place.
    fn cut(&mut self, joining: &mut Joining<'_>, outputs: &[Output]) -> String {
        let (now, still): (Vec<_>, Vec<_>) = joining.conditions.drain(..).partition(|condition| {
            condition
                .columns()
                .iter()
                .all(|at| joining.bound.contains(at))
        });
        joining.conditions = still;
        let used: BTreeSet<usize> = joining
            .conditions
            .iter()
            .flat_map(|condition| condition.columns())
            .chain(outputs.iter().flat_map(|(value, _)| value.columns()))
            .filter(|at| joining.bound.contains(at))
            .collect();
        let mut names = BTreeSet::from([self.weight.to_owned()]);
        let mut columns = Vec::new();
        let mut texts = joining.text.clone();
        for at in used {
            let name = unique(&joining.columns[at].name, &names);
            columns.push(named(&joining.text[at], &name));
            texts[at] = format!("partial.{}", identifier(&name));
            names.insert(name);
        }
        columns.push(named(&product(&joining.weights, 1), self.weight));
        let mut conditions: Vec<String> = joining.gates.iter().cloned().collect();
        let text = |at: usize| joining.text[at].clone();
        conditions.extend(now.iter().map(|condition| sql(condition, &text)));
        let body = format!(
            "SELECT {}\nFROM {}{}",
            listed(columns),
            joining.from.join(", "),
            where_clause(&conditions)
        );
        let part = self.part("partial", &body);
        joining.text = texts;
        joining.from = vec![format!("{} AS partial", identifier(&part))];
        joining.aliases = BTreeSet::from(["partial".to_owned()]);
        joining.weights = vec![format!("partial.{}", self.weight)];
        joining.gates = BTreeSet::from([format!("EXISTS (SELECT FROM {})", identifier(&part))]);
        part
    }

    /// The rows of a node as they are now, as they stand in FROM.
    pub(super) fn text_in_from(&mut self, node: &NodeRef) -> Result<String, Refusal> {
        match &node.kind {
            NodeKind::Scan { relation, .. } => Ok(qualified(relation)),
            _ => Ok(in_parentheses(&self.now(node, None)?)),
        }
    }
}

/// A condition by which a source can be restricted.
struct Link<'a> {
    /// The source's column.
    at: usize,
    /// What it is to be equal to, over columns that are bound.
    value: &'a Expression,
    finds_null: bool,
}

impl<'a> Joining<'a> {
    fn links(&self, start: usize, node: &NodeRef) -> Vec<Link<'a>> {
        let reach = start..start + node.columns.len();
        let mut links: Vec<Link<'a>> = Vec::new();
        for condition in &self.conditions {
            let Kind::Operator {
                left: Some(left),
                operator,
                right,
            } = &condition.kind
            else {
                continue;
            };
            let finds_null = operator == "IS NOT DISTINCT FROM";
            if operator != "=" && !finds_null {
                continue;
            }
            for (own, value) in [(left, right), (right, left)] {
                let columns = value.columns();
                let Kind::Column(at) = own.kind else { continue };
                let can_be = reach.contains(&at)
                    && !columns.is_empty()
                    && columns.iter().all(|at| self.bound.contains(at))
                    && is_groupable(own)
                    && is_groupable(value)
                    && links.iter().all(|link| link.at != at - start);
                if can_be {
                    links.push(Link {
                        at: at - start,
                        value,
                        finds_null,
                    });
                }
            }
        }
        links
    }
}

fn product(weights: &[String], sign: i32) -> String {
    let product = if weights.is_empty() {
        "1".to_owned()
    } else {
        weights.join(" * ")
    };
    match (sign < 0, weights.len()) {
        (false, _) => product,
        (true, 0 | 1) => format!("-{product}"),
        (true, _) => format!("-({product})"),
    }
}

/// A value with its name, which is left out where it says the same.
pub(super) fn named(text: &str, name: &str) -> String {
    let name = identifier(name);
    if text == name || text.strip_suffix(&name).is_some_and(is_prefix) {
        text.to_owned()
    } else {
        format!("{text} AS {name}")
    }
}

fn is_prefix(text: &str) -> bool {
    text.strip_suffix('.').is_some_and(|alias| {
        !alias.is_empty()
            && alias
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
