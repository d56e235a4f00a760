//! Rows by key, where what is computed of the rows of a key depends on all of them: f(X) = Σ f(X|k) over the keys k. Then
//! Δf(X) = f(X|K) − `f(X_old|K)`, where K are the keys in ΔX and `X_old|K` = X|K − ΔX|K.

use super::asked::AskedFor;
use super::node::NodeRef;
use super::writer::{Keys, Writer, columns_of, in_parentheses, listed};
use crate::definition::Refusal;
use crate::sql::identifier;

/// The rows of the keys that a difference touches, as parts of the statement, quoted.
pub(super) struct Touched {
    pub(super) now: String,
    pub(super) before: String,
}

impl Writer<'_> {
    /// The rows of the keys, in these columns, that changes of a node touch.
    ///
    /// Only those that are asked for, if not all are.
    pub(super) fn touched(
        &mut self,
        input: &NodeRef,
        keys: &[usize],
        asked: Option<&AskedFor>,
    ) -> Result<Touched, Refusal> {
        let mut changes = self.net_changes(input)?;
        let of: Vec<_> = keys
            .iter()
            .map(|at| {
                let column = input.columns[*at].clone();
                let is_nullable = column.facts.is_nullable;
                (identifier(&column.name), *at, column, is_nullable)
            })
            .collect();
        let mut touched = self.keys_of(&changes, of.into_iter());
        if let Some(asked) = asked {
            touched = self.asked_for_among(asked, &touched)?;
            changes = self.of_keys(input, &changes, &touched);
        }
        let now = self.now(input, Some(&touched))?;
        let now = identifier(&self.part("grouped_rows_now", &now));
        let before = self.less(input, &now, &changes)?;
        Ok(Touched { now, before })
    }

    /// The part with those rows of a difference that have one of these keys, none of which is NULL.
    fn of_keys(&mut self, input: &NodeRef, changes: &str, keys: &Keys) -> String {
        let same = keys.columns.iter().map(|key| {
            format!(
                "keys.{} = changes.{}",
                identifier(&key.column.name),
                identifier(&input.columns[key.at].name)
            )
        });
        let same: Vec<String> = same.collect();
        let body = format!(
            "SELECT changes.*\nFROM {} AS changes\nWHERE EXISTS (SELECT FROM {} AS keys WHERE {})",
            identifier(changes),
            identifier(&keys.part),
            same.join(" AND "),
        );
        self.part(&format!("{changes}_asked_for"), &body)
    }

    /// The part with the difference of a node, same rows added up.
    pub(super) fn net_changes(&mut self, input: &NodeRef) -> Result<String, Refusal> {
        let raw = self.delta(input)?;
        let net = self.net(&input.columns, &identifier(&raw), self.weight)?;
        Ok(self.part(&format!("net_{raw}"), &net))
    }

    /// The part, quoted, with rows of a part less a difference: rows as they were, each as often as it was there.
    pub(super) fn less(
        &mut self,
        input: &NodeRef,
        now: &str,
        changes: &str,
    ) -> Result<String, Refusal> {
        let weight = self.weight;
        let columns = listed(columns_of(input, ""));
        let both = in_parentheses(&format!(
            "SELECT {columns}, 1 AS {weight}\nFROM {now}\nUNION ALL\nSELECT {columns}, -{weight}\nFROM {}",
            identifier(changes)
        ));
        let before = self.net(&input.columns, &format!("{both} AS less"), weight)?;
        let before = format!(
            "-- as they were, each as often as it was there\nSELECT {columns}\nFROM {} AS counted\nCROSS JOIN generate_series(1, counted.{weight})",
            in_parentheses(&before)
        );
        Ok(identifier(&self.part("grouped_rows_before", &before)))
    }

    /// The keys, in these columns, of rows that have certain values in others: an operator that needs all rows of a key can
    /// be asked for them.
    pub(super) fn keys_through(
        &mut self,
        input: &NodeRef,
        by: &Keys,
        keys: &[usize],
    ) -> Result<Keys, Refusal> {
        let rows = self.now(input, Some(by))?;
        let rows = self.part(&format!("{}_found", input.word()), &rows);
        let of: Vec<_> = keys
            .iter()
            .map(|at| {
                let column = input.columns[*at].clone();
                let is_nullable = column.facts.is_nullable;
                (identifier(&column.name), *at, column, is_nullable)
            })
            .collect();
        Ok(self.keys_of(&rows, of.into_iter()))
    }

    /// The rows of an operator over the keys in these columns of its input, which are columns of its own as well, as all
    /// columns of the input are: `compute` writes it over a text in FROM.
    pub(super) fn by_keys_now(
        &mut self,
        node: &NodeRef,
        input: &NodeRef,
        keys: &[usize],
        restriction: Option<&Keys>,
        compute: &dyn Fn(&str) -> String,
    ) -> Result<String, Refusal> {
        let Some(by) = restriction else {
            let rows = in_parentheses(&self.now(input, None)?);
            return Ok(compute(&rows));
        };
        let is_key = |at: usize| keys.contains(&at);
        let is_of_input = |at: usize| at < input.columns.len();
        let of_keys = match self.keys_among(by, &is_key) {
            Some(of_keys) => Some(of_keys),
            None if keys.is_empty() => None,
            None => match self.keys_among(by, &is_of_input) {
                Some(others) => Some(self.keys_through(input, &others, keys)?),
                None => None,
            },
        };
        let rows = in_parentheses(&self.now(input, of_keys.as_ref())?);
        let text = compute(&rows);
        if by.columns.iter().all(|key| is_key(key.at)) {
            return Ok(text);
        }
        self.filtered_text(node, by, text)
    }
}
