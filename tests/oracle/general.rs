//! Random queries of every shape that the general strategy claims. Every source of rows, of whatever depth, has the columns
//! of a table, so that all of them fit everywhere.

use fastrand::Rng;

use crate::generate::{COLUMNS, Queries, Table, named, pick};

/// One in so many queries has LATERAL or a function in FROM.
const LATERAL: u8 = 6;

/// Writes queries that are more than a grouping over a sum of joins.
pub(crate) struct General<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) tables: &'a [Table],
    /// Whether sums are compared within bounds, and so may be of any numbers.
    pub(crate) has_bounds: bool,
    pub(crate) aliases: usize,
    /// The queries of WITH.
    pub(crate) named: Vec<String>,
}

/// Text in FROM, and the aliases of what it joins.
type Tree = (String, Vec<String>);

impl General<'_> {
    pub(crate) fn query(&mut self) -> String {
        let mut with = Vec::new();
        if self.rng.u8(..4) == 0 {
            for number in 1..=self.rng.usize(1..3) {
                let (from, aliases) = self.tree(1, 2);
                let rows = match self.rng.u8(..3) {
                    0 => self.groups(&from, &aliases),
                    _ => self.rows(&from, &aliases),
                };
                let name = format!("w{number}");
                let materialized = pick(self.rng, &["", "MATERIALIZED ", "NOT MATERIALIZED "]);
                with.push(format!("{name} AS {materialized}({rows})"));
                self.named.push(name);
            }
        }
        let query = self.query_body();
        if with.is_empty() {
            query
        } else {
            format!("WITH {} {query}", with.join(", "))
        }
    }

    fn query_body(&mut self) -> String {
        if self.is_wider() {
            return self.wider(2);
        }
        if self.rng.u8(..3) == 0 {
            return self.grouped();
        }
        if self.rng.u8(..LATERAL) == 0 {
            return self.lateral();
        }
        if self.rng.u8(..24) == 0
            && let Some(query) = self.in_order_of_key()
        {
            return query;
        }
        let size = self.rng.usize(1..4);
        let (from, aliases) = self.tree(size, 2);
        let outputs: Vec<String> = (0..self.rng.usize(1..5))
            .map(|_| match self.rng.u8(..13) {
                0 => self.subquery(&aliases, 1),
                12 => self.array(&aliases, &["a", "b", "f", "v"]),
                1 | 2 => self.scalar(&aliases),
                _ => self.simple().any(&aliases),
            })
            .collect();
        format!(
            "SELECT {} FROM {from}{}",
            named(&outputs),
            self.filter(&aliases, 2)
        )
    }

    /// A grouping over anything.
    fn grouped(&mut self) -> String {
        let size = self.rng.usize(1..4);
        let (from, aliases) = self.tree(size, 2);
        let mut keys = if self.rng.u8(..6) == 0 {
            Vec::new()
        } else {
            self.simple().keys(&aliases)
        };
        if !keys.is_empty() && self.rng.u8(..12) == 0 {
            keys.push(if self.rng.bool() {
                self.scalar(&aliases)
            } else {
                self.subquery(&aliases, 0)
            });
        }
        let mut outputs: Vec<String> = keys
            .iter()
            .filter(|_| self.rng.u8(..5) > 0)
            .cloned()
            .collect();
        let is_all_shown = outputs.len() == keys.len();
        for _ in 0..self.rng.usize(1..4) {
            outputs.push(if is_all_shown && self.rng.u8(..5) == 0 {
                self.float_sum(&aliases)
            } else if self.rng.bool() {
                self.simple().aggregate(&aliases)
            } else {
                self.aggregate(&aliases)
            });
        }
        let group_by = if keys.is_empty() {
            String::new()
        } else {
            format!(" GROUP BY {}", keys.join(", "))
        };
        let having = match self.rng.u8(..5) {
            0 => format!(" HAVING count(*) > {}", self.rng.u8(..3)),
            1 => {
                let table = &self.tables[self.rng.usize(..self.tables.len())].name;
                let not = pick(self.rng, &["", "NOT "]);
                format!(
                    " HAVING {not}count(*) IN (SELECT h.a FROM {table} AS h) OR max({}.a) IS NULL",
                    aliases[0]
                )
            }
            _ => String::new(),
        };
        let distinct = pick(self.rng, &["", "", "", "DISTINCT "]);
        let distinct = if outputs
            .iter()
            .any(|output| output.contains('(') || output.contains(".n"))
        {
            ""
        } else {
            distinct
        };
        format!(
            "SELECT {distinct}{} FROM {from}{}{group_by}{having}",
            named(&outputs),
            self.filter(&aliases, 1)
        )
    }

    /// A sum of floating-point numbers, in no order; of such that give the same in any order where there are no bounds.
    fn float_sum(&mut self, aliases: &[String]) -> String {
        let one = &aliases[self.rng.usize(..aliases.len())];
        let part = if self.has_bounds { "3.0" } else { "4.0" };
        let sum = match self.rng.u8(..5) {
            0 => format!("sum({one}.x)"),
            1 => format!("sum({one}.a / {part}::float8)"),
            2 => format!("avg(({one}.s / {part})::real)"),
            3 => format!("sum({one}.weight * 1e15 / {part}::float8 + {one}.a)"),
            _ => format!("avg({one}.a / {part}::float8)"),
        };
        let filter = if self.rng.u8(..4) == 0 {
            format!(" FILTER (WHERE {})", self.simple().condition(aliases))
        } else {
            String::new()
        };
        match self.rng.u8(..6) {
            0 => format!("coalesce({sum}{filter}, 2)"),
            1 => format!("round({sum}{filter})::float8 * count(*) / 2"),
            2 => format!("CASE WHEN count(*) > 1 THEN {sum}{filter} END"),
            _ => format!("{sum}{filter}"),
        }
    }

    /// An aggregate that is computed anew for its group.
    fn aggregate(&mut self, aliases: &[String]) -> String {
        let one = aliases[self.rng.usize(..aliases.len())].clone();
        let other = aliases[self.rng.usize(..aliases.len())].clone();
        let filter = if self.rng.u8(..4) == 0 {
            format!(" FILTER (WHERE {})", self.simple().condition(aliases))
        } else {
            String::new()
        };
        if self.rng.u8(..8) == 0 {
            // of subqueries
            return match self.rng.u8(..4) {
                0 => format!("count(*) FILTER (WHERE {})", self.subquery(aliases, 0)),
                1 => format!("sum({})", self.scalar(aliases)),
                2 => format!(
                    "max(CASE WHEN {} THEN {one}.a ELSE 0 END)",
                    self.subquery(aliases, 0)
                ),
                _ => format!("bool_or({})", self.subquery(aliases, 0)),
            };
        }
        let exact = pick(self.rng, &["a", "e", "c", "n", "s"]);
        let simple = match self.rng.u8(..17) {
            15 => {
                format!("percentile_cont(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY {one}.{exact})")
            }
            16 => format!("percentile_disc(ARRAY[0.5, 1]) WITHIN GROUP (ORDER BY {one}.f DESC)"),
            12 => format!("sum({one}.x ORDER BY {one}.x)"),
            13 => format!("avg({one}.a::float8 / 3 ORDER BY ({one}.a::float8 / 3) DESC)"),
            14 => format!(
                "covar_pop({one}.a::float8 / 3, {other}.s::float8 ORDER BY {one}.a::float8 / 3, {other}.s::float8)"
            ),
            0 => format!("count(DISTINCT {one}.{exact})"),
            1 => format!("sum(DISTINCT {one}.a)"),
            2 => format!("stddev({one}.{exact})"),
            3 => format!("var_pop({one}.a)"),
            4 => format!("string_agg({one}.b, ', ' ORDER BY {one}.b DESC NULLS LAST)"),
            5 => format!("string_agg({one}.b, {other}.v ORDER BY {one}.b, {other}.v)"),
            6 => format!("array_agg({one}.a ORDER BY {one}.a)"),
            7 => format!("array_agg(DISTINCT {one}.f)"),
            8 => format!("jsonb_agg({one}.a ORDER BY {other}.f, {one}.a)"),
            9 => format!("bit_or({one}.a)"),
            10 => format!("percentile_cont(0.5) WITHIN GROUP (ORDER BY {one}.a)"),
            _ => format!("mode() WITHIN GROUP (ORDER BY {one}.a)"),
        };
        format!("{simple}{filter}")
    }

    /// Groups as rows of a table.
    fn groups(&mut self, from: &str, aliases: &[String]) -> String {
        let of = aliases[self.rng.usize(..aliases.len())].clone();
        let other = aliases[self.rng.usize(..aliases.len())].clone();
        let keys: Vec<&str> = [&["id"][..], &["a"], &["a", "b"], &["id", "f"], &["d"], &[]]
            [self.rng.usize(..6)]
        .to_vec();
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|(column, data_type)| {
                if keys.contains(column) {
                    return format!("{of}.{column}");
                }
                let value = match (*column, self.rng.u8(..3)) {
                    ("id" | "a", 0) => format!("max({other}.a)"),
                    ("id" | "a", 1) => format!("count({other}.b)::integer"),
                    ("id" | "a", _) => format!("min({of}.id)"),
                    ("e", _) => format!("sum({other}.a)"),
                    ("b", _) => format!("min({other}.b)"),
                    ("c", 0) => format!("avg({other}.c)::numeric(8,2)"),
                    ("d", _) => format!("bool_or({other}.d)"),
                    ("f", _) => format!("max({other}.f) FILTER (WHERE {of}.d)"),
                    ("s", _) => "count(*)::smallint".to_owned(),
                    ("h", _) => "NULL::varchar(8)".to_owned(),
                    ("weight", _) => format!("sum({other}.s)::integer"),
                    _ => format!("NULL::{data_type}"),
                };
                format!("{value} AS {column}")
            })
            .collect();
        let group_by = if keys.is_empty() {
            String::new()
        } else {
            let keys: Vec<String> = keys.iter().map(|key| format!("{of}.{key}")).collect();
            format!(" GROUP BY {}", keys.join(", "))
        };
        let having = match self.rng.u8(..4) {
            0 => " HAVING count(*) > 1",
            _ => "",
        };
        let filter = self.filter(aliases, 1);
        format!(
            "SELECT {} FROM {from}{filter}{group_by}{having}",
            columns.join(", ")
        )
    }

    /// WHERE, perhaps with subqueries, or nothing.
    pub(crate) fn filter(&mut self, aliases: &[String], depth: usize) -> String {
        match self.rng.u8(..6) {
            0 => String::new(),
            1 => format!(" WHERE {}", self.simple().condition(aliases)),
            2 if depth > 0 => format!(
                " WHERE {} AND {}",
                self.subquery(aliases, depth - 1),
                self.subquery(aliases, depth - 1)
            ),
            3 if depth > 0 => format!(
                " WHERE ({} OR {})",
                self.simple().condition(aliases),
                self.subquery(aliases, depth - 1)
            ),
            4 if depth > 0 => format!(
                " WHERE {} AND {}",
                self.simple().condition(aliases),
                self.subquery(aliases, depth - 1)
            ),
            5 if depth > 0 && self.rng.bool() => {
                format!(" WHERE {}.a <= {}", aliases[0], self.scalar(aliases))
            }
            _ if depth > 0 => format!(" WHERE {}", self.subquery(aliases, depth - 1)),
            _ => String::new(),
        }
    }

    pub(crate) fn simple(&mut self) -> Queries<'_> {
        Queries {
            rng: self.rng,
            tables: self.tables,
            has_bounds: self.has_bounds,
        }
    }

    pub(crate) fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("g{}", self.aliases)
    }

    /// Sources joined in any way.
    pub(crate) fn tree(&mut self, size: usize, depth: usize) -> Tree {
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
        let mut on = self.on(&aliases, &others, kind == "FULL");
        if depth > 0 && self.rng.u8(..12) == 0 {
            // of an outer join a subquery is about one side alone
            let of = match (kind, self.rng.bool()) {
                ("INNER", _) => [aliases.clone(), others.clone()].concat(),
                (_, true) => aliases.clone(),
                (_, false) => others.clone(),
            };
            on = format!("{on} AND {}", self.subquery(&of, 0));
        }
        aliases.extend(others);
        (format!("{left} {kind} JOIN {right} ON {on}"), aliases)
    }

    fn source(&mut self, depth: usize) -> String {
        let table = self.tables[self.rng.usize(..self.tables.len())]
            .name
            .clone();
        if !self.named.is_empty() && self.rng.u8(..3) == 0 {
            return self.named[self.rng.usize(..self.named.len())].clone();
        }
        if depth > 0 && self.is_wider() {
            return format!("({})", self.wider(depth - 1));
        }
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
                let alias = self.alias();
                let other = self.rows(&format!("{table} AS {alias}"), &[alias]);
                format!("({one} UNION ALL {other})")
            }
            6 | 7 if depth > 0 => {
                let size = self.rng.usize(1..3);
                let (from, aliases) = self.tree(size, depth - 1);
                format!("({})", self.groups(&from, &aliases))
            }
            8 if depth > 0 => {
                let (from, aliases) = self.tree(1, depth - 1);
                let alias = &aliases[0];
                let once = self.alias();
                let columns: Vec<String> = COLUMNS
                    .iter()
                    .map(|(column, data_type)| match *column {
                        "a" | "b" | "c" | "d" | "s" | "weight" => format!("{once}.{column}"),
                        "id" => format!("{once}.a AS id"),
                        "h" => "NULL::varchar(8) AS h".to_owned(),
                        _ => format!("NULL::{data_type} AS {column}"),
                    })
                    .collect();
                format!(
                    "(SELECT {} FROM (SELECT DISTINCT {alias}.a, {alias}.b, {alias}.c, {alias}.d, {alias}.s, {alias}.weight FROM {from}) AS {once})",
                    columns.join(", ")
                )
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
                match *column {
                    // constants of a domain are refused
                    "h" => "NULL::varchar(8) AS h".to_owned(),
                    _ => format!("{alias}.{column}"),
                }
            })
            .collect();
        let filter = if self.rng.bool() {
            self.filter(aliases, 1)
        } else {
            String::new()
        };
        format!("SELECT {} FROM {from}{filter}", columns.join(", "))
    }

    /// A condition between two sides; one that FULL JOIN can have.
    pub(crate) fn on(&mut self, left: &[String], right: &[String], is_full: bool) -> String {
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
