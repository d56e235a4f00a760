//! The connection over which the loop reads the dictionary, and what is known of the database: there, away, read-only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tracing::{debug, info, warn};

use crate::connect::{self, ConnectError, ConnectionSettings, describe, is_read_only};
use crate::dictionary::installation::{self, InstallError};
use crate::sql::ModuleSchema;
use crate::vitals::{DatabaseState, Vitals};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of the database.
#[derive(Debug)]
enum Database {
    Ready(Box<PgConnection>),
    /// Away or read-only since then; the next attempt is at `retry_at`.
    Away {
        since: Instant,
        retry_at: Instant,
        pause: Duration,
        announced: bool,
    },
}

/// The loop's connection.
#[derive(Debug)]
pub(super) struct Control {
    settings: ConnectionSettings,
    schema: ModuleSchema,
    database: Database,
    vitals: Arc<Vitals>,
}

impl Control {
    /// Not connected yet; the first attempt is due at once.
    pub(super) fn new(
        settings: &ConnectionSettings,
        schema: &ModuleSchema,
        vitals: Arc<Vitals>,
    ) -> Self {
        let now = Instant::now();
        Self {
            settings: settings.clone(),
            schema: schema.clone(),
            database: Database::Away {
                since: now,
                retry_at: now,
                pause: FIRST_PAUSE,
                announced: false,
            },
            vitals,
        }
    }

    /// Longer than any of the loop's small statements may take; after that the connection counts as lost.
    pub(super) fn patience(&self) -> Duration {
        self.settings.broken_after()
    }

    /// Whether the database answers and can be written to.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.database, Database::Ready(_))
    }

    /// When to try again; none while all is well.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self.database {
            Database::Ready(_) => None,
            Database::Away { retry_at, .. } => Some(retry_at),
        }
    }

    /// Tries to connect if it is time to; true if that brought the database back.
    pub(super) async fn reconnect(&mut self) -> bool {
        let Database::Away {
            since, retry_at, ..
        } = self.database
        else {
            return false;
        };
        if Instant::now() < retry_at {
            return false;
        }
        // logging in may take connect_timeout, and is not all that is done
        let patience = self.settings.connect_timeout() + self.patience();
        let opening = self.vitals.pulse.while_waiting(patience, self.open());
        let opened = opening.await.unwrap_or_else(|| Err(no_answer(patience)));
        match opened {
            Ok(connection) => {
                info!(
                    database = %self.settings,
                    away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "the database is ready"
                );
                self.database = Database::Ready(Box::new(connection));
                self.vitals.database(DatabaseState::Up);
                true
            }
            Err(reason) => {
                self.away(&reason);
                false
            }
        }
    }

    async fn open(&self) -> Result<PgConnection, String> {
        let one_line = |text: String| text.replace('\n', " ");
        let mut connection = connect::open(&self.settings, "scheduler")
            .await
            .map_err(|error: ConnectError| one_line(error.to_string()))?;
        let read_only = is_read_only(&mut connection)
            .await
            .map_err(|error| one_line(describe(&error)))?;
        if read_only {
            // The answer is the same whether the server takes note of the goodbye or not.
            let _ = connection.close().await;
            return Err(InstallError::ReadOnly.to_string());
        }
        installation::require(&mut connection, &self.schema)
            .await
            .map_err(|error| one_line(error.to_string()))?;
        Ok(connection)
    }

    /// Whether nothing can be written; `None` if the database is or goes away.
    pub(super) async fn is_read_only(&mut self) -> Option<bool> {
        self.ask(async |connection, _| is_read_only(connection).await)
            .await
    }

    /// Gives the connection up, if there is one, because the database is read-only.
    pub(super) fn give_up_read_only(&mut self) {
        if self.is_ready() {
            self.away(&InstallError::ReadOnly.to_string());
        }
    }

    /// Gives the connection up because the module schema is of another version now: somebody has upgraded it. What this
    /// program would do with it might be wrong. It takes no more work, and looks now and then whether that has changed.
    pub(super) fn step_aside(&mut self, installed: i64) {
        if self.is_ready() {
            let known = installation::known_version();
            warn!(
                installed,
                known,
                "the module schema is of another version now: stepping aside, and taking no more work until this program is replaced"
            );
            let schema = self.schema.to_string();
            self.away(&installation::other_version(schema, installed).to_string());
        }
    }

    /// Notes that the database is away, or read-only, and why. Said once, then only for debugging.
    fn away(&mut self, reason: &str) {
        let now = Instant::now();
        let (since, pause, announced) = match self.database {
            Database::Ready(_) => (now, FIRST_PAUSE, false),
            Database::Away {
                since,
                pause,
                announced,
                ..
            } => (since, (pause * 2).min(LONGEST_PAUSE), announced),
        };
        if matches!(self.database, Database::Ready(_)) {
            self.vitals.tallies().database_losses += 1;
        }
        self.vitals.database(DatabaseState::Away {
            since: Utc::now() - chrono::TimeDelta::from_std(since.elapsed()).unwrap_or_default(),
            reason: reason.to_owned(),
        });
        if announced {
            debug!(reason, "the database is still not ready");
        } else {
            warn!(database = %self.settings, reason, "the database is not ready: trying again until it is");
        }
        self.database = Database::Away {
            since,
            retry_at: now + pause,
            pause,
            announced: true,
        };
    }

    /// Carries out a statement of the loop; `None` if the database is or goes away.
    pub(super) async fn ask<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection, &ModuleSchema) -> sqlx::Result<T>,
    ) -> Option<T> {
        self.ask_for(self.patience(), statement).await
    }

    /// As [`Self::ask`], for a statement that may take so long.
    pub(super) async fn ask_for<T>(
        &mut self,
        patience: Duration,
        statement: impl AsyncFnOnce(&mut PgConnection, &ModuleSchema) -> sqlx::Result<T>,
    ) -> Option<T> {
        let Database::Ready(connection) = &mut self.database else {
            return None;
        };
        let answering = statement(connection, &self.schema);
        let answer = self.vitals.pulse.while_waiting(patience, answering).await;
        let reason = match answer {
            Some(Ok(answer)) => return Some(answer),
            Some(Err(error)) => describe(&error).replace('\n', " "),
            None => no_answer(patience),
        };
        self.away(&reason);
        None
    }

    /// Closes the connection.
    pub(super) async fn close(self) {
        if let Database::Ready(connection) = self.database {
            // nothing depends on whether the server hears it
            let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
        }
    }
}

fn no_answer(patience: Duration) -> String {
    format!("no answer for {} s", patience.as_secs())
}
