//! Typed access to the module schema: the only place that knows its tables, columns and functions.

pub mod audits;
pub mod board;
pub mod catalog;
pub mod changes;
pub mod definitions;
pub mod history;
pub mod indexes;
pub mod installation;
pub mod inventory;
pub mod logs;
pub mod outlook;
pub mod overview;
pub mod parallel_fills;
pub mod programs;
pub mod refreshes;
pub mod requests;
pub mod schedules;
pub mod sessions;
pub mod upgrade;
pub mod views;
