//! Which column a name means.

use super::{Expression, Refusal};

/// One item of FROM, or several joined with USING.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The name that qualifies its columns.
    pub(super) alias: String,
    /// Its columns with their names, as columns of the whole join.
    pub(super) columns: Vec<(String, Expression)>,
    /// Whether its row is there.
    pub(super) presence: Presence,
}

/// How to tell whether a row of an item of FROM is there, on a side of an outer join that has partners for some rows only.
#[derive(Debug, Clone)]
pub(super) enum Presence {
    /// It always is.
    Certain,
    /// If this column is not NULL.
    By(Expression),
    /// Not at all: all of its columns may be NULL by themselves.
    Unknown,
}

impl Presence {
    fn moved(self, width: usize) -> Self {
        match self {
            Self::By(column) => Self::By(shifted(&column, width)),
            other => other,
        }
    }
}

/// The columns that expressions may name.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// What FROM lists.
    pub(super) items: Vec<Item>,
    /// What can be named without qualification; columns merged by USING once.
    pub(super) unqualified: Vec<(String, Expression)>,
}

impl Scope {
    /// The column of an item, if there is one.
    pub(super) fn qualified(
        &self,
        alias: &str,
        column: &str,
    ) -> Result<Option<&Expression>, Refusal> {
        let columns = self
            .items
            .iter()
            .filter(|item| item.alias == alias)
            .flat_map(|item| &item.columns);
        at_most_one(columns, column, &format!("{alias}.{column}"))
    }

    /// The item of this alias, if there is one.
    pub(super) fn item(&self, alias: &str) -> Result<Option<&Item>, Refusal> {
        let mut found = self.items.iter().filter(|item| item.alias == alias);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Refusal::new(
                format!("{alias}.*"),
                "several items of FROM have this name",
            )),
            (item, _) => Ok(item),
        }
    }

    /// The column of this name in any item, if there is one.
    pub(super) fn named(&self, column: &str) -> Result<Option<&Expression>, Refusal> {
        at_most_one(self.unqualified.iter(), column, column)
    }

    /// The column of this name in any item.
    pub(super) fn unqualified(&self, column: &str) -> Result<&Expression, Refusal> {
        self.named(column)?.ok_or_else(|| no_column(column))
    }

    /// Lets every column be NULL, as those of a side of an outer join may.
    pub(super) fn may_be_missing(&mut self) {
        for item in &mut self.items {
            if matches!(item.presence, Presence::Certain) {
                let mut columns = item.columns.iter();
                item.presence = match columns.find(|(_, column)| !column.is_nullable) {
                    Some((_, column)) => Presence::By(Expression {
                        is_nullable: true,
                        ..column.clone()
                    }),
                    None => Presence::Unknown,
                };
            }
        }
        let columns = self.items.iter_mut().flat_map(|item| &mut item.columns);
        for (_, column) in columns.chain(&mut self.unqualified) {
            column.is_nullable = true;
        }
    }

    /// This scope and another one, whose columns come after this one's `width` columns.
    pub(super) fn followed_by(mut self, width: usize, other: Self) -> Self {
        let moved = |columns: Vec<(String, Expression)>| -> Vec<(String, Expression)> {
            columns
                .into_iter()
                .map(|(name, column)| (name, shifted(&column, width)))
                .collect()
        };
        self.items.extend(other.items.into_iter().map(|item| Item {
            alias: item.alias,
            columns: moved(item.columns),
            presence: item.presence.moved(width),
        }));
        self.unqualified.extend(moved(other.unqualified));
        self
    }
}

fn at_most_one<'a>(
    columns: impl Iterator<Item = &'a (String, Expression)>,
    name: &str,
    shown: &str,
) -> Result<Option<&'a Expression>, Refusal> {
    let mut found = columns.filter(|(other, _)| other == name);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(Refusal::new(
            format!("column {shown}"),
            "several columns have this name",
        )),
        (column, _) => Ok(column.map(|(_, column)| column)),
    }
}

/// The refusal of a name that means no column.
pub(super) fn no_column(shown: &str) -> Refusal {
    Refusal::new(
        format!("column {shown}"),
        "it is no plain column of what FROM lists (a system column, or one of a query further out)",
    )
}

/// An expression whose columns stand `by` places further right.
pub(super) fn shifted(expression: &Expression, by: usize) -> Expression {
    expression.moved(&|position| position + by)
}
