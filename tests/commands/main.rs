//! The one-shot commands, as users and scripts meet them: what they print, what they change, how they exit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod adopt;
mod alter;
mod bad_input;
mod create;
mod explain;
mod refresh;
mod shop;
mod status;
mod uninstall;
mod upgrade;
mod verify;
mod versions;
