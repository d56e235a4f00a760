//! Time zones by name.

use chrono_tz::{TZ_VARIANTS, Tz};

use super::CrontabError;

/// Below this similarity a suggestion would rather confuse.
const SIMILAR_ENOUGH: f64 = 0.8;

/// The IANA time zone of this name, in any case, as `PostgreSQL` takes it too.
pub fn parse_time_zone(name: &str) -> Result<Tz, CrontabError> {
    let name = name.trim();
    TZ_VARIANTS
        .iter()
        .find(|zone| zone.name().eq_ignore_ascii_case(name))
        .copied()
        .ok_or_else(|| CrontabError::UnknownZone {
            name: name.to_owned(),
            suggestion: nearest(name),
        })
}

/// The known name most like this one, compared both in full and by its last part (`Berlin`).
fn nearest(name: &str) -> Option<String> {
    let wanted = name.to_lowercase().replace(' ', "_");
    TZ_VARIANTS
        .iter()
        .map(|zone| {
            (
                similarity(&wanted, &zone.name().to_lowercase()),
                zone.name(),
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

fn similarity(wanted: &str, known: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(wanted, known);
    let last_part = known.rsplit('/').next().unwrap_or(known);
    whole.max(strsim::normalized_damerau_levenshtein(wanted, last_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(parse_time_zone(" europe/BERLIN "), Ok(Tz::Europe__Berlin));
        assert_eq!(parse_time_zone("UTC"), Ok(Tz::UTC));
    }

    #[test]
    fn a_misspelt_zone_is_answered_with_the_nearest_name() {
        for (given, meant) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("Lord Howe", "Australia/Lord_Howe"),
        ] {
            let message = parse_time_zone(given).map_err(|e| e.to_string());
            assert_eq!(
                message,
                Err(format!(
                    "time zone \"{given}\" is not known; did you mean \"{meant}\"?"
                ))
            );
        }
    }

    #[test]
    fn nonsense_gets_no_suggestion_but_an_example() {
        let message = parse_time_zone("wibble wobble").map_err(|e| e.to_string());
        assert_eq!(
            message,
            Err("time zone \"wibble wobble\" is not known; use an IANA name such as \"Europe/Berlin\" or \"UTC\""
                .to_owned())
        );
    }
}
