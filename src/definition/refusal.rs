//! Why a query can't be refreshed fast.

use thiserror::Error;

/// The clause of a query that rules out the fast refresh, and the reason, in one line for users.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{clause}: {reason}")]
pub struct Refusal {
    /// The clause as one would write it, such as `LIMIT` or `sum(price)`.
    pub clause: String,
    /// Why it can't be.
    pub reason: String,
}

impl Refusal {
    /// A refusal of this clause for this reason.
    pub(crate) fn new(clause: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            clause: clause.into(),
            reason: reason.into(),
        }
    }

    /// Something of the parse tree that the reader was not written for.
    pub(crate) fn unknown(clause: impl Into<String>) -> Self {
        Self::new(clause, "this version does not know it")
    }
}
