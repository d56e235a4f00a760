//! One refresh: performed, and its failure understood and noted.

pub mod compile;
pub mod examine;
mod failure;
pub mod parallel_fill;
mod perform;

pub use failure::{FailureClass, classify};
pub use perform::{Failed, Report, RetryPolicy, note_failures, perform};
