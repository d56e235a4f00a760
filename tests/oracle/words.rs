//! Statements as sequences of words (tokens): identifiers under other names, and shorter statements.

use std::collections::BTreeMap;
use std::ops::Range;

use fastrand::Rng;
use mvrefreshd::sql::identifier;
use pg_query::protobuf::Token;

/// Other names for identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names(BTreeMap<&'static str, &'static str>);

/// Names that would be something else, were they not quoted, or nothing at all.
const HOSTILE: &[&[(&str, &str)]] = &[
    &[
        ("t1", "change_number"),
        ("t2", "Quoted \"table\" $1"),
        ("t3", "deleted_rows"),
        ("a", "weight"),
        ("weight", "weight_"),
        ("b", "xid"),
        ("c", "row_hash"),
        ("n", "Ünïcode 表"),
        ("d", "select"),
        ("f", "$1"),
        ("o0", "stored"),
        ("o1", "change"),
        ("o2", "o\"1"),
        ("view_t1", "row_changes"),
    ],
    &[
        ("t1", "T"),
        ("t2", "t"),
        (
            "t3",
            "a_table_whose_name_is_as_long_as_a_name_can_be_which_is_63_byte",
        ),
        ("id", "ID"),
        ("a", "id"),
        (
            "b",
            "a column whose name is as long as a name can be, and has blanks",
        ),
        ("c", "c2"),
        ("e", "c1"),
        ("n", "%s %I"),
        ("s", "'"),
        ("d", "group_rows"),
        ("v", "key_1"),
        ("o0", "weight"),
        ("o1", "Weight"),
        ("o2", "--"),
    ],
    &[
        ("t1", "row"),
        ("t2", "numbered"),
        ("t3", "state$1"),
        ("id", "ctid_"),
        ("a", "old_rows"),
        ("e", "images"),
        ("f", "is_stale"),
        ("o0", "row_address"),
        ("o1", "t2"),
        ("o2", "*"),
    ],
];

impl Names {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        match rng.u8(..4) {
            0 => Self(
                HOSTILE[rng.usize(..HOSTILE.len())]
                    .iter()
                    .copied()
                    .collect(),
            ),
            _ => Self::default(),
        }
    }

    pub(crate) fn of_pairs(pairs: &[(&'static str, &'static str)]) -> Self {
        Self(pairs.iter().copied().collect())
    }

    /// What an identifier is called.
    pub(crate) fn of<'a>(&self, name: &'a str) -> &'a str {
        self.0.get(name).copied().unwrap_or(name)
    }

    /// A statement under these names.
    pub(crate) fn applied(&self, sql: &str) -> String {
        if self.0.is_empty() {
            return sql.to_owned();
        }
        replaced(sql, &|token, word| {
            let is_name = token == Token::Ident;
            is_name
                .then(|| self.0.get(word))
                .flatten()
                .map(|name| identifier(name))
        })
    }
}

/// A statement with other words for some of its words.
pub(crate) fn replaced(sql: &str, other: &dyn Fn(Token, &str) -> Option<String>) -> String {
    let mut text = String::new();
    let mut copied = 0;
    for (token, range) in words(sql) {
        if let Some(word) = other(token, &sql[range.clone()]) {
            text += &sql[copied..range.start];
            text += &word;
            copied = range.end;
        }
    }
    text + &sql[copied..]
}

/// The words of a statement, and where they stand.
pub(crate) fn words(sql: &str) -> Vec<(Token, Range<usize>)> {
    let scanned = pg_query::scan(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let place = |at: i32| usize::try_from(at).unwrap();
    scanned
        .tokens
        .iter()
        .map(|word| (word.token(), place(word.start)..place(word.end)))
        .collect()
}

/// A statement without some of its words, if the rest is a statement.
pub(crate) fn without(sql: &str, cut: &Range<usize>) -> Option<String> {
    let words = words(sql);
    let from = words[cut.start].1.start;
    let to = words[cut.end - 1].1.end;
    let rest = format!("{}{}", sql[..from].trim_end(), &sql[to..]);
    let rest = if sql[..from].ends_with(' ') && !rest.is_empty() {
        format!("{}{}", &sql[..from], sql[to..].trim_start())
    } else {
        rest
    };
    pg_query::parse(&rest, 0)
        .is_ok_and(|parsed| parsed.protobuf.stmts.len() == 1)
        .then_some(rest)
}

/// `INSERT … VALUES` without the value of one column in each row; any other statement as it is.
pub(crate) fn without_column(sql: &str, column: usize) -> String {
    let words = words(sql);
    let Some(start) = words.iter().position(|(token, _)| *token == Token::Values) else {
        return sql.to_owned();
    };
    let (mut depth, mut position) = (0, 0);
    let mut cut = vec![false; words.len()];
    for (number, (_, range)) in words.iter().enumerate().skip(start + 1) {
        match &sql[range.clone()] {
            "(" => {
                depth += 1;
                if depth == 1 {
                    position = 0;
                    continue;
                }
            }
            ")" => depth -= 1,
            "," if depth == 1 => {
                position += 1;
                // with the comma before it
                cut[number] = position == column;
                continue;
            }
            _ => {}
        }
        cut[number] = depth > 0 && position == column;
    }
    let mut text = String::new();
    let mut copied = 0;
    for (number, (_, range)) in words.iter().enumerate() {
        if cut[number] {
            text += sql[copied..range.start].trim_end();
            copied = range.end;
        }
    }
    text + &sql[copied..]
}
