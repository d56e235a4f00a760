//! What kind of failure an error is, which decides what is done about it.

use crate::connect::DatabaseError;

/// What to do about a failed refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The connection or the server, not the materialized view: ask the server again how it is.
    Server,
    /// The server answers, but nothing can be written: a standby, or a read-only phase.
    ReadOnly,
    /// May pass by itself: try again later, and later each time.
    Transient,
    /// Needs somebody: suspend the materialized view until its settings are changed.
    Permanent,
}

/// Classifies an error by its SQLSTATE (appendix A of the `PostgreSQL` manual).
#[must_use]
pub fn classify(error: &sqlx::Error) -> FailureClass {
    match DatabaseError::of(error) {
        Some(error) => classify_sqlstate(&error.sqlstate),
        None => FailureClass::Server,
    }
}

fn classify_sqlstate(sqlstate: &str) -> FailureClass {
    match sqlstate {
        "25006" => FailureClass::ReadOnly,
        // shut down by an administrator, crashed, starting up, database dropped, too many connections
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "53300" => FailureClass::Server,
        _ => match sqlstate.get(..2) {
            Some("08") => FailureClass::Server,
            // What is asked for does not exist, is not allowed or not supported. Waiting changes nothing.
            Some("0A" | "28" | "2B" | "3D" | "3F" | "42") => FailureClass::Permanent,
            // Among others: 22 and 23, which come and go with the data; 40, 53, 55, 57014 (a timeout), 58, XX.
            _ => FailureClass::Transient,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_can_not_change_is_permanent() {
        for sqlstate in ["42P01", "42703", "42501", "42804", "0A000", "3F000"] {
            assert_eq!(
                classify_sqlstate(sqlstate),
                FailureClass::Permanent,
                "{sqlstate}"
            );
        }
    }

    #[test]
    fn what_may_pass_is_transient() {
        for sqlstate in [
            "40001", "40P01", "55P03", "57014", "22012", "23505", "53200", "P0001",
        ] {
            assert_eq!(
                classify_sqlstate(sqlstate),
                FailureClass::Transient,
                "{sqlstate}"
            );
        }
    }

    #[test]
    fn the_servers_own_troubles_are_not_the_views() {
        for sqlstate in ["57P01", "57P02", "57P03", "08006", "53300"] {
            assert_eq!(
                classify_sqlstate(sqlstate),
                FailureClass::Server,
                "{sqlstate}"
            );
        }
        assert_eq!(classify_sqlstate("25006"), FailureClass::ReadOnly);
        assert_eq!(classify(&sqlx::Error::WorkerCrashed), FailureClass::Server);
    }
}
