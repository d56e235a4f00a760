//! `run`: the daemon. It waits for its database, installs or upgrades the module schema, and schedules until told to
//! stop.

mod prepare;
mod reload;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::{error, info, warn};

use self::reload::reload;
use crate::config::{Config, Environment, Sources, load};
use crate::connect::ConnectionSettings;
use crate::error::{CommandError, Exit};
use crate::scheduler::engine::{self, Census, Instruction, Questions, Tunables};
use crate::server::{self, Source};
use crate::service_manager::ServiceManager;
use crate::signals::{Event, Sender, Signals};
use crate::sql::ModuleSchema;
use crate::telemetry::{self, Purpose, Telemetry};
use crate::upkeep;
use crate::vitals::Vitals;

pub(super) async fn run(sources: Sources) -> Result<Exit, CommandError> {
    let loaded = load(&sources)?;
    let telemetry = telemetry::start(&loaded.config.log, Purpose::Daemon)
        .map_err(|error| CommandError::new(Exit::Configuration, error.to_string()))?;
    let signals = Signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let settings = ConnectionSettings::resolve(&loaded.config.database, &Environment::of_process());
    info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), database = %settings, "starting");
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let manager = ServiceManager::of_process();
    let vitals = Arc::new(Vitals::new(manager.beat_every()));
    let attended = Arc::clone(&vitals);
    tokio::spawn(async move { manager.attend(&attended).await });
    let (asker, questions) = mpsc::channel(8);
    let schema = ModuleSchema::new(&loaded.config.database.schema);
    // Validation has refused addresses that can't be read.
    if let Ok(Some(address)) = loaded.config.http.address() {
        let http = loaded.config.http.clone();
        let source = Source::new(&settings, &schema, Arc::clone(&vitals), asker.clone(), http);
        tokio::spawn(server::run(address, Arc::new(source)));
    }
    let mut daemon = Daemon {
        settings,
        sources,
        config: loaded.config,
        telemetry,
        signals,
        manager,
        vitals,
        _asker: asker,
    };
    if daemon.wait_for_database().await? {
        daemon.serve(questions).await;
        info!("stopped");
    }
    Ok(Exit::Ok)
}

struct Daemon {
    settings: ConnectionSettings,
    sources: Sources,
    config: Config,
    telemetry: Telemetry,
    signals: Signals,
    manager: ServiceManager,
    vitals: Arc<Vitals>,
    /// Held so that the loop has somebody who might ask.
    _asker: mpsc::Sender<oneshot::Sender<Census>>,
}

impl Daemon {
    /// Waits until the module schema is installed; false if told to stop before.
    async fn wait_for_database(&mut self) -> Result<bool, CommandError> {
        // as it is now: what changes meanwhile is of no concern to an installation
        let config = self.config.clone();
        let settings = self.settings.clone();
        let vitals = Arc::clone(&self.vitals);
        let prepared = prepare::when_possible(&settings, &config, &vitals);
        tokio::pin!(prepared);
        let mut beats = tokio::time::interval(vitals.pulse.every());
        loop {
            let event = tokio::select! {
                prepared = &mut prepared => {
                    prepared.inspect_err(|error| error!("{}", error.message.replace('\n', " ")))?;
                    return Ok(true);
                }
                event = self.signals.next() => event,
                _ = beats.tick() => {
                    vitals.pulse.beat();
                    continue;
                }
            };
            match event {
                Event::Terminate { sender, .. } => {
                    info!(%sender, "stopped while waiting for the database");
                    self.manager.stopping(std::time::Duration::ZERO);
                    return Ok(false);
                }
                Event::Reload { sender } => {
                    self.reload(&sender);
                }
            }
        }
    }

    /// Runs the scheduler, and passes signals on to it.
    async fn serve(&mut self, questions: Questions) {
        let schema = ModuleSchema::new(&self.config.database.schema);
        let settings = self.settings.clone();
        let (instructions, receiver) = mpsc::unbounded_channel();
        let wake = Arc::new(Notify::new());
        // boxed, as both are large
        let mut scheduler = Box::pin(engine::run(
            &settings,
            &schema,
            Tunables::from(&self.config),
            Arc::clone(&wake),
            Arc::clone(&self.vitals),
            receiver,
            questions,
        ));
        let (upkeep_tunables, tunables) = watch::channel(upkeep::Tunables::from(&self.config));
        let mut upkeep = Box::pin(upkeep::run(
            settings.clone(),
            schema.clone(),
            wake,
            Arc::clone(&self.vitals),
            tunables,
        ));
        loop {
            let event = tokio::select! {
                () = &mut scheduler => return,
                // ends with this function only
                () = &mut upkeep => return,
                event = self.signals.next() => event,
            };
            let Some(instruction) = self.instruction(event) else {
                continue;
            };
            upkeep_tunables.send_if_modified(|tunables| {
                let now = upkeep::Tunables::from(&self.config);
                let is_new = *tunables != now;
                *tunables = now;
                is_new
            });
            // The scheduler takes instructions for as long as it runs.
            let _ = instructions.send(instruction);
        }
    }

    /// What a signal means for the scheduler, if anything.
    fn instruction(&mut self, event: Event) -> Option<Instruction> {
        match event {
            Event::Terminate { sender, again } => {
                self.manager.stopping(self.config.scheduler.drain_timeout);
                if again {
                    warn!(%sender, "stopping at once");
                    Some(Instruction::StopAtOnce)
                } else {
                    info!(%sender, "stopping");
                    Some(Instruction::Stop)
                }
            }
            Event::Reload { sender } => self
                .reload(&sender)
                .then(|| Instruction::Retune(Box::new(Tunables::from(&self.config)))),
        }
    }

    /// Reads the configuration again; whether there is a new one.
    fn reload(&mut self, sender: &Sender) -> bool {
        info!(%sender, "reloading the configuration");
        self.manager.reloading();
        let new = reload(&self.sources, &self.config, &self.telemetry);
        self.manager.reloaded();
        match new {
            Some(new) => {
                self.config = new;
                true
            }
            None => false,
        }
    }
}
