//! The difference of outer, semi and anti joins.
//!
//! Of a row of the left side it matters how many partners it has: n now, n − d before, where d is what the difference of the
//! right side says. Δ(A ⋉ B) = ΔA ⋉ B + (A − ΔA) · ([n > 0] − [n − d > 0]), and alike with the signs of an anti join.

use super::super::print::sql;
use super::join::Source;
use super::node::{Column, Node, Sides, unique};
use super::now::{infix, paired, plain_outputs};
use super::writer::{KeyColumn, Keys, Writer, columns_of, in_parentheses, listed, where_clause};
use crate::definition::{Expression, MatchKind, Refusal};
use crate::sql::identifier;

impl Writer<'_> {
    pub(super) fn match_delta(
        &mut self,
        node: &Node,
        sides: &Sides,
        kind: MatchKind,
    ) -> Result<String, Refusal> {
        let mut terms = Vec::new();
        self.note_asked_for(sides);
        if self.may_change(&sides.left) {
            terms.push(self.changed_left(node, sides)?);
        }
        if !self.may_change(&sides.right) {
            return Ok(terms.join("\nUNION ALL\n"));
        }
        let flipped = identifier(&self.flipped(sides)?);
        let named = |text: String, column: &Column| super::join::named(&text, &column.name);
        let columns = columns_of(&sides.left, "").into_iter();
        let columns = listed(columns.zip(&node.columns).map(|(text, to)| named(text, to)));
        let weight = self.weight;
        let mark = node.columns.last();
        let mark = mark.map(|mark| identifier(&mark.name)).unwrap_or_default();
        let rest = match kind {
            MatchKind::Semi => format!("SELECT {columns}, {weight}\nFROM {flipped}"),
            MatchKind::Anti => format!("SELECT {columns}, -{weight} AS {weight}\nFROM {flipped}"),
            MatchKind::Mark => format!(
                "SELECT {columns}, true AS {mark}, {weight}\nFROM {flipped}\nUNION ALL\nSELECT {columns}, false, -{weight}\nFROM {flipped}"
            ),
        };
        terms.push(rest);
        Ok(terms.join("\nUNION ALL\n"))
    }

    // LEFT JOIN = (A ⋈ B) + (A ▷ B) with NULLs; FULL JOIN has (B ▷ A) with NULLs besides
    pub(super) fn outer_delta(
        &mut self,
        node: &Node,
        sides: &Sides,
        is_full: bool,
    ) -> Result<String, Refusal> {
        let (left_changes, right_changes) =
            (self.may_change(&sides.left), self.may_change(&sides.right));
        if !is_full {
            self.note_asked_for(sides);
        }
        let mut terms = Vec::new();
        if left_changes {
            terms.push(self.changed_left(node, sides)?);
        }
        let outputs = plain_outputs(node, 0);
        let mut lefts = vec![(Source::Now(sides.left.clone()), 1)];
        if left_changes && right_changes {
            lefts.push((self.changed(&sides.left)?, -1));
        }
        if right_changes {
            let right = self.changed(&sides.right)?;
            for (left, sign) in lefts {
                let sources = [left, right.clone()];
                terms.push(self.join(&sources, &sides.conditions, &outputs, Some(sign))?);
            }
            terms.push(self.lonely(node, sides, 0)?);
        }
        if is_full {
            let swapped = sides.swapped();
            if right_changes {
                terms.push(self.changed_right(node, sides, &swapped)?);
            }
            if left_changes {
                terms.push(self.lonely(node, &swapped, sides.left.columns.len())?);
            }
        }
        Ok(terms.join("\nUNION ALL\n"))
    }

    /// What becomes of rows of one side, whose columns begin there, as they lose or get partners: with NULLs in place of
    /// the other side.
    fn lonely(&mut self, node: &Node, sides: &Sides, start: usize) -> Result<String, Refusal> {
        let flipped = identifier(&self.flipped(sides)?);
        let own = columns_of(&sides.left, "");
        let texts = node.columns.iter().enumerate().map(|(at, column)| {
            match at.checked_sub(start).and_then(|at| own.get(at)) {
                Some(text) => super::join::named(text, &column.name),
                None => null_of(column),
            }
        });
        let weight = self.weight;
        Ok(format!(
            "SELECT {}, -{weight} AS {weight}\nFROM {flipped}",
            listed(texts)
        ))
    }

    /// Rows of the right side's difference that have no partner, as FULL JOIN keeps them.
    fn changed_right(
        &mut self,
        node: &Node,
        sides: &Sides,
        swapped: &Sides,
    ) -> Result<String, Refusal> {
        let changes = self.delta(&sides.right)?;
        let partners = self.partners(swapped, &changes)?;
        let changes = identifier(&changes);
        let mut texts = columns_of(&sides.left, "other.");
        texts.extend(columns_of(&sides.right, "kept."));
        let width = sides.left.columns.len();
        let outputs = node.columns.iter().enumerate().map(|(at, column)| {
            if at < width {
                null_of(column)
            } else {
                super::join::named(&texts[at], &column.name)
            }
        });
        Ok(format!(
            "SELECT {}, kept.{weight}\nFROM {changes} AS kept\nWHERE EXISTS (SELECT FROM {changes}) AND NOT EXISTS (SELECT FROM {partners} AS other{})",
            listed(outputs),
            where_clause(&printed(&sides.conditions, &texts)),
            weight = self.weight,
        ))
    }

    /// The rows that come of the left side's difference with the right side as it is now.
    fn changed_left(&mut self, node: &Node, sides: &Sides) -> Result<String, Refusal> {
        let left = self.delta(&sides.left)?;
        let partners = self.partners(sides, &left)?;
        Ok(paired(
            node,
            sides,
            &identifier(&left),
            &partners,
            Some(self.weight),
        ))
    }

    /// The part with the left side's rows as they were that got a first partner (weight as it was) or lost the last one
    /// (weight negated).
    fn flipped(&mut self, sides: &Sides) -> Result<String, Refusal> {
        if sides.has_more {
            self.flipped_rows(sides)
        } else {
            self.flipped_keys(sides)
        }
    }

    /// Where partners are found by equal values alone, it is values that get or lose partners.
    fn flipped_keys(&mut self, sides: &Sides) -> Result<String, Refusal> {
        let word = sides.right.word();
        let (keys, change) = self.changed_keys(sides)?;
        let names: Vec<String> = keys
            .columns
            .iter()
            .map(|key| identifier(&key.column.name))
            .collect();
        let found = if sides.equal.is_empty() {
            let all = self.text_in_from(&sides.right)?;
            format!("SELECT count(*) AS partners\nFROM {all} AS everything")
        } else {
            let of_keys = self.now(&sides.right, Some(&keys))?;
            let column = |right: usize| identifier(&sides.right.columns[right].name);
            let by = sides.equal.iter().map(|(_, right)| column(*right));
            let outputs = sides.equal.iter().zip(&names);
            let outputs = outputs.map(|((_, right), name)| format!("{} AS {name}", column(*right)));
            format!(
                "SELECT {}, count(*) AS partners\nFROM {} AS present\nGROUP BY {}",
                listed(outputs),
                in_parentheses(&of_keys),
                listed(by)
            )
        };
        let on: Vec<String> = names
            .iter()
            .map(|name| format!("found.{name} = changed.{name}"))
            .collect();
        let on = if on.is_empty() {
            "true".to_owned()
        } else {
            on.join(" AND ")
        };
        let weight = self.weight;
        let list: String = names.iter().map(|name| format!("{name}, ")).collect();
        let body = format!(
            "-- values that got a first partner (1) or lost the last one (-1)\nSELECT {list}flip AS {weight}\nFROM (\n    SELECT {changed}(coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.{change} > 0)::int AS flip\n    FROM {keys} AS changed\n    LEFT JOIN {found} AS found ON {on}\n    WHERE EXISTS (SELECT FROM {keys})\n) AS counted\nWHERE flip <> 0",
            changed = names
                .iter()
                .map(|name| format!("changed.{name}, "))
                .collect::<String>(),
            keys = identifier(&keys.part),
            found = in_parentheses(&found).replace('\n', "\n    "),
        );
        let flips = Source::Part {
            name: self.part(&format!("{word}_flips"), &body),
            word: "flips".to_owned(),
            columns: keys.columns.iter().map(|key| key.column.clone()).collect(),
            is_weighted: true,
        };
        let width = keys.columns.len();
        let outputs = plain_outputs(&sides.left, width);
        let mut conditions: Vec<Expression> = sides
            .equal
            .iter()
            .zip(&keys.columns)
            .enumerate()
            .map(|(number, ((left, _), key))| {
                let own = sides.left.columns[*left].facts.as_column(width + left);
                infix(own, "=", key.column.facts.as_column(number))
            })
            .collect();
        let left_only = sides.left_only.iter();
        conditions.extend(left_only.map(|condition| condition.moved(&|at| at + width)));
        let mut lefts = vec![(Source::Now(sides.left.clone()), 1)];
        if self.may_change(&sides.left) {
            lefts.push((self.changed(&sides.left)?, -1));
        }
        let mut terms = Vec::new();
        for (source, sign) in lefts {
            let sources = [flips.clone(), source];
            terms.push(self.join(&sources, &conditions, &outputs, Some(sign))?);
        }
        Ok(self.part(
            &format!("{}_flipped", sides.left.word()),
            &terms.join("\nUNION ALL\n"),
        ))
    }

    /// The values of the right side's difference by which partners are found, with the change of their number.
    fn changed_keys(&mut self, sides: &Sides) -> Result<(Keys, String), Refusal> {
        let changes = self.delta(&sides.right)?;
        let weight = self.weight;
        let change = format!("change_of_{weight}");
        let mut columns = Vec::new();
        let mut conditions = Vec::new();
        let mut keys = Vec::new();
        for (number, (_, right)) in sides.equal.iter().enumerate() {
            let column = &sides.right.columns[*right];
            let text = identifier(&column.name);
            let name = format!("key_{}", number + 1);
            columns.push((text.clone(), format!("{text} AS {name}")));
            if column.facts.is_nullable {
                conditions.push(format!("{text} IS NOT NULL"));
            }
            keys.push(KeyColumn {
                at: *right,
                column: Column {
                    name,
                    facts: column.facts.clone(),
                },
                finds_null: false,
            });
        }
        let group_by = if columns.is_empty() {
            String::new()
        } else {
            format!(
                "\nGROUP BY {}",
                listed(columns.iter().map(|(text, _)| text.clone()))
            )
        };
        let outputs = columns.into_iter().map(|(_, output)| output);
        let body = format!(
            "SELECT {}\nFROM {}{}{group_by}\nHAVING sum({weight}) <> 0",
            listed(outputs.chain([format!("sum({weight})::int8 AS {change}")])),
            identifier(&changes),
            where_clause(&conditions),
        );
        let keys = Keys {
            part: self.part(&format!("{changes}_keys"), &body),
            columns: keys,
            all_have_null: false,
        };
        Ok((keys, change))
    }

    /// Partners counted row by row, for conditions of any kind.
    fn flipped_rows(&mut self, sides: &Sides) -> Result<String, Refusal> {
        let weight = self.weight;
        let right_changes = self.delta(&sides.right)?;
        let columns = columns_of(&sides.left, "");
        let taken = sides.left.columns.iter().map(|column| column.name.clone());
        let number = identifier(&unique("touched_number", &taken.collect()));
        let touched_by = |texts: &[String]| {
            format!(
                "EXISTS (SELECT FROM {} AS other WHERE {})",
                identifier(&right_changes),
                printed(&sides.conditions, texts).join(" AND ")
            )
        };
        let mut texts = columns_of(&sides.left, "kept.");
        texts.extend(columns_of(&sides.right, "other."));
        let keys = if sides.equal.is_empty() {
            None
        } else {
            let of_right = sides.equal.iter().map(|(left, right)| {
                let column = sides.right.columns[*right].clone();
                (identifier(&column.name), *left, column, false)
            });
            let of_right: Vec<_> = of_right.collect();
            Some(self.keys_of(&right_changes, of_right.into_iter()))
        };
        let candidates = self.now(&sides.left, keys.as_ref())?;
        let less = if self.may_change(&sides.left) {
            format!(
                "\n    UNION ALL\n    SELECT {}, -kept.{weight}\n    FROM {} AS kept\n    WHERE EXISTS (SELECT FROM {}) AND {}",
                listed(columns_of(&sides.left, "kept.")),
                identifier(&self.delta(&sides.left)?),
                identifier(&right_changes),
                touched_by(&texts),
            )
        } else {
            String::new()
        };
        let body = format!(
            "-- rows for which the difference of the other side may count\nSELECT {list}, {weight}, row_number() OVER () AS {number}\nFROM (\n    SELECT {kept}, 1 AS {weight}\n    FROM {candidates} AS kept\n    WHERE EXISTS (SELECT FROM {right}) AND {touched}{less}\n) AS touched",
            list = listed(columns),
            kept = listed(columns_of(&sides.left, "kept.")),
            candidates = in_parentheses(&candidates).replace('\n', "\n    "),
            right = identifier(&right_changes),
            touched = touched_by(&texts),
        );
        let touched = identifier(&self.part(&format!("{}_touched", sides.left.word()), &body));
        let partners = match &keys {
            Some(keys) if !sides.right.is_transparent() => {
                let keys = Keys {
                    columns: keys
                        .columns
                        .iter()
                        .zip(&sides.equal)
                        .map(|(key, (_, right))| KeyColumn {
                            at: *right,
                            ..key.clone()
                        })
                        .collect(),
                    ..keys.clone()
                };
                in_parentheses(&self.now(&sides.right, Some(&keys))?)
            }
            _ => self.text_in_from(&sides.right)?,
        };
        let on = printed(&sides.conditions, &texts).join(" AND ");
        let body = format!(
            "SELECT {kept}, kept.{weight} * ((counted.present > 0)::int - (counted.present - counted.change > 0)::int) AS {weight}\nFROM {touched} AS kept\nJOIN (\n    SELECT {number}, sum(present) AS present, sum(change) AS change\n    FROM (\n        SELECT kept.{number}, 0 AS present, other.{weight} AS change\n        FROM {touched} AS kept JOIN {right} AS other ON {on}\n        UNION ALL\n        SELECT kept.{number}, 1, 0\n        FROM {touched} AS kept JOIN {partners} AS other ON {on}\n        WHERE EXISTS (SELECT FROM {touched})\n    ) AS partners\n    GROUP BY {number}\n) AS counted ON counted.{number} = kept.{number}\nWHERE (counted.present > 0) <> (counted.present - counted.change > 0)",
            kept = listed(columns_of(&sides.left, "kept.")),
            right = identifier(&right_changes),
            partners = partners.replace('\n', "\n        "),
        );
        Ok(self.part(&format!("{}_flipped", sides.left.word()), &body))
    }
}

impl Sides {
    /// The same seen from the right.
    fn swapped(&self) -> Self {
        let (left, right) = (self.left.columns.len(), self.right.columns.len());
        let moved = |at: usize| if at < left { at + right } else { at - left };
        Self {
            left: self.right.clone(),
            right: self.left.clone(),
            conditions: self
                .conditions
                .iter()
                .map(|condition| condition.moved(&moved))
                .collect(),
            equal: self
                .equal
                .iter()
                .map(|(one, other)| (*other, *one))
                .collect(),
            // a FULL JOIN has none: they count among the others there
            left_only: Vec::new(),
            has_more: self.has_more,
            is_dependent: false,
        }
    }
}

fn printed(conditions: &[Expression], texts: &[String]) -> Vec<String> {
    conditions
        .iter()
        .map(|condition| sql(condition, &|at| texts[at].clone()))
        .collect()
}

fn null_of(column: &Column) -> String {
    format!(
        "NULL::{} AS {}",
        column.facts.data_type,
        identifier(&column.name)
    )
}
