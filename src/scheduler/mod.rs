//! x
pub mod backoff;
pub mod crontab;
pub mod lanes;
