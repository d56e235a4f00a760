//! Rows repeated as often as a column says. That is linear: Δ(repeat X) = repeat ΔX, a repeated row's weight being multiplied.

use std::collections::BTreeSet;

use super::build::Built;
use super::node::{NodeKind, NodeRef, Nodes};
use super::writer::{Keys, Writer, columns_of, in_parentheses, listed};
use crate::definition::{Operator, Refusal};
use crate::sql::identifier;

impl Nodes {
    pub(super) fn repeated(
        &mut self,
        input: &Operator,
        times: usize,
        wanted: &BTreeSet<usize>,
    ) -> Result<Built, Refusal> {
        let mut wanted = wanted.clone();
        wanted.insert(times);
        let built = self.build(input, &wanted)?;
        let columns = built.node.columns.clone();
        let kind = NodeKind::Repeat {
            times: built.at[&times],
            input: built.node,
        };
        Ok(Built {
            node: self.add(kind, columns),
            at: built.at,
        })
    }
}

impl Writer<'_> {
    pub(super) fn repeated_delta(
        &mut self,
        input: &NodeRef,
        times: usize,
    ) -> Result<String, Refusal> {
        let changes = self.delta(input)?;
        Ok(format!(
            "SELECT {}, {weight} * {} AS {weight}\nFROM {}",
            listed(columns_of(input, "")),
            identifier(&input.columns[times].name),
            identifier(&changes),
            weight = self.weight,
        ))
    }

    pub(super) fn repeated_now(
        &mut self,
        input: &NodeRef,
        times: usize,
        keys: Option<&Keys>,
    ) -> Result<String, Refusal> {
        let rows = in_parentheses(&self.now(input, keys)?);
        Ok(format!(
            "SELECT {}\nFROM {rows} AS repeated\nCROSS JOIN generate_series(1, repeated.{})",
            listed(columns_of(input, "repeated.")),
            identifier(&input.columns[times].name),
        ))
    }
}
