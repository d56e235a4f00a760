//! One database kept by the daemon: waited for, installed into, scheduled and looked after until told to stop.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tracing::{Instrument, Span, error, error_span, info};

use super::prepare;
use crate::config::Config;
use crate::connect::ConnectionSettings;
use crate::error::CommandError;
use crate::scheduler::engine::{self, Instruction, Questions, Tunables};
use crate::sql::ModuleSchema;
use crate::upkeep;
use crate::vitals::Vitals;

/// What a keeper can be told.
#[derive(Debug)]
pub(super) enum Order {
    /// Start nothing more, and end when what is running has ended.
    Stop,
    /// End now.
    StopAtOnce,
    /// Go on with this configuration, as far as that can change.
    Retune(Box<Config>),
}

type Orders = mpsc::UnboundedReceiver<Order>;

/// Keeps one database.
pub(super) struct Keeper {
    /// For the log, where there are several databases.
    pub(super) name: String,
    pub(super) settings: ConnectionSettings,
    pub(super) schema: ModuleSchema,
    pub(super) config: Config,
    pub(super) vitals: Arc<Vitals>,
    /// The only database of this daemon. What no waiting helps against ends the daemon then; it must not take others along.
    pub(super) is_only: bool,
}

impl Keeper {
    /// Ends when told to, or with what ends the daemon.
    pub(super) async fn keep(
        mut self,
        mut orders: Orders,
        questions: Questions,
    ) -> Result<(), CommandError> {
        let span = if self.is_only {
            Span::none()
        } else {
            // of the highest level, so that no line is without it
            error_span!("database", name = self.name)
        };
        let vitals = Arc::clone(&self.vitals);
        let kept = async {
            if self.wait_for_database(&mut orders).await? {
                self.serve(orders, questions).await;
            }
            Ok(())
        };
        let kept = kept.instrument(span).await;
        vitals.pulse.end();
        kept
    }

    /// Waits until the module schema is installed; false if told to stop before.
    async fn wait_for_database(&mut self, orders: &mut Orders) -> Result<bool, CommandError> {
        // as it is now: what changes meanwhile is of no concern to an installation
        let config = self.config.clone();
        let settings = self.settings.clone();
        let vitals = Arc::clone(&self.vitals);
        let prepared = prepare::when_possible(&settings, &config, &vitals, self.is_only);
        tokio::pin!(prepared);
        let mut beats = tokio::time::interval(vitals.pulse.every());
        loop {
            tokio::select! {
                prepared = &mut prepared => {
                    prepared.inspect_err(|error| error!("{}", error.message.replace('\n', " ")))?;
                    return Ok(true);
                }
                order = orders.recv() => match order {
                    Some(Order::Retune(config)) => self.config = *config,
                    Some(Order::Stop | Order::StopAtOnce) | None => {
                        info!("stopped while waiting for the database");
                        return Ok(false);
                    }
                },
                _ = beats.tick() => vitals.pulse.beat(),
            }
        }
    }

    /// Runs the scheduler and upkeep, and passes orders on to them.
    async fn serve(self, mut orders: Orders, questions: Questions) {
        let (instructions, receiver) = mpsc::unbounded_channel();
        let wake = Arc::new(Notify::new());
        // boxed, as both are large
        let mut scheduler = Box::pin(engine::run(
            &self.settings,
            &self.schema,
            Tunables::from(&self.config),
            Arc::clone(&wake),
            Arc::clone(&self.vitals),
            receiver,
            questions,
        ));
        let (upkeep_tunables, tunables) = watch::channel(upkeep::Tunables::from(&self.config));
        let mut upkeep = Box::pin(upkeep::run(
            self.settings.clone(),
            self.schema.clone(),
            wake,
            Arc::clone(&self.vitals),
            tunables,
        ));
        loop {
            let order = tokio::select! {
                () = &mut scheduler => return,
                // ends with this function only
                () = &mut upkeep => return,
                order = orders.recv() => order,
            };
            let instruction = match order {
                Some(Order::Stop) => Instruction::Stop,
                Some(Order::StopAtOnce) | None => Instruction::StopAtOnce,
                Some(Order::Retune(config)) => {
                    upkeep_tunables.send_if_modified(|tunables| {
                        let now = upkeep::Tunables::from(&*config);
                        let is_new = *tunables != now;
                        *tunables = now;
                        is_new
                    });
                    Instruction::Retune(Box::new(Tunables::from(&*config)))
                }
            };
            // The scheduler takes instructions for as long as it runs.
            let _ = instructions.send(instruction);
        }
    }
}
