//! Networks that fail in silence: nothing arrives any more, and neither side is told.
//!
//! The server's side is looked after by the server's kernel, which sends keepalive probes where the session asks for
//! them, and by `client_connection_check_interval`, by which a backend that is at work finds out. Our own side can't
//! ask for probes (the driver keeps the socket to itself), so whoever waits for long asks the server over another
//! connection whether it still knows of him.

use std::time::Duration;

use sqlx::Connection;
use thiserror::Error;

use super::open::open;
use super::settings::ConnectionSettings;
use crate::sql;

/// The server knows of no session at work on what is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the connection broke without notice")]
pub struct Lost;

/// Statements by which a session has the server give it up after that long without a sign of life from our side, whatever
/// it is doing. Without effect on Unix sockets, which do not break in silence.
#[must_use]
pub fn keepalive(broken_after: Duration) -> String {
    let seconds = broken_after.as_secs().max(2);
    format!(
        "SET tcp_keepalives_idle TO {idle}; SET tcp_keepalives_interval TO {interval}; SET tcp_keepalives_count TO 3; \
         SET tcp_user_timeout TO {limit_ms};",
        idle = seconds / 2,
        interval = (seconds / 6).max(1),
        limit_ms = broken_after.as_millis(),
    )
}

/// By this a transaction of several small statements is ended by the server if we fall silent in the middle of it, also
/// where no kernel can notice, as behind a proxy that goes on answering for us.
pub const IDLE_LIMIT: &str = "SET LOCAL idle_in_transaction_session_timeout TO '10s'";

/// Awaits what a session with this role (see [`open`]) does, however long that takes, as long as the server has such a
/// session at work. Looks when it has taken longer than `broken_after`; two looks in a row must have found none.
pub async fn while_known<T>(
    settings: &ConnectionSettings,
    role: &str,
    work: impl Future<Output = T>,
) -> Result<T, Lost> {
    // boxed, as it may be large
    let mut work = Box::pin(work);
    let mut was_missing = false;
    let mut pause = settings.broken_after();
    loop {
        let looking = async {
            tokio::time::sleep(pause).await;
            is_at_work(settings, role).await
        };
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            known = looking => match known {
                Some(false) if was_missing => return Err(Lost),
                Some(known) => was_missing = !known,
                // no answer says nothing
                None => {}
            }
        }
        pause = settings.broken_after() / 3;
    }
}

async fn is_at_work(settings: &ConnectionSettings, role: &str) -> Option<bool> {
    // the same role, so that the server makes the same name of it
    let asking = async {
        let mut connection = open(settings, role).await.ok()?;
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity
                   WHERE application_name = pg_catalog.current_setting('application_name')
                     AND datname = pg_catalog.current_database() AND state <> 'idle' AND pid <> pg_catalog.pg_backend_pid())";
        let known = sql::query_scalar(sql).fetch_one(&mut connection).await.ok();
        let _ = connection.close().await;
        known
    };
    let limit = settings.connect_timeout() + settings.broken_after();
    tokio::time::timeout(limit, asking).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_asked_to_probe_often_enough_to_know_in_time() {
        for seconds in [2, 3, 10, 30, 3600] {
            let statements = keepalive(Duration::from_secs(seconds));
            let value = |name: &str| -> u64 {
                let rest = statements.split(&format!("SET {name} TO ")).nth(1);
                let digits = rest.and_then(|rest| rest.split(';').next());
                digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
            };
            let (idle, interval) = (
                value("tcp_keepalives_idle"),
                value("tcp_keepalives_interval"),
            );
            assert!(idle > 0 && interval > 0, "{statements}");
            // a probe is under way, unanswered, before time is up
            assert!(idle + interval <= seconds, "{statements}");
            assert_eq!(value("tcp_user_timeout"), seconds * 1000);
        }
    }
}
