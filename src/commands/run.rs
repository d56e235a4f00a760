//! `run`: the daemon. It keeps the materialized views of one database or of several fresh until it is told to stop.

mod keeper;
mod prepare;
mod reload;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use self::keeper::{Keeper, Order};
use self::reload::reload;
use crate::config::{Config, Environment, ForDatabase, Sources, load};
use crate::connect::ConnectionSettings;
use crate::error::{CommandError, Exit};
use crate::scheduler::engine::Census;
use crate::server::{self, Source};
use crate::service_manager::ServiceManager;
use crate::signals::{Event, Sender, Signals};
use crate::sql::ModuleSchema;
use crate::telemetry::{self, Purpose, Telemetry};
use crate::vitals::{Named, Vitals};

pub(super) async fn run(sources: Sources) -> Result<Exit, CommandError> {
    let loaded = load(&sources)?;
    let common = loaded.first().clone();
    let telemetry = telemetry::start(&common.log, Purpose::Daemon)
        .map_err(|error| CommandError::new(Exit::Configuration, error.to_string()))?;
    let signals = Signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let manager = ServiceManager::of_process();
    let wards: Vec<Ward> = loaded
        .databases
        .iter()
        .map(|database| Ward::new(database, &manager))
        .collect();
    for ward in &wards {
        info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), database = %ward.settings, "starting");
    }
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let attended: Vec<Named> = wards.iter().map(Ward::named).collect();
    tokio::spawn(async move { manager.attend(&attended).await });
    let mut daemon = Daemon {
        configs: wards.iter().map(|ward| ward.config.clone()).collect(),
        sources,
        telemetry,
        signals,
        manager,
        orders: Vec::new(),
        askers: Vec::new(),
    };
    let mut keepers = JoinSet::new();
    let mut shown = Vec::new();
    let is_only = wards.len() == 1;
    for ward in wards {
        shown.push(daemon.start(ward, is_only, &mut keepers));
    }
    // Validation has refused addresses that can't be read.
    if let Ok(Some(address)) = common.http.address() {
        tokio::spawn(server::run(address, shown));
    }
    daemon.attend(&mut keepers).await?;
    info!("stopped");
    Ok(Exit::Ok)
}

/// A database that is to be kept.
struct Ward {
    name: String,
    settings: ConnectionSettings,
    config: Config,
    vitals: Arc<Vitals>,
}

impl Ward {
    fn new(database: &ForDatabase, manager: &ServiceManager) -> Self {
        let config = database.config.clone();
        let settings = ConnectionSettings::resolve(&config.database, &Environment::of_process());
        Self {
            name: config.name().unwrap_or(settings.database()).to_owned(),
            settings,
            config,
            vitals: Arc::new(Vitals::new(manager.beat_every())),
        }
    }

    fn named(&self) -> Named {
        Named {
            name: self.name.clone(),
            vitals: Arc::clone(&self.vitals),
        }
    }
}

type Keepers = JoinSet<Result<(), CommandError>>;

struct Daemon {
    sources: Sources,
    /// One per database, as are the channels.
    configs: Vec<Config>,
    telemetry: Telemetry,
    signals: Signals,
    manager: ServiceManager,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    /// Held so that each loop has somebody who might ask.
    askers: Vec<mpsc::Sender<oneshot::Sender<Census>>>,
}

impl Daemon {
    /// Starts to keep a database, on a thread of its own: whatever a loop is busy with, the others come round. What
    /// there is to be shown of it.
    fn start(&mut self, ward: Ward, is_only: bool, keepers: &mut Keepers) -> Source {
        let (asker, questions) = mpsc::channel(8);
        let (orders, receiver) = mpsc::unbounded_channel();
        let schema = ModuleSchema::new(&ward.config.database.schema);
        let source = Source::new(
            &ward.name,
            &ward.settings,
            &schema,
            Arc::clone(&ward.vitals),
            asker.clone(),
            ward.config.http.clone(),
        );
        let keeper = Keeper {
            name: ward.name,
            settings: ward.settings,
            schema,
            config: ward.config,
            vitals: ward.vitals,
            is_only,
        };
        let runtime = tokio::runtime::Handle::current();
        keepers.spawn_blocking(move || runtime.block_on(keeper.keep(receiver, questions)));
        self.orders.push(orders);
        self.askers.push(asker);
        source
    }

    /// Passes signals on until every database has been let go.
    async fn attend(&mut self, keepers: &mut Keepers) -> Result<(), CommandError> {
        loop {
            tokio::select! {
                ended = keepers.join_next() => match ended {
                    Some(ended) => ended.map_err(broken)??,
                    None => return Ok(()),
                },
                event = self.signals.next() => self.obey(event),
            }
        }
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Terminate { sender, again } => {
                let drains = self.configs.iter().map(|c| c.scheduler.drain_timeout);
                self.manager.stopping(drains.max().unwrap_or_default());
                if again {
                    warn!(%sender, "stopping at once");
                } else {
                    info!(%sender, "stopping");
                }
                for orders in &self.orders {
                    // one that has ended has no need of it
                    let _ = orders.send(if again {
                        Order::StopAtOnce
                    } else {
                        Order::Stop
                    });
                }
            }
            Event::Reload { sender } => self.reload(&sender),
        }
    }

    fn reload(&mut self, sender: &Sender) {
        info!(%sender, "reloading the configuration");
        self.manager.reloading();
        let new = reload(&self.sources, &self.configs, &self.telemetry);
        self.manager.reloaded();
        let Some(new) = new else {
            return;
        };
        for (orders, config) in self.orders.iter().zip(&new) {
            let _ = orders.send(Order::Retune(Box::new(config.clone())));
        }
        self.configs = new;
    }
}

/// A defect: the service manager starts the daemon again.
#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn broken(error: JoinError) -> CommandError {
    CommandError::new(Exit::Internal, format!("a defect of mvrefreshd: {error}"))
}
