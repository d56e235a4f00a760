//! The signed difference of operators.

use super::super::identity::identity;
use super::join::Source;
use super::node::{NodeKind, NodeRef};
use super::now::block_outputs;
use super::unfold::unfolded_text;
use super::writer::{Writer, columns_of, in_parentheses, listed};
use crate::definition::{Expression, Refusal};
use crate::sql::identifier;

impl Writer<'_> {
    /// The part with the difference of a node: its columns and the weight.
    pub(super) fn delta(&mut self, node: &NodeRef) -> Result<String, Refusal> {
        if let NodeKind::Scan { relation, .. } = &node.kind {
            return Ok(self.tables[&relation.oid].changes.clone());
        }
        if let Some(known) = self.differences.get(&node.id) {
            return Ok(known.clone());
        }
        let body = match &node.kind {
            // constants do not change
            NodeKind::Scan { .. } | NodeKind::Values(_) => String::new(),
            NodeKind::Block {
                items, conditions, ..
            } => self.block_delta(node, items, conditions)?,
            NodeKind::Union(inputs) => {
                let mut arms = Vec::new();
                for input in inputs {
                    if !self.may_change(input) {
                        continue;
                    }
                    let changes = self.delta(input)?;
                    let mut columns: Vec<String> = columns_of(input, "")
                        .iter()
                        .zip(&node.columns)
                        .map(|(text, column)| super::join::named(text, &column.name))
                        .collect();
                    columns.push(self.weight.to_owned());
                    arms.push(format!(
                        "SELECT {}\nFROM {}",
                        listed(columns),
                        identifier(&changes)
                    ));
                }
                arms.join("\nUNION ALL\n")
            }
            NodeKind::Aggregate { input, keys, calls } => match self.kept_of(node) {
                Some(kept) => self.kept_delta(node, kept)?,
                None => self.grouped_delta(node, input, *keys, calls)?,
            },
            NodeKind::Window { input, keys, calls } => {
                self.windowed_delta(node, input, keys, calls)?
            }
            NodeKind::First { .. } => self.first_delta(node)?,
            NodeKind::Repeat { input, times } => self.repeated_delta(input, *times)?,
            NodeKind::Outer { sides, is_full } => self.outer_delta(node, sides, *is_full)?,
            NodeKind::Unfold { input, .. } => {
                let changes = self.delta(input)?;
                unfolded_text(node, &identifier(&changes), Some(self.weight))
            }
            NodeKind::Match { sides, kind } => self.match_delta(node, sides, *kind)?,
        };
        let part = self.part(&format!("{}_changes", node.word()), &body);
        self.differences.insert(node.id, part.clone());
        Ok(part)
    }

    /// The difference of a node as a source.
    pub(super) fn changed(&mut self, node: &NodeRef) -> Result<Source, Refusal> {
        Ok(Source::Part {
            name: self.delta(node)?,
            word: node.word(),
            columns: node.columns.clone(),
            is_weighted: true,
        })
    }

    // Δ(A⋈B) = ΔA⋈B + A⋈ΔB − ΔA⋈ΔB; in general the sum over all non-empty sets T of items of (−1)^(|T|+1) times the join of
    // the changes of T with the new rows of the others, since old = new − Δ
    fn block_delta(
        &mut self,
        node: &NodeRef,
        items: &[NodeRef],
        conditions: &[Expression],
    ) -> Result<String, Refusal> {
        let outputs = block_outputs(node, 0);
        let mut terms = Vec::new();
        let fixed: Vec<bool> = items.iter().map(|item| !self.may_change(item)).collect();
        for set in 1..1_u32 << items.len() {
            if (0..items.len()).any(|item| set >> item & 1 == 1 && fixed[item]) {
                continue;
            }
            let mut sources = Vec::new();
            for (number, item) in items.iter().enumerate() {
                sources.push(if set >> number & 1 == 1 {
                    self.changed(item)?
                } else {
                    Source::Now(item.clone())
                });
            }
            let sign = if set.count_ones() % 2 == 1 { 1 } else { -1 };
            terms.push(self.join(&sources, conditions, &outputs, Some(sign))?);
        }
        let text = terms.join("\nUNION ALL\n");
        let can_be_netted = node
            .columns
            .iter()
            .all(|column| identity(&column.facts, "").is_some());
        if terms.len() == 1 || !can_be_netted {
            return Ok(text);
        }
        // what comes in one term and goes in another did not change
        let from = format!("{} AS terms", in_parentheses(&text));
        self.net(&node.columns, &from, self.weight)
    }
}
