//! What kind of failure an error is, which decides what is done about it.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// What to do about a failed refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The connection or the server, not the materialized view: ask the server again how it is.
    Server,
    /// The server answers, but nothing can be written: a standby, or a read-only phase.
    ReadOnly,
    /// The module schema is of another version than this program: nothing that fails then is the view's own failure.
    OtherVersion,
    /// May pass by itself: try again later, and later each time.
    Transient,
    /// Needs somebody: suspend the materialized view until its settings are changed.
    Permanent,
}

/// Classifies an error by its severity and its SQLSTATE (appendix A of the `PostgreSQL` manual).
#[must_use]
pub fn classify(error: &sqlx::Error) -> FailureClass {
    let reported = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    match reported {
        None => FailureClass::Server,
        Some(error) => classify_report(error.severity(), error.code()),
    }
}

fn classify_report(severity: PgSeverity, sqlstate: &str) -> FailureClass {
    // By the severity and not by the code: a query that reads another server reports that one's troubles, say 08001 or
    // 57P01, as mere errors of its own.
    if matches!(severity, PgSeverity::Fatal | PgSeverity::Panic) {
        return FailureClass::Server;
    }
    match sqlstate {
        "25006" => FailureClass::ReadOnly,
        _ => match sqlstate.get(..2) {
            // What is asked for does not exist, is not allowed or not supported. Waiting changes nothing.
            Some("0A" | "28" | "2B" | "3D" | "3F" | "42") => FailureClass::Permanent,
            // Among others: 08, another server's; 22 and 23, which come and go with the data; 40, 53, 55, 57014 (a
            // timeout), 58, XX.
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
                classify_report(PgSeverity::Error, sqlstate),
                FailureClass::Permanent,
                "{sqlstate}"
            );
        }
    }

    #[test]
    fn what_may_pass_is_transient() {
        for sqlstate in [
            "40001", "40P01", "55P03", "57014", "22012", "23505", "53200", "P0001", "08001",
            "57P01",
        ] {
            assert_eq!(
                classify_report(PgSeverity::Error, sqlstate),
                FailureClass::Transient,
                "{sqlstate}"
            );
        }
    }

    #[test]
    fn the_end_of_a_session_is_the_servers_trouble_and_not_the_views() {
        for sqlstate in ["57P01", "57P02", "57P03", "08006", "53300", "25P03"] {
            assert_eq!(
                classify_report(PgSeverity::Fatal, sqlstate),
                FailureClass::Server,
                "{sqlstate}"
            );
        }
        assert_eq!(classify(&sqlx::Error::WorkerCrashed), FailureClass::Server);
    }

    #[test]
    fn a_database_that_can_only_be_read_is_a_class_of_its_own() {
        assert_eq!(
            classify_report(PgSeverity::Error, "25006"),
            FailureClass::ReadOnly
        );
    }
}
