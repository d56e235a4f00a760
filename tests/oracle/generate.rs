//! Random tables, queries and changes, all from one seed.

use fastrand::Rng;

use crate::general::General;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Whether `id` is its primary key.
    pub(crate) has_key: bool,
    /// Which of the [`COLUMNS`] are NOT NULL, by bits.
    pub(crate) not_null: u32,
}

impl Table {
    pub(crate) fn is_not_null(&self, column: usize) -> bool {
        self.not_null >> column & 1 == 1
    }
}

/// The columns of every table, with their types; small domains make rows meet.
pub(crate) const COLUMNS: &[(&str, &str)] = &[
    ("id", "integer"),
    ("a", "integer"),
    ("e", "bigint"),
    ("b", "text"),
    ("c", "numeric(8,2)"),
    ("n", "numeric"),
    ("d", "boolean"),
    ("f", "date"),
    ("v", "varchar(8)"),
    ("s", "smallint"),
    ("weight", "integer"),
    ("x", "float8"),
    ("u", "uuid"),
    ("p", "timestamptz"),
    ("j", "jsonb"),
    ("q", "json"),
    ("g", "integer[]"),
    ("m", "kinds.mood"),
    ("h", "kinds.short"),
    ("k", "text COLLATE \"C\""),
    ("w", "text[]"),
];

pub(crate) fn tables(rng: &mut Rng) -> Vec<Table> {
    // what is done by keys takes several tables that have some
    let have_keys = rng.u8(..3) == 0;
    let count = if have_keys { 3 } else { rng.usize(1..=3) };
    (1..=count)
        .map(|number| Table {
            name: format!("t{number}"),
            has_key: have_keys || rng.bool(),
            not_null: if rng.u8(..3) == 0 { rng.u32(..) } else { 0 },
        })
        .collect()
}

pub(crate) fn pick<'a>(rng: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[rng.usize(..choices.len())]
}

/// A constant for a column of a table.
fn value(rng: &mut Rng, table: &Table, column: usize) -> String {
    if rng.u8(..6) == 0 && !table.is_not_null(column) {
        return "NULL".to_owned();
    }
    match COLUMNS[column].1 {
        "integer" | "smallint" => rng.i32(-1..5).to_string(),
        "bigint" => pick(rng, &["0", "1", "-7", "9000000000"]).to_owned(),
        "text" => pick(rng, &["'x'", "'y'", "'Z'", "''"]).to_owned(),
        "varchar(8)" => pick(rng, &["'x'", "'y'", "'w'"]).to_owned(),
        "numeric(8,2)" => pick(rng, &["1.50", "2", "-0.25", "100"]).to_owned(),
        "numeric" => pick(
            rng,
            &[
                "1.5",
                "1.50",
                "2",
                "-0.125",
                "0",
                "1000000000000.1",
                "2",
                "3",
                "'NaN'",
                "'Infinity'",
                "'-Infinity'",
            ],
        )
        .to_owned(),
        "float8" => pick(rng, &["0", "'-0'", "0.1", "1e300", "'NaN'", "'-Infinity'"]).to_owned(),
        "uuid" => format!("'00000000-0000-0000-0000-00000000000{}'", rng.u8(..3)),
        "timestamptz" => format!("'2024-01-01 00:00:00+0{}'", rng.u8(..3)),
        "jsonb" => pick(rng, &["'1.0'", "'1.00'", "'{\"a\": [1]}'", "'null'"]).to_owned(),
        "json" => pick(rng, &["'1'", "' 1'", "'{}'"]).to_owned(),
        "text[]" => pick(rng, &["'{}'", "'{x,NULL}'", "'{x,y}'"]).to_owned(),
        "integer[]" => pick(rng, &["'{}'", "'{1,NULL}'", "'{1,2}'"]).to_owned(),
        "kinds.mood" => pick(rng, &["'sad'", "'ok'", "'happy'"]).to_owned(),
        "kinds.short" => pick(rng, &["'x'", "'y'"]).to_owned(),
        "text COLLATE \"C\"" => pick(rng, &["'x'", "'X'"]).to_owned(),
        "boolean" => pick(rng, &["true", "false"]).to_owned(),
        _ => format!("date '2024-01-0{}'", rng.u8(1..4)),
    }
}

fn row(rng: &mut Rng, table: &Table, id: i32) -> String {
    let values: Vec<String> = (1..COLUMNS.len())
        .map(|column| value(rng, table, column))
        .collect();
    format!("({id}, {})", values.join(", "))
}

