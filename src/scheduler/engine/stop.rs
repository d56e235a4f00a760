//! How the loop is told to stop, and how it ends.

use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Engine, Instruction, Tunables};

/// How long cancelled refreshes may take to end.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Drain,
    AtOnce,
}

impl Engine {
    /// Lets running refreshes end, cancels them when time is up, and closes everything.
    pub(super) async fn finish(mut self, instructions: &mut mpsc::UnboundedReceiver<Instruction>) {
        self.listener.stop();
        let drain = self.tunables.scheduler.drain_timeout;
        if self.workers.running() > 0 && !drain.is_zero() {
            info!(
                running = self.workers.running(),
                drain_s = drain.as_secs(),
                "waiting for running refreshes"
            );
            let vitals = std::sync::Arc::clone(&self.vitals);
            let draining = self.drain(drain, instructions);
            vitals
                .pulse
                .while_waiting(drain + CANCEL_PATIENCE, draining)
                .await;
        }
        if self.workers.running() > 0 {
            warn!(
                running = self.workers.running(),
                "cancelling running refreshes"
            );
            let cancelling = self.workers.cancel_all();
            let cancelled = self.vitals.pulse.while_waiting(CANCEL_PATIENCE, cancelling);
            let reason = match cancelled.await {
                Some(Ok(())) => None,
                Some(Err(error)) => Some(error.to_string()),
                None => Some("they go on".to_owned()),
            };
            if let Some(reason) = reason {
                warn!(
                    reason,
                    "refreshes could not be cancelled; the server will notice that we are gone"
                );
            }
        }
        self.workers.close_idle(0).await;
        self.control.close().await;
    }

    /// Waits for running refreshes to end, for so long at most, and until told to stop at once.
    async fn drain(
        &mut self,
        patience: Duration,
        instructions: &mut mpsc::UnboundedReceiver<Instruction>,
    ) {
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        while self.workers.running() > 0 {
            tokio::select! {
                _ = self.workers.next_ended() => {}
                () = &mut deadline => return,
                instruction = instructions.recv() => {
                    if matches!(instruction, Some(Instruction::StopAtOnce) | None) {
                        return;
                    }
                }
            }
        }
    }
}

/// What an instruction means: go on with other tunables, or stop.
pub(super) fn obey(instruction: Option<Instruction>) -> Result<Box<Tunables>, Stop> {
    match instruction {
        Some(Instruction::Retune(tunables)) => Ok(tunables),
        Some(Instruction::Stop) => Err(Stop::Drain),
        Some(Instruction::StopAtOnce) | None => Err(Stop::AtOnce),
    }
}

/// Does the work to its end, so that nothing is ever half done, with the last change of configuration that came
/// meanwhile. Only a stop breaks it off, after which nothing but running refreshes counts.
pub(super) async fn unless_stopped(
    work: impl Future<Output = ()>,
    instructions: &mut mpsc::UnboundedReceiver<Instruction>,
) -> Result<Option<Box<Tunables>>, Stop> {
    let mut retuned = None;
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            instruction = instructions.recv() => retuned = Some(obey(instruction)?),
            () = &mut work => return Ok(retuned),
        }
    }
}
