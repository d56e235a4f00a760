//! Start-up without a storm: overdue work is stretched over a short window.

use std::time::Duration;

/// By how much to delay each of the overdue, which are given by their periods in the order they should start.
///
/// The first `workers` start at once, the others evenly over `window`, and none is delayed by more than its own
/// period. Nothing is delayed where all fit into the pool.
#[must_use]
pub fn delays(periods: &[Duration], window: Duration, workers: usize) -> Vec<Duration> {
    let waiting = periods.len().saturating_sub(workers);
    periods
        .iter()
        .enumerate()
        .map(|(rank, period)| match (rank + 1).checked_sub(workers) {
            None | Some(0) => Duration::ZERO,
            Some(place) => window.min(*period).mul_f64(fraction(place, waiting)),
        })
        .collect()
}

fn fraction(part: usize, whole: usize) -> f64 {
    let as_f64 = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    as_f64(part) / as_f64(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_fits_into_the_pool_is_not_delayed() {
        for count in 0..=4 {
            assert_eq!(
                delays(&vec![HOUR; count], WINDOW, 4),
                vec![Duration::ZERO; count]
            );
        }
    }

    #[test]
    fn the_rest_is_spread_evenly_to_the_end_of_the_window() {
        let delays = delays(&[HOUR; 14], WINDOW, 4);
        assert_eq!(delays[..4], [Duration::ZERO; 4]);
        let seconds: Vec<u64> = delays[4..].iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn none_is_delayed_by_more_than_its_period() {
        let periods: Vec<Duration> = (0..1_000)
            .map(|id| Duration::from_secs(1 + id % 20))
            .collect();
        for (delay, period) in delays(&periods, WINDOW, 4).into_iter().zip(&periods) {
            assert!(delay <= *period && delay <= WINDOW);
        }
    }

    #[test]
    fn without_workers_and_without_window_nothing_breaks() {
        assert_eq!(delays(&[HOUR], Duration::ZERO, 4), [Duration::ZERO]);
        assert_eq!(delays(&[HOUR, HOUR], WINDOW, 0), [WINDOW / 2, WINDOW]);
    }
}
