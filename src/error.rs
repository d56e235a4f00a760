//! How a command ends: exit codes that scripts can use (those of `sysexits.h`), and the message.

use std::fmt;

use crate::config::ConfigProblems;
use crate::connect::{ConnectError, ConnectFailure, DatabaseError, describe};

/// A command's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Done, and the answer is no: a difference was found, something is not as it should be.
    Negative = 1,
    /// Wrong command line (`EX_USAGE`).
    Usage = 64,
    /// Wrong input: a query, a name, a schedule (`EX_DATAERR`).
    Data = 65,
    /// The database can't be had (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A defect of ours (`EX_SOFTWARE`).
    Internal = 70,
    /// Try again later (`EX_TEMPFAIL`).
    Temporary = 75,
    /// A privilege is missing, or the login was refused (`EX_NOPERM`).
    Permission = 77,
    /// Wrong configuration (`EX_CONFIG`).
    Configuration = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: an exit code, one line, and perhaps lines that help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, in one line where possible.
    pub message: String,
    /// What to do about it, a line each.
    pub hints: Vec<String>,
}

impl CommandError {
    /// An error with its message.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// With one more line that helps.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// As printed to standard error: `mvrefreshd: message`, then the hints indented.
impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mvrefreshd: {}", self.message)?;
        for hint in &self.hints {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CommandError {}

impl From<ConfigProblems> for CommandError {
    fn from(problems: ConfigProblems) -> Self {
        let message = match problems.0.as_slice() {
            [problem] => problem.to_string(),
            problems => {
                let lines: Vec<String> = problems.iter().map(|p| format!("  {p}")).collect();
                format!(
                    "the configuration has {} problems:\n{}",
                    lines.len(),
                    lines.join("\n")
                )
            }
        };
        Self::new(Exit::Configuration, message)
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        use ConnectFailure as F;
        let exit = match error.failure {
            F::NoServer | F::UnknownHost | F::Timeout | F::NotReady | F::Tls | F::Other => {
                Exit::Unavailable
            }
            F::TooManyConnections | F::ReadOnly => Exit::Temporary,
            F::Forbidden | F::Password | F::Role | F::Refused | F::Privilege => Exit::Permission,
            F::UnknownDatabase | F::Version | F::Settings => Exit::Configuration,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<sqlx::Error> for CommandError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(error) = DatabaseError::of(&error) {
            return error.into();
        }
        let exit = match &error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed => Exit::Unavailable,
            _ => Exit::Internal,
        };
        Self::new(exit, describe(&error))
    }
}

impl From<DatabaseError> for CommandError {
    fn from(error: DatabaseError) -> Self {
        let exit = exit_of_sqlstate(&error.sqlstate);
        let hints = [("Detail", error.detail), ("Hint", error.hint)];
        let mut command_error = Self::new(exit, error.message);
        for (label, text) in hints {
            if let Some(text) = text {
                command_error = command_error.with_hint(format!("{label}: {text}"));
            }
        }
        command_error
    }
}

/// The exit code for an error reported by the server (appendix A of the `PostgreSQL` manual).
#[must_use]
pub fn exit_of_sqlstate(sqlstate: &str) -> Exit {
    match sqlstate {
        "42501" => Exit::Permission,
        // query_canceled, lock_not_available, object_in_use, read_only_sql_transaction
        "57014" | "55P03" | "55006" | "25006" => Exit::Temporary,
        _ => match sqlstate.get(..2) {
            Some("08" | "57") => Exit::Unavailable,
            Some("40" | "53") => Exit::Temporary,
            Some("28") => Exit::Permission,
            Some("XX" | "58") => Exit::Internal,
            // What is left is about what was asked for: syntax, names, values, or refused by our own functions.
            _ => Exit::Data,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_end_with_the_code_for_their_class() {
        for (sqlstate, exit) in [
            ("42501", Exit::Permission),
            ("42601", Exit::Data),
            ("42P01", Exit::Data),
            ("P0001", Exit::Data),
            ("23505", Exit::Data),
            ("40001", Exit::Temporary),
            ("40P01", Exit::Temporary),
            ("55P03", Exit::Temporary),
            ("57014", Exit::Temporary),
            ("25006", Exit::Temporary),
            ("57P01", Exit::Unavailable),
            ("08006", Exit::Unavailable),
            ("XX000", Exit::Internal),
        ] {
            assert_eq!(exit_of_sqlstate(sqlstate), exit, "{sqlstate}");
        }
    }

    #[test]
    fn message_and_hints_are_printed_a_line_each() {
        let error = CommandError::from(DatabaseError {
            sqlstate: "42P01".to_owned(),
            message: "relation \"x\" does not exist".to_owned(),
            hint: Some("look".to_owned()),
            ..DatabaseError::default()
        });
        assert_eq!(error.exit, Exit::Data);
        assert_eq!(
            error.to_string(),
            "mvrefreshd: relation \"x\" does not exist\n  Hint: look"
        );
    }
}
