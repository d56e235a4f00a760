//! The connections that refreshes run on. There is one for each running refresh, opened when first needed and kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use sqlx::Connection;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::Instrument;

use super::super::lanes::Lane;
use super::super::view::UnitId;
use super::work::{NoReport, Session, Work};
use crate::connect::{self, ConnectError, ConnectionSettings};
use crate::dictionary::refreshes::{self, Order};
use crate::refresh::{Report, RetryPolicy};
use crate::sql::ModuleSchema;

/// How often refreshes that go on are cancelled again: some may not have begun when they were cancelled first.
const CANCEL_INTERVAL: Duration = Duration::from_millis(200);

/// A refresh handed to a worker.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) unit: UnitId,
    pub(super) lane: Lane,
    pub(super) order: Order,
    /// The views concerned and their failures so far.
    pub(super) members: Vec<(i32, u32)>,
}

impl Assignment {
    /// The views concerned.
    pub(super) fn ids(&self) -> Vec<i32> {
        self.members.iter().map(|(id, _)| *id).collect()
    }
}

/// A refresh that has ended, one way or another.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) assignment: Arc<Assignment>,
    pub(super) result: Result<Report, NoReport>,
    session: Option<Session>,
}

/// A running refresh.
#[derive(Debug)]
struct Run {
    assignment: Arc<Assignment>,
    task: AbortHandle,
    /// When to look whether the server still knows of it.
    watch_at: Instant,
    /// The server did not, the last time.
    is_suspect: bool,
}

/// The workers.
#[derive(Debug)]
pub(super) struct Workers {
    settings: ConnectionSettings,
    schema: ModuleSchema,
    retry: RetryPolicy,
    idle: Vec<Session>,
    running: HashMap<UnitId, Run>,
    is_stopping: Arc<AtomicBool>,
    ended_sender: mpsc::UnboundedSender<Ended>,
    ended: mpsc::UnboundedReceiver<Ended>,
}

impl Workers {
    pub(super) fn new(
        settings: &ConnectionSettings,
        schema: &ModuleSchema,
        retry: RetryPolicy,
    ) -> Self {
        let (ended_sender, ended) = mpsc::unbounded_channel();
        Self {
            settings: settings.clone(),
            schema: schema.clone(),
            retry,
            idle: Vec::new(),
            running: HashMap::new(),
            is_stopping: Arc::default(),
            ended_sender,
            ended,
        }
    }

    pub(super) fn set_retry(&mut self, retry: RetryPolicy) {
        self.retry = retry;
    }

    pub(super) fn retry(&self) -> RetryPolicy {
        self.retry
    }

    /// How many refreshes are running.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Begins a refresh.
    pub(super) fn start(&mut self, assignment: Assignment) {
        let assignment = Arc::new(assignment);
        let work = Work {
            settings: self.settings.clone(),
            schema: self.schema.clone(),
            retry: self.retry,
            assignment: Arc::clone(&assignment),
            is_stopping: Arc::clone(&self.is_stopping),
        };
        let session = self.take_idle(assignment.unit);
        let task = tokio::spawn(work.run(session).in_current_span());
        let run = Run {
            assignment: Arc::clone(&assignment),
            task: task.abort_handle(),
            // from then on it is suspected to have lost its connection
            watch_at: Instant::now() + self.settings.broken_after(),
            is_suspect: false,
        };
        self.running.insert(assignment.unit, run);
        let ended = self.ended_sender.clone();
        tokio::spawn(async move {
            // also when it panics or is given up: a refresh without end would be taken for running for ever
            let (result, session) = match task.await {
                Ok(done) => done,
                Err(error) if error.is_panic() => (Err(NoReport::Panicked), None),
                Err(_) => (Err(NoReport::Lost), None),
            };
            // Fails only if the loop is gone, and then nobody wants to know.
            let _ = ended.send(Ended {
                assignment,
                result,
                session,
            });
        });
    }

    /// An idle connection, rather one that has refreshed this unit before: its plans are kept there.
    fn take_idle(&mut self, unit: UnitId) -> Option<Session> {
        let last = self.idle.len().checked_sub(1)?;
        let best = self.idle.iter().rposition(|session| session.knows(unit));
        Some(self.idle.swap_remove(best.unwrap_or(last)))
    }

    /// The next refresh that ends. Cancelling the wait loses nothing.
    pub(super) async fn next_ended(&mut self) -> Ended {
        let Some(mut ended) = self.ended.recv().await else {
            // this workers' own sender keeps the channel open
            return std::future::pending().await;
        };
        self.running.remove(&ended.assignment.unit);
        match ended.session.take() {
            Some(session) if session.is_full() => {
                // nobody waits for that, and nothing depends on it
                tokio::spawn(session.connection.close());
            }
            session => self.idle.extend(session),
        }
        ended
    }

    /// When the next running refresh has to be looked after.
    pub(super) fn watch_at(&self) -> Option<Instant> {
        self.running.values().map(|run| run.watch_at).min()
    }

    /// The units that have to be looked after now, with one view of each.
    pub(super) fn to_watch(&self) -> Vec<(UnitId, i32)> {
        let now = Instant::now();
        let old = self.running.values().filter(|run| run.watch_at <= now);
        old.filter_map(|run| Some((run.assignment.unit, run.assignment.members.first()?.0)))
            .collect()
    }

    /// Takes note of whether a server process holds the unit's lock. Where none does twice in a row, the refresh has
    /// ended and its answer is lost on the way: it is given up.
    pub(super) fn watched(&mut self, unit: UnitId, has_lock: bool) {
        if let Some(run) = self.running.get_mut(&unit) {
            if run.is_suspect && !has_lock {
                run.task.abort();
            }
            run.is_suspect = !has_lock;
            run.watch_at = Instant::now() + self.settings.broken_after() / 3;
        }
    }

    /// Closes the idle connections, keeping as many.
    pub(super) async fn close_idle(&mut self, keep: usize) {
        let surplus = self.idle.drain(keep.min(self.idle.len())..);
        let closing = join_all(surplus.map(|session| session.connection.close()));
        // the server may be gone already
        let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
    }

    /// Forgets the idle connections, and looks after the others at once: the server was away.
    pub(super) fn server_was_away(&mut self) {
        self.idle.clear();
        let now = Instant::now();
        for run in self.running.values_mut() {
            run.watch_at = now;
        }
    }

    /// Cancels all running refreshes on the server and waits for their ends. (Dropping a future would leave them
    /// running.) Over a connection of its own, as theirs are busy.
    pub(super) async fn cancel_all(&mut self) -> Result<(), ConnectError> {
        self.is_stopping.store(true, Ordering::Relaxed);
        let mut connection = connect::open(&self.settings, "canceller").await?;
        while self.running() > 0 {
            let ids = self.running_ids();
            // If it fails the server is going down, and the refreshes with it.
            let _ = refreshes::cancel(&mut connection, &self.schema, &ids).await;
            let pause = tokio::time::sleep(CANCEL_INTERVAL);
            tokio::pin!(pause);
            while self.running() > 0 {
                tokio::select! {
                    _ = self.next_ended() => {}
                    () = &mut pause => break,
                }
            }
        }
        let _ = connection.close().await;
        Ok(())
    }

    fn running_ids(&self) -> Vec<i32> {
        let runs = self.running.values();
        let members = runs.flat_map(|run| &run.assignment.members);
        members.map(|(id, _)| *id).collect()
    }
}
