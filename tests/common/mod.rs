//! What the integration tests share: servers of their own, and the daemon under test.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod daemon;
mod database;
mod fast;
mod http;
mod logs;
mod notify;
mod pooler;
mod proxy;
mod server;
mod shop;
mod tls;
mod tools;
mod upkeep;
mod watch;

pub(crate) use daemon::{Daemon, Finished, Signal, run};
pub(crate) use database::{Database, Failure, Session, install_as};
pub(crate) use fast::Refreshed;
pub(crate) use http::{Answer, get, request, url_of};
pub(crate) use notify::NotifySocket;
pub(crate) use pooler::Pooler;
pub(crate) use proxy::{Break, Link, Proxy};
pub(crate) use server::{TestServer, covered_majors, installation, options, with_pg_upgrade};
pub(crate) use shop::{AGED, CHANGES, Shop};
pub(crate) use tls::{Authority, serve_tls};
pub(crate) use tools::{program, tool};
pub(crate) use upkeep::Upkeep;
pub(crate) use watch::{
    GATED_QUERY, Gate, change_until_fast, count, execute, holds, install, never_overlapping,
    refreshed, spawn, until,
};
