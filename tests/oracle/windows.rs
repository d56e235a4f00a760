//! Random window functions.

use crate::general::General;
use crate::generate::{COLUMNS, pick};
use crate::wider::padded;

impl General<'_> {
    /// Window functions as columns of a table.
    pub(crate) fn windowed(&mut self, depth: usize) -> String {
        if self.rng.u8(..5) == 0 {
            return self.windows_over_groups(depth);
        }
        let keyed = if self.rng.bool() { self.keyed() } else { None };
        let is_keyed = keyed.is_some();
        let (from, aliases) = keyed.unwrap_or_else(|| {
            let size = self.rng.usize(1..3);
            self.tree(size, depth.saturating_sub(1))
        });
        let filter = self.filter(&aliases, depth.min(1));
        let mut windows = Vec::new();
        for _ in 0..self.rng.usize(1..3) {
            let keys = self.partition(&aliases);
            let alias = aliases[self.rng.usize(..aliases.len())].clone();
            let order = self.ordered(&alias);
            windows.push((keys, order));
        }
        let own = aliases[0].clone();
        let mut texts = Vec::new();
        for (column, data_type) in COLUMNS {
            let text = match (*column, self.rng.u8(..4)) {
                ("h", _) => continue,
                ("id" | "a" | "e" | "weight" | "s", 0..3) => {
                    let (keys, order) = &windows[self.rng.usize(..windows.len())].clone();
                    let call = self.integer_over(keys, order, &aliases, is_keyed);
                    format!("({call})::{data_type}")
                }
                ("b" | "f" | "c", 0) => {
                    let (keys, order) = &windows[self.rng.usize(..windows.len())].clone();
                    self.value_over(column, keys, order, &own, is_keyed)
                }
                ("n", 1 | 2) => {
                    let (keys, order) = &windows[self.rng.usize(..windows.len())].clone();
                    let call = pick(self.rng, &["sum", "avg", "stddev"]);
                    let of = pick(self.rng, &["n", "c"]);
                    let frames = ["", " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING"];
                    let frame = pick(self.rng, &frames);
                    format!("{call}({own}.{of}) OVER (PARTITION BY {keys} ORDER BY {order}{frame})")
                }
                ("x", 0) => {
                    let (keys, order) = &windows[0];
                    let call = pick(self.rng, &["percent_rank()", "cume_dist()"]);
                    format!("{call} OVER (PARTITION BY {keys} ORDER BY {order})")
                }
                (_, 1) => format!("{own}.{column}"),
                _ => continue,
            };
            texts.push((*column, text));
        }
        format!("SELECT {} FROM {from}{filter}", padded(&texts))
    }

    fn partition(&mut self, aliases: &[String]) -> String {
        let keys: Vec<String> = (0..self.rng.usize(1..3))
            .map(|_| {
                let alias = &aliases[self.rng.usize(..aliases.len())];
                let column = pick(self.rng, &["a", "b", "d", "f", "s", "c", "id"]);
                match self.rng.u8(..8) {
                    0 => format!("({alias}.a + 1)"),
                    _ => format!("{alias}.{column}"),
                }
            })
            .collect();
        keys.join(", ")
    }

    /// A window function that gives a whole number.
    fn integer_over(
        &mut self,
        keys: &str,
        order: &str,
        aliases: &[String],
        is_keyed: bool,
    ) -> String {
        let own = aliases[0].clone();
        let alias = aliases[self.rng.usize(..aliases.len())].clone();
        // every row of the first source is there but once
        let total = format!("PARTITION BY {keys} ORDER BY {order}, {own}.id");
        if is_keyed && self.rng.bool() {
            let rows = pick(
                self.rng,
                &[
                    "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
                    "ROWS UNBOUNDED PRECEDING",
                    "ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW",
                    "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE TIES",
                ],
            );
            return match self.rng.u8(..6) {
                0 => format!("row_number() OVER ({total})"),
                1 => format!("lag({alias}.a) OVER ({total})"),
                2 => format!("lead({alias}.s, 2, 7::smallint) OVER ({total})"),
                3 => format!("ntile(3) OVER ({total})"),
                4 => format!("sum({alias}.a) OVER ({total} {rows})"),
                _ => format!("nth_value({alias}.a, 2) OVER ({total} {rows})"),
            };
        }
        let filter = if self.rng.u8(..4) == 0 {
            format!(" FILTER (WHERE {})", self.simple().condition(aliases))
        } else {
            String::new()
        };
        let frame = pick(
            self.rng,
            &[
                "",
                "",
                " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " GROUPS 2 PRECEDING EXCLUDE GROUP",
                " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE TIES",
            ],
        );
        let window = format!("(PARTITION BY {keys} ORDER BY {order}{frame})");
        match self.rng.u8(..8) {
            0 => format!("rank() OVER (PARTITION BY {keys} ORDER BY {order})"),
            1 => format!("dense_rank() OVER (PARTITION BY {keys} ORDER BY {order})"),
            2 => format!("count(*){filter} OVER (PARTITION BY {keys})"),
            3 => format!("count({alias}.b){filter} OVER {window}"),
            4 => format!("max({alias}.a){filter} OVER {window}"),
            5 => format!(
                "sum({alias}.a) OVER (PARTITION BY {keys} ORDER BY {alias}.s RANGE BETWEEN 1 PRECEDING AND 2 FOLLOWING)"
            ),
            6 => format!("min({alias}.id) OVER {window}"),
            _ => format!("sum({alias}.a){filter} OVER {window}"),
        }
    }

    /// A window function that gives a value of a column.
    fn value_over(
        &mut self,
        column: &str,
        keys: &str,
        order: &str,
        own: &str,
        is_keyed: bool,
    ) -> String {
        if is_keyed && self.rng.bool() {
            let call = pick(self.rng, &["lag", "lead", "first_value", "last_value"]);
            return format!(
                "{call}({own}.{column}) OVER (PARTITION BY {keys} ORDER BY {order}, {own}.id)"
            );
        }
        match self.rng.u8(..3) {
            0 => format!(
                "first_value({own}.{column}) OVER (PARTITION BY {keys} ORDER BY {order}, {own}.{column} DESC)"
            ),
            1 => format!(
                "last_value({own}.{column}) OVER (PARTITION BY {keys} ORDER BY {own}.{column})"
            ),
            _ => format!("max({own}.{column}) OVER (PARTITION BY {keys} ORDER BY {order})")
                .replace("max(", if column == "b" { "min(" } else { "max(" }),
        }
    }

    fn windows_over_groups(&mut self, depth: usize) -> String {
        let size = self.rng.usize(1..3);
        let (from, aliases) = self.tree(size, depth.saturating_sub(1));
        let filter = self.filter(&aliases, depth.min(1));
        let (own, other) = (aliases[0].clone(), aliases[aliases.len() - 1].clone());
        let keys = pick(self.rng, &["a, b", "id, d", "a, f", "b, s", "a, b, d"]);
        let keys: Vec<&str> = keys.split(", ").collect();
        let listed: Vec<String> = keys.iter().map(|key| format!("{own}.{key}")).collect();
        let by = &listed[self.rng.usize(..listed.len())];
        let all = listed.join(", ");
        let mut texts: Vec<(&str, String)> = keys
            .iter()
            .zip(&listed)
            .map(|(key, text)| (*key, text.clone()))
            .collect();
        texts.push((
            "e",
            format!("sum(count(*)) OVER (PARTITION BY {by} ORDER BY {all})::bigint"),
        ));
        texts.push((
            "weight",
            format!(
                "(row_number() OVER (PARTITION BY {by} ORDER BY max({other}.a), {all}))::integer"
            ),
        ));
        texts.push((
            "x",
            format!("percent_rank() OVER (PARTITION BY {by} ORDER BY count({other}.b))"),
        ));
        let having = pick(self.rng, &["", " HAVING count(*) > 1"]);
        format!(
            "SELECT {} FROM {from}{filter} GROUP BY {all}{having}",
            padded(&texts)
        )
    }
}
