//! What can keep the module schema from being installed, upgraded or removed.

use thiserror::Error;

use crate::connect::describe;

/// Why the module schema could not be installed, upgraded or removed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// Made by a newer program.
    #[error(
        "the module schema {schema} is at version {installed}, this program knows versions up to {known}: \
         use a newer mvrefreshd"
    )]
    Newer {
        /// The schema, quoted.
        schema: String,
        /// The newest migration in the database.
        installed: i64,
        /// The newest migration in this program.
        known: i64,
    },
    /// A migration that was applied is not the one this program has.
    #[error(
        "version {version} of the module schema {schema} is not the one this program knows: it was made by a \
         development version; uninstall it (materialized views stay as tables) and install again"
    )]
    Different {
        /// The schema, quoted.
        schema: String,
        /// The migration.
        version: i64,
    },
    /// Older than this program, and not to be upgraded.
    #[error(
        "the module schema {schema} is at version {installed} and this program needs {known}: run mvrefreshd install"
    )]
    Older {
        /// The schema, quoted.
        schema: String,
        /// The newest migration in the database; 0 if there is none.
        installed: i64,
        /// The newest migration in this program.
        known: i64,
    },
    /// There is something else of that name.
    #[error(
        "schema {schema} exists and is not a module schema of mvrefreshd: choose another name (database.schema)"
    )]
    Foreign {
        /// The schema, quoted.
        schema: String,
    },
    /// The role may not create it.
    #[error(
        "role \"{role}\" may not create schemas in database \"{database}\"; as an administrator: \
         GRANT CREATE ON DATABASE \"{database}\" TO \"{role}\""
    )]
    MayNotCreate {
        /// The role logged in.
        role: String,
        /// The database.
        database: String,
    },
    /// The schema belongs to somebody else.
    #[error(
        "the module schema {schema} belongs to \"{owner}\"; install, upgrade and uninstall as that role"
    )]
    OtherOwner {
        /// The schema, quoted.
        schema: String,
        /// Its owner.
        owner: String,
    },
    /// A standby, or a read-only phase.
    #[error(
        "the database is read-only (a standby, or default_transaction_read_only is on): try again when it is writable"
    )]
    ReadOnly,
    /// Somebody is using what is to be changed.
    #[error(
        "version {version} of the module schema {schema} could not be installed now, as a running refresh or an open \
         transaction is using it: try again when that has ended"
    )]
    Busy {
        /// The schema, quoted.
        schema: String,
        /// The migration.
        version: i64,
    },
    /// A migration failed.
    #[error("version {version} of the module schema could not be installed: {message}")]
    Migration {
        /// The migration.
        version: i64,
        /// The server's message.
        message: String,
    },
    /// Anything else the server said.
    #[error("{}", describe(.0))]
    Database(#[from] sqlx::Error),
}
