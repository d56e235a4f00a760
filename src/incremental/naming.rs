//! Names made of other names.

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