/// INSERT of rows whose ids lie from `from` on.
pub(crate) fn insert(rng: &mut Rng, table: &Table, from: i32) -> String {
    // low ones are what the other columns refer to
    let ids = if rng.bool() { 0..6 } else { 0..30 };
    let rows: Vec<String> = (0..rng.i32(1..8))
        .map(|_| {
            let id = from + rng.i32(ids.clone());
            row(rng, table, id)
        })
        .collect();
    let rows = rows.join(", ");
    format!(
        "INSERT INTO {} VALUES {rows} ON CONFLICT DO NOTHING;",
        table.name
    )
}

/// Any change of rows whose ids lie from `from` to below `below`.
pub(crate) fn change(rng: &mut Rng, table: &Table, from: i32, below: i32) -> String {
    let name = &table.name;
    let range = format!("id >= {from} AND id < {below}");
    match rng.u8(..8) {
        0..=2 => insert(rng, table, from),
        3 => format!(
            "DELETE FROM {name} WHERE {range} AND id % {} = {};",
            rng.u8(2..5),
            rng.u8(..2)
        ),
        4 => format!("DELETE FROM {name} WHERE {range} AND a = {};", rng.u8(..4)),
        5 if !table.has_key => {
            format!("INSERT INTO {name} SELECT * FROM {name} WHERE {range} AND id % 3 = 0;")
        }
        6 if !table.has_key => {
            format!("UPDATE {name} SET id = id + 1 WHERE {range} AND id < {below} - 1;")
        }
        7 if rng.u8(..6) == 0 => format!("DELETE FROM {name} WHERE {range};"),
        _ => {
            let column = rng.usize(1..COLUMNS.len());
            format!(
                "UPDATE {name} SET {} = {} WHERE {range} AND id % {} = 0;",
                COLUMNS[column].0,
                value(rng, table, column),
                rng.u8(1..5)
            )
        }
    }
}

/// Writes queries over some tables.
#[derive(Debug)]
pub(crate) struct Queries<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) tables: &'a [Table],
    /// Whether sums are compared within bounds, and so may be of any numbers.
    pub(crate) has_bounds: bool,
}

