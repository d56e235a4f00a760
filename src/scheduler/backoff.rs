//! How long to wait after a failure before trying again.

use std::time::Duration;

/// The wait after the `failures`-th failure in a row: exponential, capped, with equal jitter.
///
/// The full wait doubles with every failure from `base` up to `cap`; half of it is certain and the other half is
/// scaled by `jitter` in `[0, 1)`, so that views that failed together don't return together, and yet none returns
/// at once. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("Equal Jitter").
///
/// No failure means no wait. Nothing overflows: the result never exceeds `cap`. A `jitter` outside its range counts
/// as the nearest end.
#[must_use]
pub fn delay(failures: u32, base: Duration, cap: Duration, jitter: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let full = base.saturating_mul(factor).min(cap);
    let half = full / 2;
    let share = if jitter.is_nan() {
        0.0
    } else {
        jitter.clamp(0.0, 1.0)
    };
    half + half.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const CAP: Duration = Duration::from_secs(300);

    #[test]
    fn waits_double_up_to_the_cap() {
        let least: Vec<f64> = (0..=11)
            .map(|failures| delay(failures, BASE, CAP, 0.0).as_secs_f64())
            .collect();
        assert_eq!(
            least,
            [
                0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 150.0, 150.0
            ]
        );
    }

    #[test]
    fn jitter_moves_the_wait_between_half_and_all_of_it() {
        for failures in 1..70 {
            let half = delay(failures, BASE, CAP, 0.0);
            let middle = delay(failures, BASE, CAP, 0.5);
            let most = delay(failures, BASE, CAP, 0.999_999);
            assert!(
                half < middle && middle < most && most < 2 * half,
                "{failures}"
            );
        }
    }

    #[test]
    fn nothing_overflows_and_the_cap_holds() {
        for failures in [1, 31, 32, 33, 64, u32::MAX] {
            for base in [BASE, Duration::MAX] {
                for cap in [CAP, Duration::ZERO, Duration::MAX] {
                    for jitter in [0.0, 1.0, -5.0, 5.0, f64::NAN, f64::INFINITY] {
                        if cap == Duration::MAX && base == Duration::MAX {
                            continue;
                        }
                        assert!(delay(failures, base, cap, jitter) <= cap);
                    }
                }
            }
        }
    }
}
