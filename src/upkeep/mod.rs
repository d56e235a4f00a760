//! What has to be looked after beside refreshing: programs to be compiled, logs to be repaired, pruned and dropped,
//! quiet materialized views to be noted as right, audits. On a connection of its own, so that no refresh waits for it.

mod audit;
mod step;

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::debug;

use crate::config::{AuditConfig, Config, HistoryConfig, LogsConfig};
use crate::connect::{self, ConnectionSettings, describe, silence};
use crate::dictionary::installation;
use crate::sql::ModuleSchema;
use crate::vitals::Vitals;

/// How long to wait after a wake, as changes tend to come several at a time.
const GATHERING: Duration = Duration::from_millis(50);

/// When to look again at what could not be done because something was in use.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// What its session is for, as `pg_stat_activity` shows it.
const ROLE: &str = "upkeep";

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The part of the configuration that can change while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Tunables {
    /// Intervals and limits.
    pub logs: LogsConfig,
    /// How often what is checked.
    pub audit: AuditConfig,
    /// How long what was found is kept.
    pub history: HistoryConfig,
}

impl From<&Config> for Tunables {
    fn from(config: &Config) -> Self {
        Self {
            logs: config.logs.clone(),
            audit: config.audit.clone(),
            history: config.history.clone(),
        }
    }
}

/// How a round of upkeep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Everything is done.
    Done,
    /// There is more of the same.
    More,
    /// Something was in use.
    Later,
}

/// Looks after things until it is dropped: at every wake, and at the configured interval.
pub async fn run(
    settings: ConnectionSettings,
    schema: ModuleSchema,
    wake: Arc<Notify>,
    vitals: Arc<Vitals>,
    mut tunables: watch::Receiver<Tunables>,
) {
    let mut pause = GATHERING;
    loop {
        match serve(&settings, &schema, &wake, &vitals, &mut tunables).await {
            Err(reason) => debug!(reason, "no upkeep for now"),
            Ok(()) => return,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Ends without an error when nobody is there to change the configuration any more.
async fn serve(
    settings: &ConnectionSettings,
    schema: &ModuleSchema,
    wake: &Notify,
    vitals: &Vitals,
    tunables: &mut watch::Receiver<Tunables>,
) -> Result<(), String> {
    let mut connection = open(settings, schema).await?;
    loop {
        let now = tunables.borrow_and_update().clone();
        let work = step::round(
            &mut connection,
            schema,
            vitals,
            &now,
            settings.broken_after(),
        );
        let round = silence::while_known(settings, ROLE, work)
            .await
            .map_err(|lost| lost.to_string())?
            .map_err(|error| describe(&error).replace('\n', " "))?;
        vitals.tallies().upkeep_rounds += 1;
        let until = Instant::now()
            + match round {
                Round::Done => now.logs.check_every,
                Round::More => Duration::ZERO,
                Round::Later => RETRY_PAUSE.min(now.logs.check_every),
            };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = wake.notified() => tokio::time::sleep(GATHERING).await,
            changed = tunables.changed() => if changed.is_err() {
                let _ = connection.close().await;
                return Ok(());
            }
        }
    }
}

async fn open(
    settings: &ConnectionSettings,
    schema: &ModuleSchema,
) -> Result<PgConnection, String> {
    let opening = async {
        let mut connection = connect::open(settings, ROLE)
            .await
            .map_err(|error| error.to_string())?;
        installation::require(&mut connection, schema)
            .await
            .map_err(|error| error.to_string())?;
        Ok(connection)
    };
    let limit = settings.connect_timeout() + settings.broken_after();
    tokio::time::timeout(limit, opening)
        .await
        .unwrap_or_else(|_| Err("no answer".to_owned()))
}
