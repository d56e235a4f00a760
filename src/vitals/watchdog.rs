//! When the service manager's watchdog is fed: if the loop has made progress since the last time, and only then.

use super::Pulse;

/// The rule, and what it has to remember.
#[derive(Debug, Default)]
pub struct Watchdog {
    seen: u64,
}

impl Watchdog {
    /// Whether to feed it now. A loop that has stalled since the last call starves it.
    pub fn may_be_fed(&mut self, pulse: &Pulse) -> bool {
        let beats = pulse.beats();
        let has_beaten = std::mem::replace(&mut self.seen, beats) != beats;
        has_beaten || pulse.has_ended()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[test]
    fn it_is_fed_once_for_any_number_of_beats_and_never_without_one() {
        let pulse = Pulse::new(Duration::from_secs(1));
        let mut watchdog = Watchdog::default();
        assert!(!watchdog.may_be_fed(&pulse), "no beat yet");
        pulse.beat();
        pulse.beat();
        assert!(watchdog.may_be_fed(&pulse));
        assert!(!watchdog.may_be_fed(&pulse), "no beat since");
    }

    /// A loop of the same make as the scheduler's: turns, and bounded waits in between. It is stalled where no bound
    /// holds, as by a lock that is never released.
    #[tokio::test]
    async fn a_loop_that_stalls_starves_it_and_one_that_waits_within_bounds_does_not() {
        let pulse = Arc::new(Pulse::new(Duration::from_millis(1)));
        let (work, mut works) = mpsc::channel::<oneshot::Receiver<()>>(1);
        let looped = {
            let pulse = Arc::clone(&pulse);
            tokio::spawn(async move {
                loop {
                    let next = pulse.while_waiting(Duration::from_secs(60), works.recv());
                    match next.await {
                        Some(Some(stall)) => stall.await.unwrap(),
                        _ => return,
                    }
                }
            })
        };
        let mut watchdog = Watchdog::default();
        for _ in 0..3 {
            let before = pulse.beats();
            while pulse.beats() == before {
                tokio::task::yield_now().await;
            }
            assert!(watchdog.may_be_fed(&pulse), "it is merely waiting");
        }
        let (release, stall) = oneshot::channel();
        work.send(stall).await.unwrap();
        // it has taken the work when there is room for more, and does not beat any more
        drop(work.reserve().await.unwrap());
        watchdog.may_be_fed(&pulse);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(!watchdog.may_be_fed(&pulse), "it has stalled");
        }
        let before = pulse.beats();
        release.send(()).unwrap();
        while pulse.beats() == before {
            tokio::task::yield_now().await;
        }
        assert!(watchdog.may_be_fed(&pulse), "it goes on");
        drop(work);
        looped.await.unwrap();
    }
}
