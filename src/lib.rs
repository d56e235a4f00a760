//! mvrefreshd keeps materialized views fresh on stock `PostgreSQL`.
//!
//! The binary is a thin shell around this library; `docs/architecture.md` explains how the parts fit.

pub mod dictionary;
pub mod scheduler;
pub mod scratch;
