//! The materialized views of the pipeline: read from files that can be read.

use crate::commands::harness;

/// One subject each, from simple to complex.
const FILES: [&str; 8] = [
    include_str!("views/1_rows.sql"),
    include_str!("views/2_joins.sql"),
    include_str!("views/3_outer_joins.sql"),
    include_str!("views/4_groups.sql"),
    include_str!("views/5_unions.sql"),
    include_str!("views/6_subqueries.sql"),
    include_str!("views/7_nested.sql"),
    include_str!("views/8_others.sql"),
];

/// A materialized view to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) query: &'static str,
    /// By how many sessions it is filled, and by which column it is split, if by several.
    pub(super) parallel: Option<(u16, &'static str)>,
}

/// All of them, in the order in which they are created.
pub(super) fn all() -> Vec<Definition> {
    let of_harness = Definition {
        name: harness::VIEW,
        query: harness::QUERY,
        parallel: None,
    };
    let listed = FILES.iter().flat_map(|file| {
        // what comes before the first is about the file
        file.split("\n-- view ").skip(1).filter_map(definition)
    });
    listed.chain([of_harness]).collect()
}

/// `name`, or `name filled by N sessions, split by COLUMN`, and the query in the lines below.
fn definition(text: &'static str) -> Option<Definition> {
    let (heading, query) = text.split_once('\n')?;
    let Some((name, how)) = heading.split_once(" filled by ") else {
        return Some(Definition {
            name: heading,
            query,
            parallel: None,
        });
    };
    let (sessions, column) = how.split_once(" sessions, split by ")?;
    Some(Definition {
        name,
        query,
        parallel: Some((sessions.parse().ok()?, column)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{FILES, all};

    #[test]
    fn there_are_at_least_91_views_and_none_is_twice() {
        let all = all();
        assert!(all.len() >= 91, "{}", all.len());
        let names: HashSet<&str> = all.iter().map(|view| view.name).collect();
        let queries: HashSet<&str> = all.iter().map(|view| view.query.trim()).collect();
        assert_eq!((names.len(), queries.len()), (all.len(), all.len()));
        let headings: usize = FILES.iter().map(|f| f.matches("\n-- view ").count()).sum();
        assert_eq!(headings + 1, all.len(), "a heading was not understood");
    }

    #[test]
    fn one_is_filled_by_four_sessions() {
        let filled: Vec<_> = all().into_iter().filter_map(|view| view.parallel).collect();
        assert_eq!(filled, [(4, "order_id")]);
    }
}
