//! What is killed.

use fastrand::Rng;

use super::common::{Daemon, Signal, TestServer, count};

/// How often what was killed.
#[derive(Debug, Default)]
pub(super) struct Faults {
    daemons: u32,
    daemon_sessions: u32,
    writer_sessions: u32,
    /// When a daemon or a session of one was killed, in milliseconds since 1970.
    instants: Vec<f64>,
}

impl Faults {
    /// Kills a daemon, and starts another in its place, or ends a session of a daemon or of a writer, rather a busy one.
    pub(super) async fn kill_something(
        &mut self,
        server: &TestServer,
        victim: &mut Daemon,
        random: &mut Rng,
    ) {
        let choice = random.u32(0..10);
        if choice < 8 {
            let now = chrono::Utc::now().timestamp_micros();
            #[allow(clippy::cast_precision_loss)]
            self.instants.push(now as f64 / 1e3);
        }
        match choice {
            0..4 => {
                victim.signal(Signal::Kill).await;
                victim.wait_for_exit().await;
                *victim = super::daemon(server);
                self.daemons += 1;
            }
            4..8 => self.daemon_sessions += end_session(server, "LIKE 'mvrefreshd%'").await,
            _ => self.writer_sessions += end_session(server, "= 'writer'").await,
        }
    }

    /// When refreshes were killed, or could have been.
    pub(super) fn instants(&self) -> &[f64] {
        &self.instants
    }

    pub(super) fn summary(&self) -> String {
        format!(
            "{} daemons killed, {} sessions of daemons and {} of writers ended",
            self.daemons, self.daemon_sessions, self.writer_sessions
        )
    }
}

async fn end_session(server: &TestServer, name: &str) -> u32 {
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM (
             SELECT pid FROM pg_stat_activity
             WHERE application_name {name} AND backend_type = 'client backend'
             ORDER BY (state = 'active') DESC, random() LIMIT 1) AS victim"
    );
    u32::try_from(count(&mut server.connect().await, &end).await).unwrap()
}
