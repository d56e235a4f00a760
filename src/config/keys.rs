//! The names of all keys, taken from [`Config`] itself, and the reading of one key's value.

use std::collections::BTreeMap;

use figment::error::Kind;
use figment::value::{Dict, Value};
use serde::{Deserialize, Deserializer};

use super::Config;
use super::suggest::{closest, did_you_mean};

/// Keys whose values must not be shown.
pub(super) const SECRET_KEYS: [&str; 2] = ["database.password", "database.url"];

/// Every key (`section.name`) with its value in `config`; secrets masked.
pub(super) fn all(config: &Config) -> BTreeMap<String, Value> {
    let Ok(Value::Dict(_, sections)) = Value::serialize(config) else {
        unreachable!("the configuration is a struct of structs");
    };
    let mut keys = BTreeMap::new();
    for (section, value) in sections {
        for (name, value) in value.into_dict().unwrap_or_default() {
            keys.insert(format!("{section}.{name}"), value);
        }
    }
    keys
}

/// Why `key` is not a key, with the nearest one that is.
pub(super) fn unknown(key: &str) -> String {
    let known = all(&Config::default());
    let name = key.rsplit('.').next().unwrap_or(key);
    let elsewhere = known
        .keys()
        .find(|known| known.rsplit('.').next() == Some(name))
        .map(String::as_str);
    let suggestion = elsewhere.or_else(|| closest(key, known.keys().map(String::as_str)));
    format!("unknown key {key:?}{}", did_you_mean(suggestion))
}

/// Why `section` is not a section, with the nearest one that is.
pub(super) fn unknown_section(section: &str) -> String {
    let sections = sections();
    let suggestion = closest(section, sections.iter().map(String::as_str));
    format!("unknown section {section:?}{}", did_you_mean(suggestion))
}

/// The names of the sections.
pub(super) fn sections() -> Vec<String> {
    let mut sections: Vec<String> = all(&Config::default())
        .into_keys()
        .filter_map(|key| key.split_once('.').map(|(section, _)| section.to_owned()))
        .collect();
    sections.dedup();
    sections
}

/// Whether `value` will do for `key`; if not, a sentence that names the key, the value and what is allowed.
pub(super) fn accepts(key: &str, value: &Value) -> Result<(), String> {
    let Err(error) = nested([(key, value)]).deserialize::<Config>() else {
        return Ok(());
    };
    let shown = match value {
        _ if SECRET_KEYS.contains(&key) => "***".to_owned(),
        value => show(value),
    };
    Err(format!("{key} = {shown}: {}", allowed(&error.kind)))
}

/// The values as one value of sections.
pub(super) fn nested<'a>(values: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut sections: BTreeMap<String, Dict> = BTreeMap::new();
    for (key, value) in values {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        sections
            .entry(section.to_owned())
            .or_default()
            .insert(name.to_owned(), value.clone());
    }
    sections
        .into_iter()
        .map(|(section, dict)| (section, Value::from(dict)))
        .collect::<Dict>()
        .into()
}

/// A value as it would be written in the file.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("\"{c}\""),
        Value::Bool(_, b) => b.to_string(),
        Value::Dict(..) => "{…}".to_owned(),
        Value::Array(..) => "[…]".to_owned(),
        Value::Empty(..) => "\"\"".to_owned(),
        Value::Num(..) => match (value.to_i128(), value.to_u128(), value.to_f64()) {
            (Some(n), ..) => n.to_string(),
            (_, Some(n), _) => n.to_string(),
            (.., n) => n.unwrap_or(f64::NAN).to_string(),
        },
    }
}

fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.clone(),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("must be {}", in_words(expected))
        }
        Kind::UnknownVariant(given, variants) => {
            let allowed: Vec<String> = variants.iter().map(|v| format!("{v:?}")).collect();
            let suggestion = closest(given, variants.iter().copied());
            format!(
                "must be one of {}{}",
                allowed.join(", "),
                did_you_mean(suggestion)
            )
        }
        other => other.to_string(),
    }
}

/// serde names Rust's types; users know none of them.
fn in_words(expected: &str) -> String {
    match expected {
        "u16" => "a whole number from 1 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "a whole number that is not negative".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "a text in quotes".to_owned(),
        other if other.starts_with("enum") || other.starts_with("variant") => {
            "a text in quotes".to_owned()
        }
        other => other.to_owned(),
    }
}

/// Reads a key that may be left out; the empty string says the same as leaving it out.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    let text = String::deserialize(deserializer)?;
    Ok(Some(text).filter(|text| !text.is_empty()).map(T::from))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn keys_without_a_default_are_keys_all_the_same() {
        let keys = all(&Config::default());
        for key in [
            "database.url",
            "workers.long_max",
            "install.custom_sql_dir",
            "log.level",
        ] {
            assert!(keys.contains_key(key), "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        assert_eq!(
            unknown("workers.maxx"),
            r#"unknown key "workers.maxx": did you mean "workers.max"?"#
        );
        assert_eq!(
            unknown("workers.poll_interval"),
            r#"unknown key "workers.poll_interval": did you mean "scheduler.poll_interval"?"#
        );
        assert_eq!(unknown("zzz.qqq"), r#"unknown key "zzz.qqq""#);
        assert_eq!(
            unknown_section("wrokers"),
            r#"unknown section "wrokers": did you mean "workers"?"#
        );
    }

    #[test]
    fn a_bad_value_is_shown_with_what_is_allowed() {
        for (key, value, message) in [
            (
                "workers.max",
                Value::from("many"),
                r#"workers.max = "many": must be a whole number that is not negative"#,
            ),
            (
                "workers.max",
                Value::from(-3),
                "workers.max = -3: must be a whole number that is not negative",
            ),
            (
                "install.on_start",
                Value::from("yes"),
                r#"install.on_start = "yes": must be true or false"#,
            ),
            (
                "log.format",
                Value::from("jsn"),
                r#"log.format = "jsn": must be one of "text", "json": did you mean "json"?"#,
            ),
            (
                "database.host",
                Value::from(7),
                "database.host = 7: must be a text in quotes",
            ),
            (
                "scheduler.poll_interval",
                Value::from(true),
                "scheduler.poll_interval = true: must be a duration such as 30s, 5m or 1h30m",
            ),
            (
                "database.port",
                Value::from(70_000),
                "database.port = 70000: must be a whole number from 1 to 65535",
            ),
        ] {
            assert_eq!(accepts(key, &value), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_bad_value_of_a_secret_is_not_shown() {
        let error = accepts("database.password", &Value::from(123_456)).unwrap_err();
        assert!(!error.contains("123456"), "{error}");
    }
}
