//! What the loop knows of each view, told to whoever asks: between turns, so that it is consistent, and only when asked,
//! as there may be 100,000 views.

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use super::Engine;

/// Those who ask; each is answered once.
pub type Questions = mpsc::Receiver<oneshot::Sender<Census>>;

/// All views at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Census {
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// Whether the loop can read the dictionary at present; else this is what it knew.
    pub is_current: bool,
    /// The views, in no order.
    pub views: Vec<ViewCensus>,
}

/// One view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewCensus {
    /// The dictionary's key.
    pub mv_id: i32,
    /// As of when its rows are known to be right. For a view for which nothing was pending that is later than the
    /// dictionary's `last_refresh`.
    pub right_at: Option<DateTime<Utc>>,
    /// Since or from when on it is due; none: never, for now.
    pub due_at: Option<DateTime<Utc>>,
    /// Whether this daemon is refreshing it.
    pub is_refreshing: bool,
}

impl Engine {
    pub(super) fn tell(&self, who: oneshot::Sender<Census>) {
        let registry = &self.registry;
        let views = registry.views().map(|view| ViewCensus {
            mv_id: view.id,
            right_at: view.state.last_refresh,
            due_at: registry.unit(view.id).and_then(|unit| registry.due(unit)),
            is_refreshing: registry.is_running(view.id),
        });
        // whoever has given up waiting does not want to know
        let _ = who.send(Census {
            now: self.clock.now(),
            is_current: self.control.is_ready() && self.watermark.is_some(),
            views: views.collect(),
        });
    }
}
