//! The connections that refreshes run on. There is one for each running refresh, opened when first needed and kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use super::super::lanes::Lane;
use super::super::view::UnitId;
use crate::connect::{self, ConnectError, ConnectionSettings};
use crate::dictionary::refreshes::Order;
use crate::refresh::{self, FailureClass, Report, RetryPolicy};
use crate::sql::ModuleSchema;

/// An open connection and its server process.
#[derive(Debug)]
struct Session {
    connection: PgConnection,
    pid: i32,
}

/// A refresh handed to a worker.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) unit: UnitId,
    pub(super) lane: Lane,
    pub(super) order: Order,
    /// The views concerned and their failures so far.
    pub(super) members: Vec<(i32, u32)>,
}

/// A refresh that has ended, one way or another.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) assignment: Assignment,
    pub(super) result: Result<Report, ConnectError>,
    session: Option<Session>,
}

/// The workers.
#[derive(Debug)]
pub(super) struct Workers {
    settings: ConnectionSettings,
    schema: ModuleSchema,
    retry: RetryPolicy,
    idle: Vec<Session>,
    /// The server process of each running refresh, 0 while it is connecting.
    running: HashMap<UnitId, Arc<AtomicI32>>,
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
            // user DDL may change what a statement returns, so none is kept prepared
            settings: settings.clone().with_statement_cache(0),
            schema: schema.clone(),
            retry,
            idle: Vec::new(),
            running: HashMap::new(),
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
        let session = self.idle.pop();
        let pid = Arc::new(AtomicI32::new(
            session.as_ref().map_or(0, |session| session.pid),
        ));
        self.running.insert(assignment.unit, Arc::clone(&pid));
        let (settings, schema, retry) = (self.settings.clone(), self.schema.clone(), self.retry);
        let ended = self.ended_sender.clone();
        tokio::spawn(async move {
            let ending = work(&settings, &schema, retry, assignment, session, &pid).await;
            // Fails only if the loop is gone, and then nobody wants to know.
            let _ = ended.send(ending);
        });
    }

    /// The next refresh that ends. Cancelling the wait loses nothing.
    pub(super) async fn next_ended(&mut self) -> Ended {
        let Some(mut ended) = self.ended.recv().await else {
            // this workers' own sender keeps the channel open
            return std::future::pending().await;
        };
        self.running.remove(&ended.assignment.unit);
        self.idle.extend(ended.session.take());
        ended
    }

    /// Closes the idle connections, keeping as many.
    pub(super) async fn close_idle(&mut self, keep: usize) {
        while self.idle.len() > keep {
            if let Some(session) = self.idle.pop() {
                // the server may be gone already
                let _ =
                    tokio::time::timeout(Duration::from_secs(1), session.connection.close()).await;
            }
        }
    }

    /// Forgets the idle connections: the server was away.
    pub(super) fn forget_idle(&mut self) {
        self.idle.clear();
    }

    /// Cancels all running refreshes on the server, over a connection of its own: dropping a future would leave them
    /// running.
    pub(super) async fn cancel_all(&self) -> Result<(), ConnectError> {
        let pids: Vec<i32> = self
            .running
            .values()
            .map(|pid| pid.load(Ordering::Relaxed))
            .filter(|pid| *pid != 0)
            .collect();
        let mut connection = connect::open(&self.settings, "canceller").await?;
        let sql = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS pid";
        // If it fails the server is going down, and the refreshes with it.
        let _ = sqlx::query(sql).bind(&pids).execute(&mut connection).await;
        let _ = connection.close().await;
        Ok(())
    }
}

async fn work(
    settings: &ConnectionSettings,
    schema: &ModuleSchema,
    retry: RetryPolicy,
    assignment: Assignment,
    session: Option<Session>,
    pid: &AtomicI32,
) -> Ended {
    let opened = match session {
        Some(session) => Ok(session),
        None => open(settings).await,
    };
    let mut session = match opened {
        Ok(session) => session,
        Err(error) => {
            return Ended {
                assignment,
                result: Err(error),
                session: None,
            };
        }
    };
    pid.store(session.pid, Ordering::Relaxed);
    let report = refresh::perform(
        &mut session.connection,
        schema,
        &assignment.order,
        &assignment.members,
        retry,
    )
    .await;
    let lost = matches!(&report, Report::Failed(failed) if failed.class == FailureClass::Server);
    Ended {
        assignment,
        result: Ok(report),
        session: (!lost).then_some(session),
    }
}

async fn open(settings: &ConnectionSettings) -> Result<Session, ConnectError> {
    let mut connection = connect::open(settings, "worker").await?;
    let pid = sqlx::query_scalar("SELECT pg_catalog.pg_backend_pid()")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| ConnectError::classify(settings, &error))?;
    Ok(Session { connection, pid })
}