impl Queries<'_> {
    /// A query that the engine must take.
    pub(crate) fn query(&mut self) -> String {
        match self.rng.u8(..8) {
            0..4 => General {
                rng: self.rng,
                tables: self.tables,
                has_bounds: self.has_bounds,
                aliases: 0,
                named: Vec::new(),
            }
            .query(),
            4 => self.star(),
            _ => self.simple(),
        }
    }

    fn simple(&mut self) -> String {
        match self.rng.u8(..12) {
            0 => {
                let all = if self.rng.bool() { " ALL" } else { "" };
                let columns = ["a", "b", "c", "f"];
                let arm = |this: &mut Self| {
                    let (from, aliases) = this.from();
                    let alias = &aliases[this.rng.usize(..aliases.len())];
                    let listed: Vec<String> =
                        columns.iter().map(|c| format!("{alias}.{c}")).collect();
                    format!(
                        "SELECT {} FROM {from}{}",
                        listed.join(", "),
                        this.filter(&aliases)
                    )
                };
                let (left, right) = (arm(self), arm(self));
                // without ALL over the numeric columns of fixed digits only
                if self.rng.bool() {
                    format!("{left} UNION{all} {right}")
                } else {
                    let inner = format!("{left} UNION ALL {right}");
                    format!(
                        "SELECT u.b, count(*) AS n, sum(u.c) AS s, max(u.f) AS m FROM ({inner}) AS u WHERE u.a IS DISTINCT FROM 3 GROUP BY u.b"
                    )
                }
            }
            1 | 2 => {
                let (from, aliases) = self.from();
                let keys = self.keys(&aliases);
                format!(
                    "SELECT DISTINCT {} FROM {from}{}",
                    named(&keys),
                    self.filter(&aliases)
                )
            }
            3..=5 => {
                let (from, aliases) = self.from();
                let outputs: Vec<String> = (0..self.rng.usize(1..5))
                    .map(|_| self.any(&aliases))
                    .collect();
                format!(
                    "SELECT {} FROM {from}{}",
                    named(&outputs),
                    self.filter(&aliases)
                )
            }
            _ => self.grouped(),
        }
    }

    /// Tables found by their keys, starting from one whose key is shown.
    fn star(&mut self) -> String {
        let mut aliases: Vec<String> = Vec::new();
        let mut text = String::new();
        let mut tables: Vec<usize> = (0..self.tables.len()).collect();
        self.rng.shuffle(&mut tables);
        for (number, table) in tables.iter().cycle().take(self.rng.usize(3..5)).enumerate() {
            let alias = format!("r{number}");
            let item = format!("{} AS {alias}", self.tables[*table].name);
            text = if number == 0 {
                item
            } else {
                let by = self.column(&aliases, &["a", "s", "id", "weight"]);
                format!("{text} JOIN {item} ON {by} = {alias}.id")
            };
            aliases.push(alias);
        }
        let shown = (0..self.rng.usize(2..5)).map(|_| self.any(&aliases));
        let outputs: Vec<String> = std::iter::once("r0.id".to_owned()).chain(shown).collect();
        format!(
            "SELECT {} FROM {text}{}",
            named(&outputs),
            self.filter(&aliases)
        )
    }

    fn grouped(&mut self) -> String {
        let (from, aliases) = self.from();
        let keys = if self.rng.u8(..6) == 0 {
            Vec::new()
        } else {
            self.keys(&aliases)
        };
        let mut outputs: Vec<String> = keys
            .iter()
            .filter(|_| self.rng.u8(..5) > 0)
            .cloned()
            .collect();
        for _ in 0..self.rng.usize(1..4) {
            outputs.push(self.aggregate(&aliases));
        }
        let group_by = if keys.is_empty() {
            String::new()
        } else {
            format!(" GROUP BY {}", keys.join(", "))
        };
        let having = match self.rng.u8(..4) {
            0 => format!(" HAVING count(*) > {}", self.rng.u8(..3)),
            1 => {
                let alias = &aliases[0];
                format!(
                    " HAVING sum({alias}.a) > {} OR max({alias}.f) IS NULL",
                    self.rng.i8(-2..6)
                )
            }
            _ => String::new(),
        };
        format!(
            "SELECT {} FROM {from}{}{group_by}{having}",
            named(&outputs),
            self.filter(&aliases)
        )
    }

    pub(crate) fn keys(&mut self, aliases: &[String]) -> Vec<String> {
        (0..self.rng.usize(1..4))
            .map(|_| match self.rng.u8(..5) {
                0 => format!("({}) > 1", self.integer(aliases)),
                1 => format!("coalesce({}, 'none')", self.column(aliases, &["b"])),
                2 => self.integer(aliases),
                _ => self.column(
                    aliases,
                    &["a", "b", "d", "f", "c", "e", "v", "weight", "u", "p", "m"],
                ),
            })
            .collect()
    }

    pub(crate) fn aggregate(&mut self, aliases: &[String]) -> String {
        let filter = if self.rng.u8(..4) == 0 {
            format!(" FILTER (WHERE {})", self.condition(aliases))
        } else {
            String::new()
        };
        let simple = match self.rng.u8(..11) {
            0 => "count(*)".to_owned(),
            1 => format!("count({})", self.any(aliases)),
            2 => format!("sum({})", self.integer(aliases)),
            3 => format!("sum({})", self.column(aliases, &["c", "n", "e", "s", "n"])),
            4 => format!("avg({})", self.column(aliases, &["a", "c", "n", "e", "s"])),
            5 => format!("bool_and({})", self.condition(aliases)),
            6 => format!("bool_or({})", self.column(aliases, &["d"])),
            7 => format!("every({})", self.column(aliases, &["d"])),
            8 => format!(
                "sum({} * {})",
                self.column(aliases, &["c"]),
                self.column(aliases, &["c", "n"])
            ),
            9 => format!(
                "min({})",
                self.column(aliases, &["a", "b", "c", "f", "e", "s"])
            ),
            _ => format!(
                "max({})",
                self.column(aliases, &["a", "b", "c", "f", "e", "v"])
            ),
        };
        match self.rng.u8(..6) {
            0 => format!("coalesce(({simple}{filter})::text, 'nothing')"),
            1 => format!("({simple}{filter}) IS NULL"),
            _ => format!("{simple}{filter}"),
        }
    }

    fn from(&mut self) -> (String, Vec<String>) {
        let mut aliases: Vec<String> = Vec::new();
        let mut text = String::new();
        let count = [1, 1, 2, 2, 2, 3, 3, 4, 6][self.rng.usize(..9)];
        for number in 0..count {
            let table = self.tables[self.rng.usize(..self.tables.len())]
                .name
                .clone();
            let alias = format!("r{number}");
            let item = match self.rng.u8(..8) {
                0 => format!("(SELECT * FROM {table} WHERE {table}.a IS NOT NULL) AS {alias}"),
                1 => format!("view_{table} AS {alias}"),
                _ => format!("{table} AS {alias}"),
            };
            if number == 0 {
                text = item;
            } else {
                let other = aliases[self.rng.usize(..aliases.len())].clone();
                // large joins stay small only by their keys
                let choice = if count > 3 { 0 } else { self.rng.u8(..8) };
                text = match choice {
                    1 => format!("{text} JOIN {item} ON {other}.a = {alias}.a"),
                    2 => format!(
                        "{text} JOIN {item} ON {other}.a < {alias}.id AND {other}.b = {alias}.b"
                    ),
                    3 if number == 1 => format!("{text} JOIN {item} USING (id, b)"),
                    6 => format!("{text} JOIN {item} ON {other}.a = {alias}.id"),
                    4 if count == 2 => format!("{text} CROSS JOIN {item}"),
                    5 => format!(
                        "{text} JOIN {item} ON {other}.v = {alias}.b AND {other}.id > {alias}.id"
                    ),
                    _ => format!("{text} JOIN {item} ON {other}.id = {alias}.id"),
                };
            }
            aliases.push(alias);
        }
        (text, aliases)
    }

    fn column(&mut self, aliases: &[String], of: &[&str]) -> String {
        format!(
            "{}.{}",
            aliases[self.rng.usize(..aliases.len())],
            pick(self.rng, of)
        )
    }

    fn integer(&mut self, aliases: &[String]) -> String {
        let column = self.column(aliases, &["a", "id", "weight"]);
        match self.rng.u8(..6) {
            0 => format!("{column} + {}", self.column(aliases, &["a", "s"])),
            1 => format!("abs({column}) * 2"),
            2 => format!(
                "CASE WHEN {} THEN {column} ELSE 7 END",
                self.condition(aliases)
            ),
            3 => format!("CASE {column} WHEN 1 THEN 2 WHEN 2 THEN NULL END"),
            4 => format!("nullif({column}, 2)"),
            _ => column,
        }
    }

    pub(crate) fn any(&mut self, aliases: &[String]) -> String {
        match self.rng.u8(..10) {
            0 => self.integer(aliases),
            1 => format!("upper({}) || '-'", self.column(aliases, &["b", "v"])),
            2 => format!("extract(day FROM {})", self.column(aliases, &["f"])),
            3 => format!(
                "{} * {}",
                self.column(aliases, &["c", "n"]),
                self.column(aliases, &["c", "a"])
            ),
            4 => format!("({} + 0.5)::numeric(6,1)", self.column(aliases, &["c"])),
            5 => format!("greatest({}, 1)", self.column(aliases, &["a"])),
            6 => format!("{}::float8 / 3", self.column(aliases, &["a"])),
            7 => self.column(aliases, &["x", "u", "p", "j", "q", "m", "k", "w"]),
            _ => self.column(
                aliases,
                &["a", "b", "c", "n", "d", "f", "e", "v", "s", "id", "weight"],
            ),
        }
    }

    pub(crate) fn filter(&mut self, aliases: &[String]) -> String {
        if self.rng.u8(..3) == 0 {
            String::new()
        } else {
            format!(" WHERE {}", self.condition(aliases))
        }
    }

    pub(crate) fn condition(&mut self, aliases: &[String]) -> String {
        if self.rng.u8(..60) == 0 {
            let alias = &aliases[self.rng.usize(..aliases.len())];
            return format!("to_jsonb({alias})::text LIKE '%1%'");
        }
        match self.rng.u8(..12) {
            10 => format!("1 = ANY ({})", self.column(aliases, &["g"])),
            11 => format!(
                "{} > {}",
                self.column(aliases, &["x"]),
                self.column(aliases, &["x", "c"])
            ),
            0 => format!(
                "({} OR {})",
                self.condition(aliases),
                self.condition(aliases)
            ),
            1 => format!(
                "({} AND {})",
                self.condition(aliases),
                self.condition(aliases)
            ),
            2 => format!("NOT {}", self.condition(aliases)),
            3 => format!("{} IS NULL", self.column(aliases, &["a", "b", "d"])),
            4 => format!("{} IN ('x', 'y')", self.column(aliases, &["b", "v"])),
            5 => format!("{} IS NOT TRUE", self.column(aliases, &["d"])),
            6 => format!(
                "{} BETWEEN 0 AND 3",
                self.column(aliases, &["a", "id", "e"])
            ),
            7 => format!("{} LIKE '%x%'", self.column(aliases, &["b", "v"])),
            8 => format!(
                "{} IS DISTINCT FROM {}",
                self.column(aliases, &["a"]),
                self.column(aliases, &["a"])
            ),
            _ => format!(
                "{} <> {}",
                self.column(aliases, &["a", "c", "n"]),
                self.rng.u8(..4)
            ),
        }
    }
}

pub(crate) fn named(outputs: &[String]) -> String {
    let named: Vec<String> = outputs
        .iter()
        .enumerate()
        .map(|(number, output)| format!("{output} AS o{number}"))
        .collect();
    named.join(", ")
}
