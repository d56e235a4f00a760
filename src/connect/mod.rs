//! Connections to the database: resolving the settings, opening, and telling users what went wrong.

mod database_error;
mod failure;
mod open;
mod settings;
pub mod silence;

pub use database_error::{DatabaseError, Position, describe, describe_in_query, sqlstate};
pub use failure::{ConnectError, ConnectFailure};
pub use open::{OLDEST_VERSION, is_read_only, open};
pub use settings::{CREDENTIAL, ConnectionSettings};
