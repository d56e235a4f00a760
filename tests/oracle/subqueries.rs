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
            let value = match self.rng.u8(..3) {
                0 => format!("coalesce({alias}.a, 7)"),
                1 => format!("nullif({alias}.id, {alias}.a)"),
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
