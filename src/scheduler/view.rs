//! What the scheduler keeps of a materialized view, and the unit in which views are refreshed.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::schedule::{Schedule, ViewState};

/// An interned refresh group; see [`super::intern::Interner::group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// What is refreshed at once: a view by itself, or the views of a refresh group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitId {
    /// The view with this `mv_id`.
    View(i32),
    /// All enabled views of a refresh group, in one transaction.
    Group(GroupId),
}

impl UnitId {
    /// The greatest unit in order.
    pub(super) const MAX: Self = Self::Group(GroupId(u32::MAX));
}

/// Limits on a view's refreshes, in milliseconds; `None` where the configuration's apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// `statement_timeout`.
    pub statement_ms: Option<NonZeroU32>,
    /// `lock_timeout`.
    pub lock_ms: Option<NonZeroU32>,
}

/// A materialized view as the scheduler knows it. Kept small: there may be 100,000.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The dictionary's `mv_id`.
    pub id: i32,
    /// Its refresh group, if any.
    pub group: Option<GroupId>,
    /// Rate and crontab, shared between views; see [`super::intern::Interner::schedule`].
    pub schedule: Arc<Schedule>,
    /// What happened so far.
    pub state: ViewState,
    /// Moving average of a refresh's duration in milliseconds; `None` if never measured.
    pub avg_cost_ms: Option<f32>,
    /// The materialized views that its defining view reads directly.
    pub depends_on: Box<[i32]>,
    /// Its own timeouts.
    pub timeouts: Timeouts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_views_stay_small() {
        assert!(size_of::<View>() <= 160, "{} bytes", size_of::<View>());
    }
}
