//! The loop that drives the pure parts: it reads the dictionary, sleeps until something is due, and hands refreshes to
//! the workers. Everything it decides, it decides by the registry and the dispatcher; everything it knows of time is
//! the database's clock.

mod census;
mod clock;
mod control;
mod endings;
mod listener;
mod publish;
mod reading;
mod stop;
mod tick;
mod views;
mod work;
mod workers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};

pub use self::census::{Census, Questions, ViewCensus};
use self::clock::DatabaseClock;
use self::control::Control;
use self::listener::Listener;
use self::stop::{Stop, obey, unless_stopped};
use self::views::Details;
use self::workers::{Ended, Workers};
use super::dispatch::Dispatcher;
use super::intern::Interner;
use super::lanes::{Lane, Lanes, Running};
use super::registry::Registry;
use super::view::UnitId;
use crate::config::{Config, HistoryConfig, SchedulerConfig, WorkersConfig};
use crate::connect::ConnectionSettings;
use crate::dictionary::refreshes;
use crate::dictionary::schedules::Watermark;
use crate::refresh::RetryPolicy;
use crate::sql::ModuleSchema;
use crate::vitals::{Phase, Vitals};

/// The part of the configuration that can change while the loop runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Tunables {
    /// The pool and its lanes.
    pub workers: WorkersConfig,
    /// Intervals and limits.
    pub scheduler: SchedulerConfig,
    /// How long history is kept.
    pub history: HistoryConfig,
}

impl From<&Config> for Tunables {
    fn from(config: &Config) -> Self {
        Self {
            workers: config.workers.clone(),
            scheduler: config.scheduler.clone(),
            history: config.history.clone(),
        }
    }
}

impl Tunables {
    fn lanes(&self) -> Lanes {
        let count = |workers: u32| usize::try_from(workers).unwrap_or(usize::MAX);
        Lanes::new(
            count(self.workers.max),
            Some(count(self.workers.long_max())),
            self.workers.long_after,
        )
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            base: self.scheduler.retry_base,
            cap: self.scheduler.retry_max,
        }
    }
}

/// What the loop can be told.
#[derive(Debug)]
pub enum Instruction {
    /// Start nothing more; end when what is running has ended, or after the drain timeout cancel it.
    Stop,
    /// Cancel what is running, and end.
    StopAtOnce,
    /// Go on with these.
    Retune(Box<Tunables>),
}

/// Runs the scheduler until it is told to stop. The module schema must be installed, now or by somebody later. Upkeep is
/// woken when settings have changed, or a refresh had to be a complete one though a fast one was wanted. What the loop
/// knows of itself it publishes in `vitals`; what it knows of each view it tells who asks.
pub async fn run(
    settings: &ConnectionSettings,
    schema: &ModuleSchema,
    tunables: Tunables,
    upkeep: Arc<Notify>,
    vitals: Arc<Vitals>,
    mut instructions: mpsc::UnboundedReceiver<Instruction>,
    questions: Questions,
) {
    let (mut engine, wakes) = Engine::new(settings, schema, tunables, upkeep, vitals);
    engine.vitals.enter(Phase::Running);
    let stop = engine.serve(&mut instructions, questions, wakes).await;
    engine.vitals.enter(Phase::Stopping);
    if stop == Stop::AtOnce {
        engine.tunables.scheduler.drain_timeout = Duration::ZERO;
    }
    engine.finish(&mut instructions).await;
}

/// What ended a sleep, as far as there is something to do about it beyond another step.
#[derive(Debug)]
enum Woken {
    BySettings,
    ByEnd(Box<Ended>),
}

struct Engine {
    tunables: Tunables,
    lanes: Lanes,
    control: Control,
    clock: DatabaseClock,
    registry: Registry,
    dispatcher: Dispatcher,
    interner: Interner,
    details: Details,
    workers: Workers,
    running: Running,
    /// Units that have been read again, and are to be refreshed at the instant that they are due at.
    confirmed: HashMap<UnitId, DateTime<Utc>>,
    /// Up to which instant what will be due has been read again.
    foreseen_to: DateTime<Utc>,
    /// How often in a row a unit's refreshes were broken off with their connections.
    broken_off: HashMap<UnitId, u32>,
    /// A worker could not connect, and that was said.
    workers_refused: bool,
    /// Up to which instant the due units have been looked at.
    looked_at: DateTime<Utc>,
    /// Up to where settings have been read; `None` if all have to be read.
    watermark: Option<Watermark>,
    next_poll: Instant,
    next_prune: Instant,
    listener: Listener,
    upkeep: Arc<Notify>,
    vitals: Arc<Vitals>,
    /// When views may be counted again.
    next_count: Instant,
}

