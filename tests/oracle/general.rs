//! Random queries of every shape that the general strategy claims. Every source of rows, of whatever depth, has the columns
//! of a table, so that all of them fit everywhere.

use fastrand::Rng;

use crate::generate::{COLUMNS, Queries, Table, named, pick};

/// Writes queries that are more than a grouping over a sum of joins.
pub(crate) struct General<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) tables: &'a [Table],
    pub(crate) aliases: usize,
}

/// Text in FROM, and the aliases of what it joins.
type Tree = (String, Vec<String>);

impl General<'_> {
    pub(crate) fn query(&mut self) -> String {
        let (from, aliases) = self.joined(2);
        let outputs: Vec<String> = (0..self.rng.usize(1..5))
            .map(|_| self.simple().any(&aliases))
            .collect();
        format!(
            "SELECT {} FROM {from}{}",
            named(&outputs),
            self.simple().filter(&aliases)
        )
    }

    fn simple(&mut self) -> Queries<'_> {
        Queries {
            rng: self.rng,
            tables: self.tables,
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("g{}", self.aliases)
    }

    /// A join of two or more sources, at least one of them not inner.
    fn joined(&mut self, depth: usize) -> Tree {
        let size = [2, 2, 2, 3, 3, 3][self.rng.usize(..6)];
        self.tree(size, depth)
    }

    fn tree(&mut self, size: usize, depth: usize) -> Tree {
        if size == 1 {
            let alias = self.alias();
            return (format!("{} AS {alias}", self.source(depth)), vec![alias]);
        }
        let of_left = self.rng.usize(1..size);
        let (left, mut aliases) = self.tree(of_left, depth);
        let (right, others) = self.tree(size - of_left, depth);
        let kind = pick(
            self.rng,
            &["LEFT", "LEFT", "LEFT", "RIGHT", "FULL", "INNER"],
        );
        let right = if size - of_left > 1 {
            format!("({right})")
        } else {
            right
        };
        let on = self.on(&aliases, &others, kind == "FULL");
        aliases.extend(others);
        (format!("{left} {kind} JOIN {right} ON {on}"), aliases)
    }

    fn source(&mut self, depth: usize) -> String {
        let table = self.tables[self.rng.usize(..self.tables.len())]
            .name
            .clone();
        match self.rng.u8(..12) {
            0 => format!("view_{table}"),
            1 => format!("(SELECT * FROM {table} WHERE a IS NOT NULL)"),
            2..=4 if depth > 0 => {
                let (from, aliases) = self.tree(2, depth - 1);
                format!("({})", self.rows(&from, &aliases))
            }
            5 if depth > 0 => {
                let (from, aliases) = self.tree(2, depth - 1);
                let one = self.rows(&from, &aliases);
                format!("({one} UNION ALL SELECT * FROM {table})")
            }
            _ => table,
        }
    }

    /// A query with the columns of a table, each of any of the sources.
    fn rows(&mut self, from: &str, aliases: &[String]) -> String {
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|(column, _)| {
                let alias = &aliases[self.rng.usize(..aliases.len())];
                format!("{alias}.{column}")
            })
            .collect();
        let filter = if self.rng.bool() {
            self.simple().filter(aliases)
        } else {
            String::new()
        };
        format!("SELECT {} FROM {from}{filter}", columns.join(", "))
    }

    /// A condition between two sides; one that FULL JOIN can have.
    fn on(&mut self, left: &[String], right: &[String], is_full: bool) -> String {
        let one = left[self.rng.usize(..left.len())].clone();
        let other = right[self.rng.usize(..right.len())].clone();
        let equal = match self.rng.u8(..8) {
            0 if self.rng.bool() => format!("{one}.a = {other}.a"),
            1 => format!("{one}.a = {other}.a AND {one}.b = {other}.b"),
            2 => format!("{other}.v = {one}.b AND {one}.id >= {other}.id"),
            3 => format!("{one}.e = {other}.id"),
            4 => format!("{one}.id + 1 = {other}.id"),
            5 => format!("{one}.id = abs({other}.s)"),
            _ => format!("{one}.id = {other}.id"),
        };
        match self.rng.u8(..8) {
            0 if !is_full && self.rng.bool() => format!("{one}.a < {other}.s"),
            1 if !is_full => format!("{equal} AND {one}.a <> {other}.s"),
            2 if !is_full => format!("{equal} AND {}", self.simple().condition(left)),
            3 if !is_full => format!("{equal} AND {}", self.simple().condition(right)),
            4 if !is_full && self.rng.bool() => {
                format!("({equal} OR {one}.b = {other}.b)")
            }
            _ => equal,
        }
    }
}
