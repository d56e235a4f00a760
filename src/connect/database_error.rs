//! The server's error messages for users: message, detail, hint, and the place in the query.
//!
//! sqlx's own `Display` of a database error appends a line number of `PostgreSQL`'s C source and leaves out the rest.

use std::fmt;

use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

/// An error reported by the server. Displayed as message, detail and hint on a line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseError {
    /// The five characters of the SQLSTATE.
    pub sqlstate: String,
    /// What is wrong, in the server's language.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The place in a query.
    pub position: Option<Position>,
    /// The functions that were being executed, innermost first, a line each.
    pub context: Option<String>,
    /// The constraint concerned.
    pub constraint: Option<String>,
    /// The function of the server that reported the error: the same in every language.
    pub routine: Option<String>,
}

/// A place in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The query, where it is not the one that was sent but one that a function executed.
    pub query: Option<String>,
    /// Which character, counted from 1.
    pub character: usize,
}

impl From<&PgDatabaseError> for DatabaseError {
    fn from(error: &PgDatabaseError) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Self {
            sqlstate: error.code().to_owned(),
            message: error.message().to_owned(),
            detail: own(error.detail()),
            hint: own(error.hint()),
            position: error.position().map(|position| match position {
                PgErrorPosition::Original(character) => Position {
                    query: None,
                    character,
                },
                PgErrorPosition::Internal { position, query } => Position {
                    query: Some(query.to_owned()),
                    character: position,
                },
            }),
            context: own(error.r#where()),
            constraint: own(error.constraint()),
            routine: own(error.routine()),
        }
    }
}

impl DatabaseError {
    /// The server's error inside an sqlx error, if it is one.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Option<Self> {
        error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
            .map(Self::from)
    }

    /// As displayed, and where the error lies in the user's `query`, the line with a caret under the place.
    #[must_use]
    pub fn in_query(&self, query: &str) -> String {
        let Some(place) = self.place_in(query) else {
            return self.to_string();
        };
        let mut lines = vec![self.message.clone(), place];
        lines.extend(self.remarks());
        lines.join("\n")
    }

    /// The query may have been sent as it is, or have become part of a command that a function executed.
    fn place_in(&self, query: &str) -> Option<String> {
        let position = self.position.as_ref()?;
        let character = match &position.query {
            None => position.character,
            Some(command) => {
                let query = query.trim().trim_end_matches(';').trim_end();
                let before = command.find(query).filter(|_| !query.is_empty())?;
                let start = command[..before].chars().count();
                position.character.checked_sub(start)?
            }
        };
        let query = if position.query.is_some() {
            query.trim_start()
        } else {
            query
        };
        show_place(query, character)
    }

    fn remarks(&self) -> impl Iterator<Item = String> {
        let detail = self.detail.as_ref().map(|d| format!("Detail: {d}"));
        let hint = self.hint.as_ref().map(|h| format!("Hint: {h}"));
        detail.into_iter().chain(hint)
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for remark in self.remarks() {
            write!(f, "\n{remark}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DatabaseError {}

/// The SQLSTATE of an error reported by the server.
#[must_use]
pub fn sqlstate(error: &sqlx::Error) -> Option<String> {
    DatabaseError::of(error).map(|error| error.sqlstate)
}

/// What an error of sqlx says to a user.
#[must_use]
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => format!("the connection to the server broke: {error}"),
        sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
            "the connection to the server is closed".to_owned()
        }
        error => DatabaseError::of(error).map_or_else(|| error.to_string(), |e| e.to_string()),
    }
}

/// Like [`describe`], with the offending place of the user's `query` where the server names one.
#[must_use]
pub fn describe_in_query(error: &sqlx::Error, query: &str) -> String {
    DatabaseError::of(error).map_or_else(|| describe(error), |error| error.in_query(query))
}

/// How much of a long line is shown on either side of the place.
const AROUND: usize = 60;

/// `LINE 2, column 8:` with that line and a caret below the place; `character` counts from 1.
fn show_place(query: &str, character: usize) -> Option<String> {
    let index = character.checked_sub(1)?;
    let characters: Vec<char> = query.chars().collect();
    if index > characters.len() {
        return None;
    }
    let before = &characters[..index];
    let line_number = before.iter().filter(|c| **c == '\n').count() + 1;
    let start = before
        .iter()
        .rposition(|c| *c == '\n')
        .map_or(0, |at| at + 1);
    let column = index - start;
    let line: Vec<char> = characters[start..]
        .iter()
        .take_while(|c| !matches!(c, '\n' | '\r'))
        .map(|c| if c.is_control() { ' ' } else { *c })
        .collect();
    let from = column.saturating_sub(AROUND);
    let to = line.len().min(column + AROUND);
    let cut = |is_cut: bool| if is_cut { "…" } else { "" };
    let shown: String = line[from.min(to)..to].iter().collect();
    let (left, right) = (cut(from > 0), cut(to < line.len()));
    let indent = " ".repeat(column - from + left.chars().count());
    Some(format!(
        "line {line_number}, column {}:\n  {left}{shown}{right}\n  {indent}^",
        column + 1
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn error(position: Position) -> DatabaseError {
        DatabaseError {
            sqlstate: "42703".to_owned(),
            message: "column \"nme\" does not exist".to_owned(),
            hint: Some("Perhaps you meant \"name\".".to_owned()),
            position: Some(position),
            ..DatabaseError::default()
        }
    }

    fn at(character: usize, query: Option<&str>) -> Position {
        Position {
            query: query.map(str::to_owned),
            character,
        }
    }

    #[test]
    fn the_place_is_shown_under_the_users_line() {
        let query = "SELECT id,\n\tnme -- größe\nFROM t";
        assert_eq!(
            error(at(13, None)).in_query(query),
            "column \"nme\" does not exist\nline 2, column 2:\n   nme -- größe\n   ^\nHint: Perhaps you meant \"name\"."
        );
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(
            show_place("SELECT 'größe', nme", 17).unwrap(),
            "line 1, column 17:\n  SELECT 'größe', nme\n                  ^"
        );
    }

    #[test]
    fn a_query_that_became_part_of_a_command_is_found_in_it() {
        let command = "CREATE VIEW \"ö\" AS SELECT nme FROM t WITH NO DATA";
        assert_eq!(
            error(at(27, Some(command)))
                .place_in("\n SELECT nme FROM t;\n")
                .unwrap(),
            "line 1, column 8:\n  SELECT nme FROM t;\n         ^"
        );
        assert_eq!(
            error(at(27, Some("something else"))).place_in("SELECT nme"),
            None
        );
        assert_eq!(
            error(at(3, Some(command))).place_in("SELECT nme FROM t"),
            None
        );
    }

    #[test]
    fn a_place_at_the_very_end_and_one_beyond_do_no_harm() {
        assert_eq!(
            show_place("SELECT", 7).unwrap(),
            "line 1, column 7:\n  SELECT\n        ^"
        );
        assert_eq!(show_place("SELECT", 8), None);
        assert_eq!(show_place("", 0), None);
        assert!(show_place("", 1).is_some());
    }

    #[test]
    fn of_a_long_line_only_the_surroundings_are_shown() {
        let query = format!("{}nme{}", "x".repeat(500), "y".repeat(500));
        let shown = show_place(&query, 501).unwrap();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].chars().count() < 130, "{shown}");
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(caret), Some('n'));
    }

    #[test]
    fn other_errors_are_plain_sentences() {
        let broken = sqlx::Error::Io(std::io::Error::other("reset"));
        assert_eq!(
            describe(&broken),
            "the connection to the server broke: reset"
        );
        assert_eq!(sqlstate(&broken), None);
    }
}
