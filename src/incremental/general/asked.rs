//! Of a grouping on the right side of an outer, semi or anti join only those groups count that rows of the left side ask for,
//! now or before: others need not be computed, however many of them a change touches.

use super::node::{NodeKind, NodeRef, Sides};
use super::writer::{KeyColumn, Keys, Writer, columns_of, listed, where_clause};
use crate::definition::Refusal;
use crate::sql::identifier;

/// Who asks for groups.
#[derive(Debug, Clone)]
pub(super) struct AskedFor {
    left: NodeRef,
    /// The columns of the left side, with the keys of the groups that they are equal to.
    equal: Vec<(usize, usize)>,
}

impl Writer<'_> {
    /// Notes that the right side's groups are asked for by the left side only, where asking is worth it: where the left side
    /// is more than a base table and so may have few rows for a key, or none.
    pub(super) fn note_asked_for(&mut self, sides: &Sides) {
        let NodeKind::Aggregate { keys, .. } = &sides.right.kind else {
            return;
        };
        let is_worth_it = !matches!(sides.left.kind, NodeKind::Scan { .. })
            && sides.left.is_transparent()
            && *keys > 0
            // by all keys: one that is NULL is asked for by nobody
            && (0..*keys).all(|key| sides.equal.iter().any(|(_, right)| *right == key))
            && sides.equal.iter().all(|(_, right)| right < keys)
            && !self.is_shared(&sides.right);
        if is_worth_it {
            let asked = AskedFor {
                left: sides.left.clone(),
                equal: sides.equal.clone(),
            };
            self.asked_for.insert(sides.right.id, asked);
        }
    }

    /// Of keys of groups those that are asked for, by rows of the left side as they are or that have changed.
    pub(super) fn asked_for_among(
        &mut self,
        asked: &AskedFor,
        touched: &Keys,
    ) -> Result<Keys, Refusal> {
        let columns = asked.equal.iter().map(|(left, right)| KeyColumn {
            at: *left,
            finds_null: false,
            ..touched.columns[*right].clone()
        });
        let by_left = Keys {
            columns: columns.collect(),
            ..touched.clone()
        };
        let mut lefts = vec![self.now(&asked.left, Some(&by_left))?];
        if self.may_change(&asked.left) {
            lefts.push(format!(
                "SELECT {}\nFROM {}",
                listed(columns_of(&asked.left, "")),
                identifier(&self.delta(&asked.left)?)
            ));
        }
        let asking = self.part(
            &format!("{}_asking", asked.left.word()),
            &lefts.join("\nUNION ALL\n"),
        );
        let same = asked.equal.iter().map(|(left, right)| {
            format!(
                "asking.{} = touched.{}",
                identifier(&asked.left.columns[*left].name),
                identifier(&touched.columns[*right].column.name)
            )
        });
        let same: Vec<String> = same.collect();
        let body = format!(
            "SELECT touched.*\nFROM {} AS touched\nWHERE EXISTS (SELECT FROM {} AS asking{})",
            identifier(&touched.part),
            identifier(&asking),
            where_clause(&same).replace('\n', " "),
        );
        Ok(Keys {
            part: self.part(&format!("{}_asked_for", touched.part), &body),
            ..touched.clone()
        })
    }
}
