//! The loop's pulse: a count that grows for as long as it makes progress. Nothing else may beat it, no timer above all:
//! it is what the watchdog and the liveness probe go by.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A pulse that stays away for longer than this is the sign of a stalled loop.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Counts beats, and knows when the last one was.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    every: Duration,
    beats: AtomicU64,
    /// Milliseconds since `origin`.
    last: AtomicU64,
    ended: AtomicBool,
}

impl Pulse {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            origin: Instant::now(),
            every,
            beats: AtomicU64::new(0),
            last: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    /// How often the loop has to beat at least.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.every
    }

    /// One beat: the loop has come round.
    pub fn beat(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The loop has ended as it should: nobody is to wait for another beat.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether the loop has ended as it should.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// How many beats there were.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// How long ago the last beat was; since the start, before the first.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.origin.elapsed().saturating_sub(last)
    }

    /// Whether the loop makes progress.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.has_ended() || self.silence() <= LONGEST_SILENCE
    }

    /// Waits for something outside (the database, running refreshes), for so long at most, and beats meanwhile: to wait
    /// within bounds is progress. `None` if the time is up.
    pub async fn while_waiting<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        // boxed, as it may be large
        let mut work = Box::pin(work);
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(deadline);
        let mut beats = tokio::time::interval(self.every);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = &mut deadline => return None,
                _ = beats.tick() => self.beat(),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_within_its_bounds_beats_and_one_beyond_ends() {
        let pulse = Pulse::new(Duration::from_millis(1));
        let (teller, hearer) = tokio::sync::oneshot::channel();
        // ends as soon as the third beat has been seen from outside
        let watching = async {
            while pulse.beats() < 3 {
                tokio::task::yield_now().await;
            }
            teller.send("done").unwrap();
        };
        let waiting = pulse.while_waiting(Duration::from_secs(60), hearer);
        let (heard, ()) = tokio::join!(waiting, watching);
        assert_eq!(heard.unwrap().unwrap(), "done");
        let never = std::future::pending::<()>();
        let waited = pulse.while_waiting(Duration::from_millis(5), never).await;
        assert_eq!(waited, None);
    }

    #[test]
    fn nothing_but_a_beat_ends_a_silence() {
        let mut pulse = Pulse::new(Duration::from_secs(1));
        pulse.origin = Instant::now()
            .checked_sub(Duration::from_secs(3_600))
            .unwrap();
        assert!(!pulse.is_alive());
        pulse.beat();
        assert!(pulse.is_alive());
        assert_eq!(pulse.beats(), 1);
    }
}
