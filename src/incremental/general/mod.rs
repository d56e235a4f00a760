//! The general strategy: every operator by itself gives the SQL of its rows as they are now, restricted to some values of
//! its columns where asked to, and of its signed difference. Rows as they were are the rows now less the difference, so no
//! state is kept beside the materialized view.

mod anew;
mod asked;
mod build;
mod delta;
mod first;
mod grouped;
mod input;
mod join;
mod kept;
mod lookups;
mod node;
mod now;
mod partitions;
mod partners;
mod program;
mod pushdown;
mod repeated;
mod sides;
mod types;
mod unfold;
mod windowed;
mod writer;

pub(super) use anew::{all_groups, compile as compile_anew, is_inexact, refusal};
pub(super) use input::Input;
pub(super) use program::{compile, lookups};
