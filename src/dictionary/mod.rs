//! Typed access to the module schema: the only place that knows its tables, columns and functions.

pub mod installation;
pub mod overview;
pub mod refreshes;
pub mod schedules;
