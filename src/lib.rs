//! mvrefreshd keeps materialized views fresh on stock `PostgreSQL`.
//!
//! The binary is a thin shell around this library; `docs/architecture.md` explains how the parts fit.

pub mod board;
pub mod cli;
pub mod commands;
pub mod config;
pub mod connect;
pub mod definition;
pub mod dictionary;
pub mod error;
pub mod explanation;
pub mod incremental;
pub mod refresh;
pub mod scheduler;
pub mod scratch;
pub mod server;
pub mod service_manager;
pub mod signals;
pub mod sql;
pub mod telemetry;
pub mod upkeep;
pub mod vitals;
