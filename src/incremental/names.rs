//! Names inside a statement that nothing of the query has.

use std::collections::BTreeSet;

/// The parts of a statement (the heads of its WITH) that are always called so.
const PARTS: &[&str] = &[
    "pending_changes",
    "foreseen",
    "in_place",
    "workable",
    "touched_keys",
    "gone_images",
    "logged_images",
    "value_keys",
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

/// Whether parts of statements are called so; those of groupings below other operators have a number before.
pub(super) fn is_part(name: &str) -> bool {
    let of_kept = name
        .strip_prefix("kept_")
        .and_then(|rest| rest.split_once('_'));
    PARTS.contains(&name)
        || of_kept
            .is_some_and(|(number, part)| number.parse::<u32>().is_ok() && PARTS.contains(&part))
}

/// `PostgreSQL` cuts identifiers off after so many bytes, and then different ones may become the same.
const LONGEST: usize = 63;

/// A name with something after it, the name cut where the whole would be too long.
pub(super) fn suffixed(name: &str, suffix: &str) -> String {
    let mut end = name.len().min(LONGEST.saturating_sub(suffix.len()));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

/// The first of `name_suffix`, `name_suffix_2`, `name_suffix_3`, … that is free.
pub(super) fn free_name(name: &str, suffix: &str, is_free: impl Fn(&str) -> bool) -> String {
    let mut candidate = suffixed(name, suffix);
    let mut number = 1;
    while !is_free(&candidate) {
        number += 1;
        candidate = suffixed(name, &format!("{suffix}_{number}"));
    }
    candidate
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
        let free = |wanted| free_name(wanted, "", |name| !taken.contains(name));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters_and_stay_different() {
        assert_eq!(suffixed("t", "_changes"), "t_changes");
        let long = "ä".repeat(31);
        assert_eq!(suffixed(&long, "_2").len(), 62);
        assert_eq!(free_name("t", "_x", |name| name.ends_with("_3")), "t_x_3");
        let taken = suffixed(&long, "");
        assert_ne!(free_name(&long, "", |name| name != taken), taken);
    }
}
