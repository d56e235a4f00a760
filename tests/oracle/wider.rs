//! Random sources of rows beyond joins and plain groupings, each with the columns of a table.

use std::env;
use std::sync::OnceLock;

use crate::general::General;
use crate::generate::{COLUMNS, pick};

/// What there is, by the names that `ORACLE_FOCUS` knows: it makes queries be of that kind mostly.
const KINDS: &[&str] = &[
    "sets",
    "windows",
    "first",
    "limit",
    "grouping",
    "subqueries",
];

/// Columns whose equal values are the same.
const IDENTICAL: &[&str] = &["id", "a", "e", "b", "c", "d", "f", "s", "weight", "u"];

/// The kind of query that is asked for.
fn focus() -> Option<&'static str> {
    static FOCUS: OnceLock<Option<&'static str>> = OnceLock::new();
    *FOCUS.get_or_init(|| {
        let wanted = env::var("ORACLE_FOCUS").ok()?;
        let known = KINDS.iter().copied().find(|kind| *kind == wanted);
        assert!(known.is_some(), "ORACLE_FOCUS is none of {KINDS:?}");
        known
    })
}

impl General<'_> {
    /// Whether a source of rows is to be one of these.
    pub(crate) fn is_wider(&mut self) -> bool {
        self.rng.u8(..20) < if focus().is_some() { 12 } else { 3 }
    }

    /// A query with the columns of a table.
    pub(crate) fn wider(&mut self, depth: usize) -> String {
        let kind = focus().unwrap_or_else(|| pick(self.rng, KINDS));
        match kind {
            "windows" => self.windowed(depth),
            "first" => self.first_of_each(depth),
            "limit" => self.limited(depth),
            "grouping" => self.grouping_sets(depth),
            "subqueries" => self.with_answers(depth),
            _ => self.set_operation(depth),
        }
    }

    /// Some of the columns whose equal values are the same.
    fn some_columns(&mut self, least: usize) -> Vec<&'static str> {
        let mut columns = IDENTICAL.to_vec();
        self.rng.shuffle(&mut columns);
        columns.truncate(self.rng.usize(least..5));
        columns
    }

    /// Queries compared as sets, two to four of them, in any order.
    fn set_operation(&mut self, depth: usize) -> String {
        let columns = self.some_columns(1);
        let count = [2, 2, 2, 3, 3, 4][self.rng.usize(..6)];
        let mut arms: Vec<String> = (0..count).map(|_| self.arm(&columns, depth)).collect();
        while arms.len() > 1 {
            let at = self.rng.usize(..arms.len() - 1);
            let right = arms.remove(at + 1);
            let word = pick(
                self.rng,
                &["UNION", "INTERSECT", "INTERSECT", "EXCEPT", "EXCEPT"],
            );
            let all = pick(self.rng, &["", " ALL"]);
            arms[at] = format!("({} {word}{all} {right})", arms[at]);
        }
        let set = self.alias();
        let texts: Vec<(&str, String)> = columns
            .iter()
            .map(|column| (*column, format!("{set}.{column}")))
            .collect();
        format!("SELECT {} FROM {} AS {set}", padded(&texts), arms[0])
    }

    fn arm(&mut self, columns: &[&str], depth: usize) -> String {
        let (from, aliases) = match self.rng.u8(..3) {
            0 => self.tree(2, depth.saturating_sub(1)),
            _ => self.tree(1, depth.saturating_sub(1)),
        };
        let shown: Vec<String> = columns
            .iter()
            .map(|column| {
                let alias = &aliases[self.rng.usize(..aliases.len())];
                match (*column, self.rng.u8(..6)) {
                    // integers are widened without saying
                    ("e", 0) => format!("{alias}.a AS e"),
                    ("weight", 0) => format!("{alias}.s AS weight"),
                    ("a", 0) => format!("{alias}.weight AS a"),
                    _ => format!("{alias}.{column}"),
                }
            })
            .collect();
        format!(
            "SELECT {} FROM {from}{}",
            shown.join(", "),
            self.filter(&aliases, depth.min(1))
        )
    }

    /// Sources of which each row has a known `id`, if there are any: that of the first alias.
    pub(crate) fn keyed(&mut self) -> Option<(String, Vec<String>)> {
        let keyed: Vec<String> = self
            .tables
            .iter()
            .filter(|table| table.has_key)
            .map(|table| table.name.clone())
            .collect();
        if keyed.is_empty() {
            return None;
        }
        let table = keyed[self.rng.usize(..keyed.len())].clone();
        let alias = self.alias();
        let from = format!("{table} AS {alias}");
        match self.rng.u8(..4) {
            0 => {
                let other = keyed[self.rng.usize(..keyed.len())].clone();
                let second = self.alias();
                let kind = pick(self.rng, &["JOIN", "LEFT JOIN"]);
                let on = format!("{alias}.a = {second}.id");
                Some((
                    format!("{from} {kind} {other} AS {second} ON {on}"),
                    vec![alias, second],
                ))
            }
            _ => Some((from, vec![alias])),
        }
    }

    /// A column that has an order, with a direction.
    pub(crate) fn ordered(&mut self, alias: &str) -> String {
        let column = pick(
            self.rng,
            &["a", "b", "c", "n", "f", "e", "s", "x", "id", "v"],
        );
        let direction = pick(
            self.rng,
            &["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"],
        );
        format!("{alias}.{column}{direction}")
    }

    /// Sources, what is to be ordered by besides, and what may be shown, so that it is certain which rows are the first.
    fn certain(
        &mut self,
        depth: usize,
        start: &[&'static str],
    ) -> (String, Vec<(&'static str, String)>, Vec<String>) {
        let keyed = if self.rng.bool() { self.keyed() } else { None };
        if let Some((from, aliases)) = keyed {
            let own = aliases[0].clone();
            let filter = self.filter(&aliases, depth.min(1));
            let mut order = Vec::new();
            if self.rng.bool() {
                let alias = aliases[self.rng.usize(..aliases.len())].clone();
                order.push(self.ordered(&alias));
            }
            order.push(format!("{own}.id{}", pick(self.rng, &["", " DESC"])));
            let mut texts = Vec::new();
            for (column, _) in COLUMNS {
                if *column != "h" && (start.contains(column) || self.rng.u8(..3) > 0) {
                    let alias = if start.contains(column) {
                        &own
                    } else {
                        &aliases[self.rng.usize(..aliases.len())]
                    };
                    texts.push((*column, format!("{alias}.{column}")));
                }
            }
            return (format!("{from}{filter}"), texts, order);
        }
        let size = self.rng.usize(1..3);
        let (from, aliases) = self.tree(size, depth.saturating_sub(1));
        let filter = self.filter(&aliases, depth.min(1));
        let own = aliases[0].clone();
        let mut columns = self.some_columns(1);
        columns.retain(|column| !start.contains(column));
        let directions = ["", " DESC", " NULLS FIRST", ""];
        let order = columns
            .iter()
            .map(|column| format!("{own}.{column}{}", pick(self.rng, &directions)));
        let order = order.collect();
        let columns = columns.iter().chain(start);
        let texts = columns.map(|column| (*column, format!("{own}.{column}")));
        (format!("{from}{filter}"), texts.collect(), order)
    }

    /// DISTINCT ON.
    fn first_of_each(&mut self, depth: usize) -> String {
        let mut on = self.some_columns(1);
        on.truncate(2);
        let (from, texts, order) = self.certain(depth, &on);
        let keys: Vec<String> = on
            .iter()
            .filter_map(|key| texts.iter().find(|(column, _)| column == key))
            .map(|(_, text)| text.clone())
            .collect();
        let keys = keys.join(", ");
        let order: Vec<String> = [keys.clone()].into_iter().chain(order).collect();
        format!(
            "SELECT DISTINCT ON ({keys}) {} FROM {from} ORDER BY {}",
            padded(&texts),
            order.join(", ")
        )
    }

    /// LIMIT and OFFSET, or FETCH FIRST … WITH TIES.
    fn limited(&mut self, depth: usize) -> String {
        if self.rng.u8(..3) == 0 {
            let (from, aliases) = self.tree(1, depth.saturating_sub(1));
            let own = aliases[0].clone();
            let filter = self.filter(&aliases, depth.min(1));
            let texts: Vec<(&str, String)> = COLUMNS
                .iter()
                .filter(|(column, _)| *column != "h")
                .map(|(column, _)| (*column, format!("{own}.{column}")))
                .collect();
            return format!(
                "SELECT {} FROM {from}{filter} ORDER BY {} FETCH FIRST ({} + 1) ROWS WITH TIES",
                padded(&texts),
                self.ordered(&own),
                self.rng.u8(..5)
            );
        }
        let (from, texts, order) = self.certain(depth, &[]);
        let order = if order.is_empty() {
            texts.iter().map(|(_, text)| text.clone()).collect()
        } else {
            order
        };
        let limit = match self.rng.u8(..6) {
            0 => format!("OFFSET {}", self.rng.u8(1..4)),
            2 => format!(
                "LIMIT {} * 2 - 1 OFFSET (7 - {}) / 2",
                self.rng.u8(1..4),
                self.rng.u8(..6)
            ),
            1 => format!("LIMIT {} OFFSET {}", self.rng.u8(..6), self.rng.u8(..4)),
            _ => format!("LIMIT {}", self.rng.u8(1..8)),
        };
        format!(
            "SELECT {} FROM {from} ORDER BY {} {limit}",
            padded(&texts),
            order.join(", ")
        )
    }

    /// GROUPING SETS, ROLLUP and CUBE.
    fn grouping_sets(&mut self, depth: usize) -> String {
        let size = self.rng.usize(1..3);
        let (from, aliases) = self.tree(size, depth.saturating_sub(1));
        let filter = self.filter(&aliases, depth.min(1));
        let own = aliases[0].clone();
        let other = aliases[aliases.len() - 1].clone();
        let mut columns = self.some_columns(2);
        columns.truncate(3);
        let k: Vec<String> = columns
            .iter()
            .map(|column| format!("{own}.{column}"))
            .collect();
        let (first, last) = (&k[0], &k[k.len() - 1]);
        let all = k.join(", ");
        let groups = match self.rng.u8(..9) {
            0 | 1 => format!("ROLLUP ({all})"),
            2 => format!("CUBE ({all})"),
            3 => format!("{first}, ROLLUP ({all})"),
            4 => format!("GROUPING SETS (({all}), ({last}), ())"),
            5 => format!("GROUPING SETS (({first}), ROLLUP ({all}), ({first}))"),
            6 => format!("DISTINCT ROLLUP ({all}), CUBE ({first})"),
            7 => format!("ROLLUP (({all}), {first})"),
            _ => "GROUPING SETS ((), ())".to_owned(),
        };
        let has_keys = !groups.contains("()") || groups.contains(first);
        let mut texts: Vec<(&str, String)> = Vec::new();
        for (column, text) in columns.iter().zip(&k) {
            let is_grouped = has_keys && groups.contains(text.as_str());
            texts.push((
                *column,
                if is_grouped {
                    text.clone()
                } else {
                    format!(
                        "NULL::{}",
                        COLUMNS.iter().find(|(name, _)| name == column).unwrap().1
                    )
                },
            ));
        }
        let values = [
            ("s", "count(*)::smallint".to_owned()),
            ("e", format!("sum({other}.a)")),
            (
                "weight",
                if groups.contains(first) {
                    format!("grouping({first})")
                } else {
                    "7".to_owned()
                },
            ),
            ("a", format!("max({other}.a)")),
            ("id", format!("count(DISTINCT {other}.s)::integer")),
            ("f", format!("min({own}.f)")),
            (
                "b",
                format!("string_agg({other}.b, ',' ORDER BY {other}.b)"),
            ),
        ];
        for (column, text) in values {
            if self.rng.bool() && texts.iter().all(|(name, _)| *name != column) {
                texts.push((column, text));
            }
        }
        let having = match self.rng.u8(..4) {
            0 => " HAVING count(*) > 1".to_owned(),
            1 if groups.contains(first) => format!(" HAVING grouping({first}) = 0 OR count(*) > 2"),
            _ => String::new(),
        };
        format!(
            "SELECT {} FROM {from}{filter} GROUP BY {groups}{having}",
            padded(&texts)
        )
    }
}

/// The columns of a table: these by their texts, the others NULL.
pub(crate) fn padded(texts: &[(&str, String)]) -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(
            |(column, data_type)| match texts.iter().find(|(name, _)| name == column) {
                Some((_, text)) => format!("{text} AS {column}"),
                None if *column == "h" => "NULL::varchar(8) AS h".to_owned(),
                None => format!("NULL::{data_type} AS {column}"),
            },
        )
        .collect();
    columns.join(", ")
}
