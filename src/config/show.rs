//! The effective configuration as text, and what differs between two of them. Secrets are masked.

use std::fmt::Write;

use super::Config;
use super::keys;
use super::layers::OWN_SECTIONS;
use super::load::{ForDatabase, Loaded};
use super::problem::Origin;

impl Loaded {
    /// The effective configuration as a TOML file, each value with where it was set.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        if let [database] = self.databases.as_slice() {
            database.write(&mut text, |section| Some(format!("[{section}]")));
            return text;
        }
        if let Some(first) = self.databases.first() {
            first.write(&mut text, |section| {
                let is_own = section == "database" || OWN_SECTIONS.contains(&section);
                (!is_own).then(|| format!("[{section}]"))
            });
        }
        for database in &self.databases {
            database.write(&mut text, |section| {
                (section == "database").then(|| "[[database]]".to_owned())
            });
            database.write(&mut text, |section| {
                let is_own = OWN_SECTIONS.contains(&section);
                is_own.then(|| format!("[database.{section}]"))
            });
        }
        text
    }
}

impl ForDatabase {
    /// Writes the sections for which there is a heading.
    fn write(&self, text: &mut String, heading: impl Fn(&str) -> Option<String>) {
        let mut current = String::new();
        for (key, value) in keys::all(&self.config) {
            let (section, name) = key.split_once('.').unwrap_or(("", &key));
            if key == "database.url" {
                continue; // taken apart into the other keys
            }
            let Some(heading) = heading(section) else {
                continue;
            };
            if section != current {
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}{heading}");
                section.clone_into(&mut current);
            }
            let _ = write!(text, "{name} = {}", keys::show(&value));
            let _ = match self.origin(&key) {
                Origin::Default => writeln!(text),
                origin => writeln!(text, "  # {origin}"),
            };
        }
    }
}

impl Config {
    /// The keys (`section.name`) whose values differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let theirs = keys::all(other);
        let mut differing: Vec<String> = keys::all(self)
            .into_iter()
            .filter(|(key, value)| theirs.get(key).map(keys::show) != Some(keys::show(value)))
            .map(|(key, _)| key)
            .collect();
        // Masked, all passwords look alike.
        if self.database.password != other.database.password
            && !differing.iter().any(|key| key == "database.password")
        {
            differing.push("database.password".to_owned());
        }
        differing
    }
}
