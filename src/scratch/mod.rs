//! A private scratch `PostgreSQL`: for `mvrefreshd demo` and for the tests.
//!
//! [`Cluster::start`] makes a server of its own in a private temporary directory, reachable through a Unix socket in
//! that directory, and removes every trace of it when the value is dropped. Should the process be killed before it can
//! do so, a guardian process ends the server and removes the directory.
//!
//! The interface blocks: call it through `spawn_blocking` from asynchronous code that has anything else to do.

mod account;
mod binaries;
mod cluster;
mod error;
mod files;
mod guardian;
mod server;
mod template;

pub use binaries::{Installation, OLDEST_SUPPORTED_MAJOR};
pub use cluster::{Cluster, Options, SUPERUSER};
pub use error::ScratchError;
