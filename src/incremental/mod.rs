//! From an operator tree to the SQL of a fast refresh. Text in, text out: no database, no clock.
//!
//! A tree is brought into the form "a bag or one grouping, over a sum of joins of base tables" ([`blocks`]); the signed
//! difference of that sum is again a sum of joins, some of their tables replaced by their changes ([`terms`]). It is applied
//! to the rows of the materialized view ([`bag`]), for a grouping by way of a state table ([`groups`]).

#![expect(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a view is compiled once; that its text can be read here counts more than an allocation"
)]

mod added_up;
mod bag;
mod blocks;
mod body;
mod bounds;
mod foreseen;
mod general;
mod groups;
mod identity;
mod interval;
mod keyed;
mod keys;
mod logs;
mod merge;
mod names;
mod partials;
mod print;
mod program;
mod recompute;
mod rows;
mod shown;
mod state;
mod statement;
mod stored;
mod straight;
mod terms;
mod together;
mod tolerance;
mod values_only;
mod variants;

pub use program::{FastRefresh, LoggedTable, Lookup, Plan, StateTable, Target, Variant, compile};
pub use tolerance::Tolerance;
