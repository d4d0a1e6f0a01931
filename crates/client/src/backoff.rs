//! The one backoff of the project: how long to wait before the n-th retry.

use std::time::Duration;

use crate::random::Random;

/// Exponential with jitter: `initial * factor^n`, at most `max`, plus up to `jitter` of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Before the first retry.
    pub initial: Duration,
    /// What each further retry multiplies by.
    pub factor: f64,
    /// Never longer than this, jitter apart.
    pub max: Duration,
    /// 0.5 adds between nothing and half of the delay.
    pub jitter: f64,
}

impl Backoff {
    /// For keys in a work queue: starts at 5 ms, ends at 1000 s.
    pub const QUEUE: Self = Self {
        initial: Duration::from_millis(5),
        factor: 2.0,
        max: Duration::from_secs(1000),
        jitter: 0.1,
    };
    /// For a lost connection to the API: starts at 200 ms, ends at 30 s.
    pub const CONNECTION: Self = Self {
        initial: Duration::from_millis(200),
        factor: 2.0,
        max: Duration::from_secs(30),
        jitter: 0.5,
    };

    /// The wait before retry number `attempt`, counted from 0.
    pub fn delay(&self, attempt: u32, random: &dyn Random) -> Duration {
        let exponent = i32::try_from(attempt.min(1 << 16)).unwrap_or(i32::MAX);
        let base =
            (self.initial.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        Duration::from_secs_f64(base * (1.0 + self.jitter * random.unit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    #[test]
    fn grows_to_its_maximum_and_jitters_upwards_only() {
        let random = Seeded::new(7);
        let plain = Backoff {
            jitter: 0.0,
            ..Backoff::QUEUE
        };
        for (attempt, millis) in [
            (0, 5),
            (1, 10),
            (10, 5_120),
            (30, 1_000_000),
            (u32::MAX, 1_000_000),
        ] {
            let base = Duration::from_millis(millis);
            assert_eq!(plain.delay(attempt, &random), base, "attempt {attempt}");
            let jittered = Backoff::QUEUE.delay(attempt, &random);
            assert!(
                jittered >= base && jittered <= base.mul_f64(1.1),
                "attempt {attempt}: {jittered:?}"
            );
        }
    }
}
