//! Random queries with LATERAL, functions that give sets, values that depend on kept settings, and functions of any type.

use crate::anywhere::ITEMS;
use crate::general::General;
use crate::generate::{named, pick};

/// What may be selected of an item of FROM that depends on others, and by which it may be grouped.
struct Item {
    text: String,
    columns: Vec<String>,
    can_be_key: bool,
}

impl General<'_> {
    /// A query that has some of it.
    pub(crate) fn lateral(&mut self) -> String {
        let size = self.rng.usize(1..3);
        let depth = self.rng.usize(..2);
        let (mut from, aliases) = self.tree(size, depth);
        let mut outputs = Vec::new();
        let mut keys = Vec::new();
        for _ in 0..self.rng.usize(1..3) {
            let of = aliases[self.rng.usize(..aliases.len())].clone();
            let item = self.item(&of);
            from += &item.text;
            if item.can_be_key {
                keys.extend(item.columns.iter().take(1).cloned());
            }
            outputs.extend(item.columns);
        }
        let filter = if self.rng.u8(..3) == 0 {
            self.filter(&aliases, 1)
        } else {
            String::new()
        };
        if !keys.is_empty() && self.rng.u8(..3) == 0 {
            let key = pick(
                self.rng,
                &keys.iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .to_owned();
            let total = self.aggregated(&aliases);
            return format!(
                "SELECT {key} AS o0, count(*) AS o1, {total} AS o2 FROM {from}{filter} GROUP BY {key}"
            );
        }
        if self.rng.u8(..8) == 0 {
            let (key, total) = (self.set(&aliases), self.aggregated(&aliases));
            return format!("SELECT {key} AS o0, {total} AS o1 FROM {from}{filter} GROUP BY {key}");
        }
        for _ in 0..self.rng.usize(1..3) {
            let output = match self.rng.u8(..3) {
                0 => self.set(&aliases),
                1 => self.kept(&aliases),
                _ => self.simple().any(&aliases),
            };
            outputs.push(output);
        }
        format!("SELECT {} FROM {from}{filter}", named(&outputs))
    }

    fn aggregated(&mut self, aliases: &[String]) -> String {
        let of = self.of(aliases);
        match self.rng.u8(..4) {
            0 => format!("sum(CASE WHEN {of}.d THEN {of}.c ELSE 0 END)"),
            1 => format!(
                "avg(CASE WHEN {of}.d THEN {of}.c WHEN {of}.a > 1 THEN 0.125 ELSE {of}.a END)"
            ),
            2 => format!("max({of}.p::date)"),
            _ => format!("sum({of}.a)"),
        }
    }

    fn of(&mut self, aliases: &[String]) -> String {
        aliases[self.rng.usize(..aliases.len())].clone()
    }

    pub(crate) fn table(&mut self) -> String {
        self.tables[self.rng.usize(..self.tables.len())]
            .name
            .clone()
    }

    /// An item of FROM after others, with what joins it to them.
    fn item(&mut self, of: &str) -> Item {
        let alias = self.alias();
        let (source, columns, can_be_key) = if self.rng.bool() {
            self.function(of, &alias)
        } else {
            self.dependent(of, &alias)
        };
        let depends_in_list = columns.iter().any(|column| column.contains("outer_"));
        let text = match self.rng.u8(..4) {
            0 if !depends_in_list => format!(" LEFT JOIN LATERAL {source} ON true"),
            1 if !depends_in_list && !source.contains("count(*) AS total") => {
                format!(
                    " LEFT JOIN LATERAL {source} ON {} IS DISTINCT FROM {}",
                    columns[0], columns[0]
                )
            }
            2 => format!(" JOIN LATERAL {source} ON {} IS NOT NULL", columns[0]),
            _ => format!(" CROSS JOIN LATERAL {source}"),
        };
        Item {
            text,
            columns,
            can_be_key,
        }
    }

    /// A function in FROM, its columns, and whether the first can be grouped by.
    fn function(&mut self, of: &str, alias: &str) -> (String, Vec<String>, bool) {
        let value = format!("{alias}.val");
        let number = format!("{alias}.num");
        match self.rng.u8(..9) {
            0 => (format!("unnest({of}.g) AS {alias}(val)"), vec![value], true),
            1 => (
                format!("unnest({of}.g) WITH ORDINALITY AS {alias}(val, num)"),
                vec![value, number],
                true,
            ),
            2 => (
                format!("generate_series(1, {of}.a) AS {alias}(val)"),
                vec![value],
                true,
            ),
            3 => (
                format!(
                    "ROWS FROM (unnest({of}.g), generate_series({of}.s::int, {of}.a)) WITH ORDINALITY AS {alias}(val, other, num)"
                ),
                vec![value, format!("{alias}.other"), number],
                true,
            ),
            4 => (
                format!("jsonb_array_elements({of}.j -> 'a') AS {alias}(val)"),
                vec![value],
                false,
            ),
            5 => (
                format!(
                    "jsonb_each_text(CASE WHEN jsonb_typeof({of}.j) = 'object' THEN {of}.j END) AS {alias}(val, num)"
                ),
                vec![value, number],
                true,
            ),
            6 => (
                format!("string_to_table({of}.b || ',y', ',') AS {alias}(val)"),
                vec![value],
                true,
            ),
            7 => (
                format!("unnest({of}.g, ARRAY[{of}.a, 7]) AS {alias}(val, num)"),
                vec![value, number],
                true,
            ),
            _ => (
                format!(
                    "generate_series({of}.p, {of}.p + '1 day'::interval, '12 hours'::interval) AS {alias}(val)"
                ),
                vec![value],
                true,
            ),
        }
    }

    /// A subquery that depends on another item.
    fn dependent(&mut self, of: &str, alias: &str) -> (String, Vec<String>, bool) {
        let (table, inner) = (self.table(), self.alias());
        let value = format!("{alias}.val");
        let link = match self.rng.u8(..3) {
            0 => format!("{inner}.a = {of}.a"),
            1 => format!("{inner}.id = {of}.e AND {inner}.d"),
            _ => format!("{inner}.b = {of}.b AND {inner}.a > 0"),
        };
        let more = pick(
            self.rng,
            &["", "AND INNER.id > OF.id", "AND (INNER.c < OF.c OR OF.d)"],
        )
        .replace("INNER", &inner)
        .replace("OF", of);
        match self.rng.u8(..11) {
            9 => {
                let text = self.anywhere(ITEMS, of);
                let columns = vec![value, format!("{alias}.num")];
                (format!("{text} AS {alias}"), columns, false)
            }
            7 => (
                format!(
                    "(SELECT {inner}.a AS val, {inner}.f AS num FROM {table} AS {inner} WHERE {link} ORDER BY {inner}.a DESC, {inner}.f LIMIT {}) AS {alias}",
                    self.rng.u8(1..3)
                ),
                vec![value, format!("{alias}.num")],
                true,
            ),
            8 => (
                format!(
                    "(SELECT {inner}.f + 1 AS val FROM {table} AS {inner} WHERE {link} ORDER BY {inner}.f DESC LIMIT 1) AS {alias}"
                ),
                vec![value],
                true,
            ),
            0 => (
                format!(
                    "(SELECT {inner}.a AS val, {inner}.c AS num FROM {table} AS {inner} WHERE {link} {more}) AS {alias}"
                ),
                vec![value, format!("{alias}.num")],
                true,
            ),
            1 => (
                format!(
                    "(SELECT count(*) AS total, sum({inner}.c) AS val, max({inner}.f) + 1 AS num FROM {table} AS {inner} WHERE {link}) AS {alias}"
                ),
                vec![value, format!("{alias}.total"), format!("{alias}.num")],
                false,
            ),
            2 => (
                format!(
                    "(SELECT {inner}.b AS val, count(*) AS num FROM {table} AS {inner} WHERE {link} GROUP BY {inner}.b) AS {alias}"
                ),
                vec![value, format!("{alias}.num")],
                true,
            ),
            3 => (
                format!("(VALUES ({of}.a), ({of}.s + 1), (NULL)) AS {alias}(val)"),
                vec![format!("{alias}.val /* outer_ */")],
                false,
            ),
            4 => (
                format!(
                    "(SELECT {of}.a + {inner}.a AS val FROM {table} AS {inner} WHERE {link} {more}) AS {alias}"
                ),
                vec![format!("{alias}.val /* outer_ */")],
                false,
            ),
            5 => (
                format!(
                    "(SELECT DISTINCT {inner}.f AS val FROM {table} AS {inner} WHERE {link}) AS {alias}"
                ),
                vec![value],
                true,
            ),
            6 => (
                format!(
                    "(SELECT {inner}.val + 1 AS val FROM unnest({of}.g) AS {inner}(val) WHERE {inner}.val IS NOT NULL) AS {alias}"
                ),
                vec![format!("{alias}.val /* outer_ */")],
                false,
            ),
            _ => (
                format!("(SELECT upper({of}.b) AS val) AS {alias}"),
                vec![format!("{alias}.val /* outer_ */")],
                false,
            ),
        }
    }

    /// A function in the select list that gives a set.
    fn set(&mut self, aliases: &[String]) -> String {
        let of = self.of(aliases);
        match self.rng.u8(..4) {
            0 => format!("unnest({of}.g)"),
            1 => format!("generate_series(1, {of}.a) * 2"),
            2 => format!("string_to_table({of}.b, '')"),
            _ => format!("unnest({of}.g || {of}.a)"),
        }
    }

    /// A value that depends on kept settings, or of a function of any type.
    fn kept(&mut self, aliases: &[String]) -> String {
        let of = self.of(aliases);
        let forms = [
            "OF.p::date",
            "date_trunc('day', OF.p)",
            "to_char(OF.p, 'YYYY-MM-DD HH24:MI TZ')",
            "to_char(OF.c, 'FM990D00')",
            "OF.f::text",
            "OF.p::text",
            "OF.p + '36 hours'::interval",
            "extract(hour FROM OF.p)",
            "OF.m::text",
            "concat(OF.m, OF.h)",
            "upper(OF.h)",
            "(OF.h || OF.b)",
            "(OF.f < OF.p)",
            "concat(OF.a, '-', OF.b, OF.f)",
            "concat_ws(',', OF.b, OF.c, OF.p)",
            "format('%s of %s', OF.a, OF.v)",
            "jsonb_build_object('a', OF.p, 'b', OF.c)",
            "to_jsonb(OF.g)",
            "OF.b || OF.a",
            "OF.f || OF.b",
            "cardinality(OF.g)",
            "array_length(OF.g, 1)",
            "(OF.g || OF.a)",
            "array_to_string(OF.g, ',')",
            "(OF.g @> ARRAY[1])",
            "array_position(OF.g, OF.a)",
            "OF.g[1]",
            "OF.g[:1]",
            "OF.g[OF.a:2]",
            "(OF.j['a'])",
            "(jsonb_build_object('n', OF.a) ->> 'n')::int",
            "(jsonb_build_array(OF.n) ->> 0)::numeric",
            "setweight(to_tsvector('english', coalesce(OF.b, '')), 'A')",
            "(to_tsvector('simple', OF.b) @@ to_tsquery('simple', 'x'))",
            "int4range(OF.a, NULL)",
            "numrange(NULL, OF.n)",
            "(int4range(OF.s::int, NULL) && int4range(NULL, OF.a))",
            "lower(int4range(OF.a, NULL))",
            "(ROW(OF.a, OF.b) < ROW(OF.s::int, OF.v))",
            "(ROW(OF.a, OF.c) <> ROW(OF.s::int, 1.5))",
            "(ROW(OF.a, OF.c, OF.f) >= ROW(OF.s::int, 1.5, OF.f))",
        ];
        pick(self.rng, &forms).replace("OF", &of)
    }
}
