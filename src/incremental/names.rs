//! Names inside a statement that nothing of the query has.

use std::collections::BTreeSet;

/// The parts of a statement (the heads of its WITH) that are always called so.
const PARTS: &[&str] = &[
    "foreseen",
    "in_place",
    "workable",
    "touched_keys",
    "gone_images",
    "input_changes",
    "net_input_changes",
    "group_changes",
    "merged_groups",
    "recomputed_groups",
    "new_groups",
    "deleted_groups",
    "updated_groups",
    "inserted_groups",
    "row_changes",
    "net_rows",
    "new_rows",
    "target_rows",
    "found_rows",
    "numbered_changes",
    "doomed_rows",
    "deleted_rows",
    "updated_rows",
    "inserted_rows",
];

/// Whether parts of statements are called so.
pub(super) fn is_part(name: &str) -> bool {
    PARTS.contains(&name)
}

/// `wanted`, made longer until it is not `taken`.
pub(super) fn free(wanted: &str, taken: &dyn Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    while taken(&name) {
        name.push('_');
    }
    name
}

/// Names that no table or column of the query has.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) weight: String,
    pub(super) number: String,
    pub(super) hash: String,
    pub(super) address: String,
    pub(super) stale: String,
    pub(super) stale_groups: String,
    /// Whether a row or group is there after the refresh.
    pub(super) there: String,
    /// Whether it was there before, as far as the changes tell.
    pub(super) before: String,
    /// The keys of changed rows, as an item of FROM.
    pub(super) touched: String,
}

impl Names {
    pub(super) fn outside(taken: &BTreeSet<&str>) -> Self {
        let free = |wanted| free(wanted, &|name| taken.contains(name));
        Self {
            weight: free("weight"),
            number: free("change_number"),
            hash: free("row_hash"),
            address: free("row_address"),
            stale: free("is_stale"),
            stale_groups: free("stale_groups"),
            there: free("is_there"),
            before: free("was_there"),
            touched: free("touched"),
        }
    }
}
