//! "Did you mean …?"

/// How alike two words must be (Jaro-Winkler, 0 to 1) for one to be offered in place of the other.
const ALIKE: f64 = 0.84;

/// The candidate most like `word`, if any is like it at all.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (likeness(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Separators are where people slip most (`poll-interval`, `pollInterval`), so they don't count.
fn likeness(a: &str, b: &str) -> f64 {
    let plain = |text: &str| text.replace(['_', '-', ' '], "");
    strsim::jaro_winkler(&plain(a), &plain(b))
}

/// `: did you mean "…"?`, or nothing.
pub(super) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |s| format!(": did you mean {s:?}?"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_of_the_pen_and_offers_nothing_for_other_words() {
        let keys = ["poll_interval", "retry_base", "retry_max", "lock_timeout"];
        assert_eq!(closest("pol_interval", keys), Some("poll_interval"));
        assert_eq!(closest("poll-interval", keys), Some("poll_interval"));
        assert_eq!(closest("PollInterval", keys), Some("poll_interval"));
        assert_eq!(closest("retrymax", keys), Some("retry_max"));
        assert_eq!(closest("colour", keys), None);
    }
}