impl Engine {
    fn new(
        settings: &ConnectionSettings,
        schema: &ModuleSchema,
        tunables: Tunables,
        upkeep: Arc<Notify>,
        vitals: Arc<Vitals>,
    ) -> (Self, mpsc::Receiver<()>) {
        let (wake, wakes) = mpsc::channel(1);
        let now = Instant::now();
        let engine = Self {
            lanes: tunables.lanes(),
            control: Control::new(settings, schema, Arc::clone(&vitals)),
            // set by the first answer of the database, before anything is due
            clock: DatabaseClock::set(Utc::now()),
            registry: Registry::new(tunables.scheduler.retry_max),
            dispatcher: Dispatcher::default(),
            interner: Interner::default(),
            details: Details::default(),
            workers: Workers::new(settings, schema, tunables.retry()),
            running: Running::default(),
            confirmed: HashMap::new(),
            foreseen_to: DateTime::UNIX_EPOCH,
            broken_off: HashMap::new(),
            workers_refused: false,
            looked_at: DateTime::UNIX_EPOCH,
            watermark: None,
            next_poll: now,
            next_prune: now,
            listener: Listener::new(settings, schema.name(), wake),
            upkeep,
            vitals,
            next_count: now,
            tunables,
        };
        (engine, wakes)
    }

    async fn serve(
        &mut self,
        instructions: &mut mpsc::UnboundedReceiver<Instruction>,
        mut questions: Questions,
        mut wakes: mpsc::Receiver<()>,
    ) -> Stop {
        let mut woken = None;
        loop {
            match unless_stopped(self.turn(woken.take()), instructions).await {
                Err(stop) => return stop,
                Ok(None) => {}
                Ok(Some(tunables)) => {
                    self.retune(*tunables);
                    continue;
                }
            }
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                instruction = instructions.recv() => match obey(instruction) {
                    Ok(tunables) => self.retune(*tunables),
                    Err(stop) => return stop,
                },
                ended = self.workers.next_ended() => woken = Some(Woken::ByEnd(Box::new(ended))),
                Some(()) = wakes.recv() => woken = Some(Woken::BySettings),
                Some(answer) = questions.recv() => self.tell(answer),
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
        }
    }

    async fn turn(&mut self, woken: Option<Woken>) {
        self.vitals.pulse.beat();
        match woken {
            Some(Woken::ByEnd(ended)) => self.end(*ended).await,
            Some(Woken::BySettings) => self.next_poll = Instant::now(),
            None => {}
        }
        self.step().await;
        self.publish();
    }

    /// Everything that can be done now.
    async fn step(&mut self) {
        if self.control.reconnect().await {
            self.watermark = None;
            self.next_poll = Instant::now();
            self.workers.server_was_away();
            // perhaps on another server
            self.listener.restart();
        }
        if !self.control.is_ready() {
            return;
        }
        if self.next_poll <= Instant::now() {
            self.read_changes().await;
        }
        self.tick().await;
        self.watch_runs().await;
        if self.next_prune <= Instant::now() {
            self.prune().await;
        }
    }

    /// When the next turn is needed at the latest: for there is something to do, or to give a sign of life.
    fn wake_at(&self) -> Instant {
        let beat_at = Instant::now() + self.vitals.pulse.every();
        self.step_at().min(beat_at)
    }

    fn step_at(&self) -> Instant {
        if let Some(retry_at) = self.control.retry_at() {
            return retry_at;
        }
        // after what has been looked at, not after now: what became due in between has not been
        let due = self
            .registry
            .next_instant(self.looked_at)
            .map(|instant| Instant::now() + self.clock.until(instant));
        let busy = !self.lanes.admit(self.running, Lane::Quick);
        let foreseen = self
            .registry
            .next_instant(self.looked_at.max(self.foreseen_to))
            .map(|instant| Instant::now() + self.clock.until(instant - tick::FORESIGHT));
        let again = self
            .dispatcher
            .look_again()
            .map(|instant| Instant::now() + self.clock.until(instant));
        let waits = [
            Some(self.next_poll),
            Some(self.next_prune),
            self.workers.watch_at(),
            due.filter(|_| !busy),
            foreseen.filter(|_| !busy),
            again.filter(|_| !busy),
        ];
        waits.into_iter().flatten().min().unwrap_or(self.next_poll)
    }

    fn retune(&mut self, tunables: Tunables) {
        self.lanes = tunables.lanes();
        self.workers.set_retry(tunables.retry());
        self.registry
            .set_longest_backoff(tunables.scheduler.retry_max);
        self.tunables = tunables;
        self.next_poll = Instant::now();
    }

    /// Looks after refreshes that have been running for long: on a network that fails in silence their connections may
    /// be gone without the daemon ever being told.
    async fn watch_runs(&mut self) {
        let (units, ids): (Vec<UnitId>, Vec<i32>) = self.workers.to_watch().into_iter().unzip();
        if ids.is_empty() {
            return;
        }
        let without_lock = self
            .control
            .ask(async |connection, schema| refreshes::without_lock(connection, schema, &ids).await)
            .await;
        if let Some(without_lock) = without_lock {
            for (unit, id) in units.into_iter().zip(&ids) {
                self.workers.watched(unit, !without_lock.contains(id));
            }
        }
    }

    async fn prune(&mut self) {
        /// As many as [`refreshes::prune_history`] deletes at once.
        const FULL_BATCH: i64 = 10_000;
        let keep = self.tunables.history.keep.as_secs_f64();
        let pruned = self
            .control
            .ask(async |connection, schema| {
                refreshes::prune_history(connection, schema, keep).await
            })
            .await;
        let pause = match pruned {
            Some(count) if count >= FULL_BATCH => Duration::from_secs(1),
            _ => self.tunables.history.prune_every,
        };
        self.next_prune = Instant::now() + pause;
    }
}
