//! Random subqueries in expressions.

use crate::general::General;
use crate::generate::{COLUMNS, pick};
use crate::wider::padded;

impl General<'_> {
    /// Rows with the columns of a table, some of them by subqueries.
    pub(crate) fn with_answers(&mut self, depth: usize) -> String {
        let size = self.rng.usize(1..3);
        let (from, aliases) = self.tree(size, depth.saturating_sub(1));
        let mut texts = Vec::new();
        for (column, _) in COLUMNS.iter().filter(|(column, _)| *column != "h") {
            // subqueries have sources of their own: no end of them
            let is_asked = depth > 0 && self.rng.u8(..3) == 0;
            let text = match *column {
                "id" | "a" | "weight" if is_asked => self.scalar(&aliases),
                "d" if is_asked => self.subquery(&aliases, 1),
                "g" if is_asked => self.array(&aliases, &["a", "id"]),
                "w" if is_asked => self.array(&aliases, &["b"]),
                "b" if is_asked => self.put_together(&aliases),
                _ => format!("{}.{column}", aliases[self.rng.usize(..aliases.len())]),
            };
            texts.push((*column, text));
        }
        let filter = self.filter(&aliases, depth.min(1));
        format!("SELECT {} FROM {from}{filter}", padded(&texts))
    }

    /// An integer by a subquery.
    pub(crate) fn scalar(&mut self, outside: &[String]) -> String {
        let outer = outside[self.rng.usize(..outside.len())].clone();
        if self.rng.u8(..8) == 0 {
            return self.number_by_row(&outer);
        }
        if self.rng.u8(..24) == 0 {
            return self.number_anywhere(&outer);
        }
        let keyed: Vec<String> = self
            .tables
            .iter()
            .filter(|table| table.has_key)
            .map(|table| table.name.clone())
            .collect();
        if !keyed.is_empty() && self.rng.u8(..4) == 0 {
            let table = &keyed[self.rng.usize(..keyed.len())];
            let alias = self.alias();
            let filter = pick(self.rng, &["", " AND weight > 1"]);
            let value = match self.rng.u8(..5) {
                0 => format!("coalesce({alias}.a, 7)"),
                1 => format!("nullif({alias}.id, {alias}.a)"),
                // NULL where there is no row only
                2 => format!("{alias}.id"),
                3 => format!("{alias}.id * 2"),
                _ => format!("{alias}.a"),
            };
            return format!(
                "(SELECT {value} FROM {table} AS {alias} WHERE {alias}.id = {outer}.a{filter})"
            );
        }
        if self.rng.u8(..8) == 0 {
            return self.first_value(&outer);
        }
        if self.rng.u8(..8) == 0 {
            let (from, aliases) = self.tree(1, 1);
            let own = &aliases[0];
            let offset = pick(self.rng, &["", " OFFSET 1"]);
            return format!("(SELECT {own}.a FROM {from} ORDER BY {own}.a DESC LIMIT 1{offset})");
        }
        let size = [1, 1, 2][self.rng.usize(..3)];
        let (from, aliases) = self.tree(size, 1);
        let own = aliases[self.rng.usize(..aliases.len())].clone();
        let value = match self.rng.u8(..6) {
            0 => "count(*)::integer".to_owned(),
            1 => format!("(sum({own}.a) + count({own}.b))::integer"),
            2 => format!("coalesce(min({own}.id), 7)"),
            3 => format!("(count({own}.d) FILTER (WHERE {own}.d))::integer"),
            _ => format!("max({own}.a)"),
        };
        let link = match self.rng.u8(..5) {
            0 => String::new(),
            1 => format!("{own}.a = {outer}.a"),
            2 => format!("{own}.id = {outer}.a AND {own}.b = {outer}.b"),
            3 => format!("{own}.id + 1 = {outer}.id"),
            _ => format!("{own}.id = {outer}.id"),
        };
        let filter = self.filter(&aliases, 0);
        let filter = match (filter.is_empty(), link.is_empty()) {
            (_, true) => filter,
            (true, false) => format!(" WHERE {link}"),
            (false, false) => format!("{filter} AND {link}"),
        };
        format!("(SELECT {value} FROM {from}{filter})")
    }

    /// A boolean by a subquery.
    pub(crate) fn subquery(&mut self, outside: &[String], depth: usize) -> String {
        if self.rng.u8(..10) == 0 {
            let outer = outside[self.rng.usize(..outside.len())].clone();
            return self.truth_by_row(&outer);
        }
        if self.rng.u8(..24) == 0 {
            let outer = outside[self.rng.usize(..outside.len())].clone();
            return self.truth_anywhere(&outer);
        }
        let size = [1, 1, 1, 2][self.rng.usize(..4)];
        let (from, aliases) = self.tree(size, depth.min(1));
        let mut filter = if depth > 0 && self.rng.u8(..8) == 0 {
            self.further_in(outside, &aliases)
        } else {
            self.filter(&aliases, depth)
        };
        let is_correlated = self.rng.u8(..4) > 0;
        let is_exists = self.rng.u8(..5) < 2;
        if is_correlated {
            let link = self.on(outside, &aliases, false);
            filter = if filter.is_empty() {
                format!(" WHERE {link}")
            } else {
                format!("{filter} AND {link}")
            };
        }
        let not = pick(self.rng, &["", "", "NOT "]);
        if is_exists {
            let limit = pick(self.rng, &["", "", "", " LIMIT 1"]);
            return format!("{not}EXISTS (SELECT 1 FROM {from}{filter}{limit})");
        }
        let columns = [
            ["a", "id"],
            ["a", "s"],
            ["id", "weight"],
            ["b", "b"],
            ["f", "f"],
        ];
        let [one, other] = columns[self.rng.usize(..columns.len())];
        let own = &aliases[self.rng.usize(..aliases.len())];
        let alias = &outside[self.rng.usize(..outside.len())];
        match self.rng.u8(..8) {
            0 => format!("{not}{alias}.{one} < ANY (SELECT {own}.{other} FROM {from}{filter})"),
            1 => format!("{not}{alias}.{one} <> ALL (SELECT {own}.{other} FROM {from}{filter})"),
            2 => format!(
                "{not}({alias}.{one}, {alias}.id) IN (SELECT {own}.{other}, {own}.id FROM {from}{filter})"
            ),
            _ => format!("{alias}.{one} {not}IN (SELECT {own}.{other} FROM {from}{filter})"),
        }
    }

    /// A subquery of a subquery that depends on the row outside of both.
    fn further_in(&mut self, outside: &[String], aliases: &[String]) -> String {
        let (from, own) = self.tree(1, 0);
        let link = self.on(aliases, &own, false);
        let further = self.on(outside, &own, false);
        let both = aliases[0].clone();
        if self.rng.bool() {
            format!(" WHERE EXISTS (SELECT 1 FROM {from} WHERE {link} AND {further})")
        } else {
            let column = pick(self.rng, &["a", "id"]);
            format!(
                " WHERE {both}.{column} IN (SELECT {}.id FROM {from} WHERE {further})",
                own[0]
            )
        }
    }

    /// The value in the first of the rows that go with a row outside.
    fn first_value(&mut self, outer: &str) -> String {
        let (from, aliases) = self.tree(1, 1);
        let own = &aliases[0];
        let column = pick(self.rng, &["a", "id"]);
        let offset = pick(self.rng, &["", "", " OFFSET 1"]);
        let direction = pick(self.rng, &["", " DESC", " NULLS FIRST"]);
        format!(
            "(SELECT {own}.a FROM {from} WHERE {own}.{column} = {outer}.a ORDER BY {own}.s, {own}.a{direction} LIMIT 1{offset})"
        )
    }

    /// An array by a subquery.
    pub(crate) fn array(&mut self, outside: &[String], columns: &[&'static str]) -> String {
        let outer = outside[self.rng.usize(..outside.len())].clone();
        let column = pick(self.rng, columns);
        if self.rng.u8(..6) == 0 && column != "f" {
            return match column {
                "b" | "v" => format!(
                    "ARRAY(SELECT DISTINCT e.x COLLATE \"default\" FROM unnest({outer}.w) AS e(x) WHERE e.x <> {outer}.b ORDER BY e.x COLLATE \"default\")"
                ),
                _ => format!(
                    "ARRAY(SELECT unnest({outer}.g) + {outer}.a AS x ORDER BY unnest({outer}.g) + {outer}.a DESC)"
                ),
            };
        }
        if let (Some((from, aliases)), true) = (self.keyed(), self.rng.bool()) {
            let own = &aliases[0];
            let limit = pick(self.rng, &["", "", " LIMIT 2"]);
            return format!(
                "ARRAY(SELECT {own}.{column} FROM {from} WHERE {own}.a = {outer}.a ORDER BY {own}.s DESC, {own}.id{limit})"
            );
        }
        let (from, aliases) = self.tree(1, 1);
        let own = &aliases[0];
        let link = pick(
            self.rng,
            &["a = OUTER.a", "id = OUTER.e", "d", "id = OUTER.id"],
        )
        .replace("OUTER", &outer);
        let distinct = pick(self.rng, &["", "DISTINCT "]);
        format!(
            "ARRAY(SELECT {distinct}{own}.{column} FROM {from} WHERE {own}.{link} ORDER BY {own}.{column})"
        )
    }

    /// An integer that a subquery makes of the row outside alone.
    fn number_by_row(&mut self, outer: &str) -> String {
        let forms = [
            "(SELECT count(*) FILTER (WHERE e.x > OF.a) FROM unnest(OF.g) AS e(x))::integer",
            "(SELECT sum(e.x * OF.s)::integer FROM unnest(OF.g) WITH ORDINALITY AS e(x, n) WHERE e.n > 1)",
            "(SELECT max(e.x) FROM (VALUES (OF.a), (OF.id + 1), (NULL)) AS e(x))",
            "(SELECT count(DISTINCT e.x)::integer FROM jsonb_array_elements(OF.j -> 'a') AS e(x))",
            "(SELECT max(y.y + e.x) FROM unnest(OF.g) AS e(x), generate_series(1, e.x % 4) AS y(y))",
            "(SELECT OF.a + 1 WHERE OF.d)",
        ];
        pick(self.rng, &forms).replace("OF", outer)
    }

    /// A boolean that a subquery makes of the row outside alone.
    fn truth_by_row(&mut self, outer: &str) -> String {
        let forms = [
            "EXISTS (SELECT 1 FROM unnest(OF.w) AS e(x) WHERE e.x LIKE 'x%')",
            "NOT EXISTS (SELECT 1 FROM unnest(OF.g) AS e(x) WHERE e.x = OF.a)",
            "OF.a IN (SELECT e.x FROM unnest(OF.g) AS e(x) WHERE e.x > 0)",
            "OF.a NOT IN (SELECT unnest(OF.g))",
            "OF.id > ALL (SELECT e.x FROM unnest(OF.g) AS e(x))",
            "EXISTS (SELECT 1 FROM unnest(OF.g) AS e(x) WHERE e.x IN (SELECT y.y FROM generate_series(0, e.x) AS y(y) WHERE y.y = OF.s::integer))",
        ];
        pick(self.rng, &forms).replace("OF", outer)
    }

    /// A text by a subquery that puts together texts in the order of a unique key.
    fn put_together(&mut self, outside: &[String]) -> String {
        let outer = outside[self.rng.usize(..outside.len())].clone();
        let Some((from, aliases)) = self.keyed() else {
            return format!("{outer}.b");
        };
        let (own, other) = (&aliases[0], &aliases[aliases.len() - 1]);
        format!(
            "(SELECT string_agg({other}.b, ',' ORDER BY {own}.s, {own}.id) FROM {from} WHERE {own}.a = {outer}.a)"
        )
    }

    /// A grouping whose aggregates take rows in the order of a unique key.
    pub(crate) fn in_order_of_key(&mut self) -> Option<String> {
        let (from, aliases) = self.keyed()?;
        let (own, other) = (&aliases[0], &aliases[aliases.len() - 1]);
        let direction = pick(self.rng, &["", " DESC"]);
        let group_by = pick(
            self.rng,
            &[" GROUP BY OWN.a", " GROUP BY ROLLUP (OWN.a)", ""],
        );
        let group_by = group_by.replace("OWN", own);
        let filter = self.filter(&aliases, 1);
        Some(format!(
            "SELECT count(*) AS o0, array_agg({other}.n ORDER BY {own}.s, {own}.id{direction}) AS o1, string_agg({other}.b, {own}.v ORDER BY {own}.id) FILTER (WHERE {other}.d) AS o2, jsonb_agg({own}.n ORDER BY {own}.id) AS o3 FROM {from}{filter}{group_by}"
        ))
    }
}
