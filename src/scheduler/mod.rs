//! Decides which materialized view is refreshed when.
//!
//! Everything here but the loop is pure: no database, no tasks, no clock. The present instant is always a
//! parameter, so that a simulation can run days in milliseconds and step the clock as it likes.
//!
//! The loop's part of the bargain, in the order of a tick: [`registry::Registry::observe`] the clock, take what to
//! start from [`dispatch::Dispatcher::next`], tell the registry by `mark_running` and later by `finish` or
//! `postpone`, and sleep until [`registry::Registry::next_instant`] or
//! [`dispatch::Dispatcher::look_again`], whichever comes first, or until something else happens.

pub mod backoff;
pub mod crontab;
pub mod dependencies;
pub mod dispatch;
pub mod engine;
pub mod fairness;
pub mod intern;
pub mod lanes;
pub mod registry;
pub mod schedule;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod simulation;
pub mod spread;
pub mod view;
