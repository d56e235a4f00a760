//! Where the server has its data from. However many ask, the database is read once in `http.cache`, on one connection,
//! and never while it is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::board::{self, Board};
use crate::config::HttpConfig;
use crate::connect::{self, ConnectionSettings, describe};
use crate::dictionary::installation;
use crate::scheduler::engine::Census;
use crate::sql::{self, ModuleSchema};
use crate::vitals::{DatabaseState, Phase, Vitals};

/// The longest that anybody waits for the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that the loop is waited for.
const CENSUS_PATIENCE: Duration = Duration::from_secs(1);

/// The data of one of a daemon's databases.
#[derive(Debug)]
pub struct Source {
    name: String,
    settings: ConnectionSettings,
    schema: ModuleSchema,
    vitals: Arc<Vitals>,
    loop_: mpsc::Sender<oneshot::Sender<Census>>,
    config: HttpConfig,
    link: Mutex<Link>,
}

/// The connection, and what was read over it.
#[derive(Debug, Default)]
struct Link {
    connection: Option<PgConnection>,
    board: Option<Arc<Board>>,
    board_read: Option<Read>,
    schema_read: Option<Read>,
}

/// When something was last read, and what came of it.
#[derive(Debug, Clone)]
struct Read {
    at: Instant,
    result: Result<(), String>,
}

/// The board, as it was read last.
#[derive(Debug, Clone)]
pub struct Shown {
    /// None before it could be read for the first time.
    pub board: Option<Arc<Board>>,
    /// Why it can't be read at present, and the board is an old one.
    pub problem: Option<String>,
}

impl Source {
    /// Nothing is read before somebody asks.
    #[must_use]
    pub fn new(
        name: &str,
        settings: &ConnectionSettings,
        schema: &ModuleSchema,
        vitals: Arc<Vitals>,
        loop_: mpsc::Sender<oneshot::Sender<Census>>,
        config: HttpConfig,
    ) -> Self {
        Self {
            name: name.to_owned(),
            settings: settings.clone(),
            schema: schema.clone(),
            vitals,
            loop_,
            config,
            link: Mutex::default(),
        }
    }

    /// What the daemon publishes of itself.
    #[must_use]
    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// What the database is called.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.name
    }

    /// For how many views there are metrics of their own.
    #[must_use]
    pub fn top_views(&self) -> usize {
        usize::try_from(self.config.top_views).unwrap_or(usize::MAX)
    }

    /// The board, read again if it is older than `http.cache`.
    pub async fn board(&self) -> Shown {
        let mut link = self.link.lock().await;
        if !self.is_fresh(link.board_read.as_ref()) {
            let census = self.census().await;
            let read = self
                .ask(&mut link, async |connection, schema| {
                    board::read(connection, schema, census.as_ref()).await
                })
                .await;
            link.board_read = Some(Read {
                at: Instant::now(),
                result: read.as_ref().map(|_| ()).map_err(Clone::clone),
            });
            if let Ok(board) = read {
                link.board = Some(Arc::new(board));
            }
        }
        Shown {
            board: link.board.clone(),
            problem: link.board_read.clone().and_then(|read| read.result.err()),
        }
    }

    /// Whether the daemon can do its work: the database answers, and its module schema is of this program's version.
    pub async fn is_ready(&self) -> Result<(), String> {
        match self.vitals.report().phase {
            Phase::Running => {}
            Phase::Waiting(reason) => return Err(reason),
            Phase::Starting => return Err("starting".to_owned()),
            Phase::Stopping => return Err("stopping".to_owned()),
        }
        let mut link = self.link.lock().await;
        if let Some(read) = link
            .schema_read
            .as_ref()
            .filter(|read| self.is_fresh(Some(read)))
        {
            return read.result.clone();
        }
        let result = self
            .ask(&mut link, async |connection, schema| {
                Ok(installation::require(connection, schema).await)
            })
            .await;
        let result = match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string().replace('\n', " ")),
            Err(reason) => Err(reason),
        };
        link.schema_read = Some(Read {
            at: Instant::now(),
            result: result.clone(),
        });
        result
    }

    /// Reads something that is not kept, for one who asks.
    pub async fn read<T>(
        &self,
        statements: impl AsyncFnOnce(&mut PgConnection, &ModuleSchema) -> sqlx::Result<T>,
    ) -> Result<T, String> {
        let mut link = self.link.lock().await;
        self.ask(&mut link, statements).await
    }

    fn is_fresh(&self, read: Option<&Read>) -> bool {
        read.is_some_and(|read| read.at.elapsed() < self.config.cache)
    }

    async fn census(&self) -> Option<Census> {
        let (answer, answered) = oneshot::channel();
        self.loop_.try_send(answer).ok()?;
        let answered = tokio::time::timeout(CENSUS_PATIENCE, answered).await;
        answered.ok()?.ok()
    }

    /// The connection is kept only after an answer: whoever asks may go away in the middle of one, and then it is closed.
    async fn ask<T>(
        &self,
        link: &mut Link,
        statements: impl AsyncFnOnce(&mut PgConnection, &ModuleSchema) -> sqlx::Result<T>,
    ) -> Result<T, String> {
        if let DatabaseState::Away { reason, .. } = self.vitals.report().database {
            link.connection = None;
            return Err(reason);
        }
        let kept = link.connection.take();
        let asking = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.open().await?,
            };
            match self.ask_once(&mut connection, statements).await {
                Ok(answer) => Ok((answer, connection)),
                Err(error) => Err(describe(&error).replace('\n', " ")),
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        let (answer, connection) =
            asked.unwrap_or_else(|_| Err(format!("no answer for {} s", PATIENCE.as_secs())))?;
        link.connection = Some(connection);
        Ok(answer)
    }

    /// In one transaction, to which all limits are bound: behind a pooler the session is somebody else's next.
    async fn ask_once<T>(
        &self,
        connection: &mut PgConnection,
        statements: impl AsyncFnOnce(&mut PgConnection, &ModuleSchema) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL search_path TO pg_catalog, pg_temp; SET LOCAL statement_timeout TO '{}s'",
            PATIENCE.as_secs()
        );
        let mut transaction = connection.begin_with(sql::composed(begin)).await?;
        let answer = statements(&mut transaction, &self.schema).await?;
        transaction.rollback().await?;
        Ok(answer)
    }

    async fn open(&self) -> Result<PgConnection, String> {
        let opened = connect::open(&self.settings, "server").await;
        opened.map_err(|error| error.to_string().replace('\n', " "))
    }
}
