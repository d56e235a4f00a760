//! Reading the TOML file, with the line of each key for messages.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::Dict;

use super::problem::{Origin, Problem};

/// The file's text and what it says.
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) sections: Dict,
    text: String,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let at = |line| Origin::File {
            path: path.to_owned(),
            line,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Problem::new(at(None), format!("cannot be read: {error}")))?;
        let sections = Toml::from_str::<Dict>(&text).map_err(|error| {
            let line = error.span().map(|span| line_at(&text, span.start));
            Problem::new(at(line), format!("not valid TOML: {}", error.message()))
        })?;
        Ok(Self {
            path: path.to_owned(),
            sections,
            text,
        })
    }

    /// Where `section` (and `name` in it) is written.
    pub(super) fn origin(&self, section: &str, name: Option<&str>) -> Origin {
        Origin::File {
            path: self.path.clone(),
            line: line_of(&self.text, section, name),
        }
    }

    /// Where a `[[database]]` table, counted from 0, has a key, or a key in a section of its own.
    pub(super) fn origin_in_table(
        &self,
        index: usize,
        key: (Option<&String>, Option<&String>),
    ) -> Origin {
        let (section, name) = (key.0.map(String::as_str), key.1.map(String::as_str));
        Origin::File {
            path: self.path.clone(),
            line: line_in_table(&self.text, index, section, name),
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// The parser gives values only, so the line is looked for in the text: `name =` below `[section]`, or
/// `section.name =` or `section =` above all sections. `None` where it is written in another of TOML's ways.
fn line_of(text: &str, section: &str, name: Option<&str>) -> Option<usize> {
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            header
                .split(']')
                .next()
                .unwrap_or_default()
                .trim()
                .clone_into(&mut current);
            if name.is_none() && current == section {
                return Some(index + 1);
            }
            continue;
        }
        let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let key = key.trim().trim_matches(['"', '\'']);
        let found = match (name, current.as_str()) {
            (Some(name), "") => key.split_once('.') == Some((section, name)),
            (Some(name), current) => current == section && key == name,
            (None, "") => key.split('.').next() == Some(section),
            (None, _) => false,
        };
        if found {
            return Some(index + 1);
        }
    }
    None
}

/// As [`line_of`], below the `[[database]]` with that number.
fn line_in_table(
    text: &str,
    index: usize,
    section: Option<&str>,
    name: Option<&str>,
) -> Option<usize> {
    let mut tables = 0;
    let mut current = None;
    for (line_index, line) in text.lines().enumerate() {
        let line = line.trim();
        let words: String = line.split_whitespace().collect();
        if words.starts_with("[[database]]") {
            tables += 1;
            current = Some(String::new());
        } else if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            current = header.trim().strip_prefix("database.").map(str::to_owned);
        }
        let Some(current) = current.as_deref().filter(|_| tables == index + 1) else {
            continue;
        };
        let found = if line.starts_with('[') {
            match (section, name) {
                (Some(section), None) => current == section,
                _ => false,
            }
        } else {
            let key = line
                .split_once('=')
                .map(|(key, _)| key.trim().trim_matches(['"', '\'']));
            match (section, name, key) {
                (None, Some(name), Some(key)) => current.is_empty() && key == name,
                (Some(section), Some(name), Some(key)) => {
                    (current == section && key == name)
                        || (current.is_empty() && key.split_once('.') == Some((section, name)))
                }
                _ => false,
            }
        };
        if found {
            return Some(line_index + 1);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_key_in_its_own_section() {
        let text = "database.port = 1\n\n[workers]\n# max = 3\nmax = 4\n[other] # c\nmax = 5\n";
        assert_eq!(line_of(text, "database", Some("port")), Some(1));
        assert_eq!(line_of(text, "workers", Some("max")), Some(5));
        assert_eq!(line_of(text, "other", Some("max")), Some(7));
        assert_eq!(line_of(text, "other", None), Some(6));
        assert_eq!(line_of(text, "workers", Some("min")), None);
    }

    #[test]
    fn finds_the_line_of_a_key_in_its_own_table() {
        let text = "[[database]]\nname = 'a'\n[database.workers]\nmax = 1\n[http]\nname = 1\n\
            [[ database ]] # b\nname = 'b'\nworkers.max = 2\n";
        let line = |index, section, name| line_in_table(text, index, section, Some(name));
        assert_eq!(line(0, None, "name"), Some(2));
        assert_eq!(line(0, Some("workers"), "max"), Some(4));
        assert_eq!(line(1, None, "name"), Some(8));
        assert_eq!(line(1, Some("workers"), "max"), Some(9));
        assert_eq!(line(1, None, "host"), None);
        assert_eq!(line_in_table(text, 0, Some("workers"), None), Some(3));
    }
}
