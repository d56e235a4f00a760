//! Reading the dictionary: what has changed since the last look, or everything.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tracing::info;

use super::super::view::UnitId;
use super::Engine;
use crate::dictionary::installation;
use crate::dictionary::schedules;

/// How often the dictionary is read at least where no notification arrives.
const DEAF_POLL_INTERVAL: Duration = Duration::from_secs(2);

impl Engine {
    /// Reads the settings that have changed, or all after the database was away.
    pub(super) async fn read_changes(&mut self) {
        let since = self.watermark.clone();
        let is_first = self.registry.is_empty() && since.is_none();
        let mut clock = self.clock;
        // reading everything takes its time where there are very many views
        let patience = match since {
            Some(_) => self.control.patience(),
            None => 10 * self.control.patience(),
        };
        let answer = self
            .control
            .ask_for(patience, async |connection, schema| {
                let asked = Instant::now();
                let look = schedules::look(connection, schema, since.as_ref()).await?;
                clock.answered(look.now, asked);
                if look.version != installation::known_version() {
                    return Ok((look.version, look.watermark, Vec::new()));
                }
                let rows = match &since {
                    Some(_) if !look.has_changes => Vec::new(),
                    Some(since) => schedules::changed_since(connection, schema, since).await?,
                    None => schedules::all(connection, schema).await?,
                };
                Ok((look.version, look.watermark, rows))
            })
            .await;
        let Some((version, watermark, rows)) = answer else {
            return;
        };
        if version != installation::known_version() {
            self.control.step_aside(version);
            return;
        }
        self.clock = clock;
        self.watermark = Some(watermark);
        self.next_poll = Instant::now() + self.poll_interval();
        if since.is_none() {
            self.forget_all_but(&rows.iter().map(|row| row.mv_id).collect());
            info!(
                materialized_views = rows.len(),
                "the dictionary has been read"
            );
        }
        if !rows.is_empty() {
            self.next_count = Instant::now();
            self.upkeep.notify_one();
        }
        let now = self.clock.now();
        for row in &rows {
            self.take_in(row, now).await;
        }
        self.interner.forget_unused();
        if is_first {
            let window = self.tunables.scheduler.startup_spread;
            self.registry
                .spread_overdue(self.clock.now(), window, self.lanes.workers());
        }
    }

    fn poll_interval(&self) -> Duration {
        let configured = self.tunables.scheduler.poll_interval;
        if self.listener.hears() {
            configured
        } else {
            configured.min(DEAF_POLL_INTERVAL)
        }
    }

    fn forget_all_but(&mut self, known: &HashSet<i32>) {
        let gone: Vec<i32> = self
            .registry
            .views()
            .map(|view| view.id)
            .filter(|id| !known.contains(id))
            .collect();
        for id in gone {
            self.forget(id);
        }
    }

    pub(super) fn forget(&mut self, id: i32) {
        self.registry.remove(id, self.clock.now());
        self.details.forget(id);
        self.confirmed.remove(&UnitId::View(id));
        self.broken_off.remove(&UnitId::View(id));
    }
}
