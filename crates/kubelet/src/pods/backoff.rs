//! How long a failed container or pull waits: 10 s, doubling to 5 min, forgotten after 10 quiet
//! minutes. No timers here: the plan asks, and the worker sleeps until the answer.

use jiff::{SignedDuration, Timestamp};

/// First wait.
pub const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// Longest wait.
pub const MAX: SignedDuration = SignedDuration::from_secs(300);

/// The waits of one container (or one image of a pod).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    delay: Option<SignedDuration>,
    updated: Option<Timestamp>,
}

impl Backoff {
    /// The wait in force; none before the first failure was answered.
    pub fn delay(&self) -> Option<SignedDuration> {
        self.delay
    }

    /// When what ended at `event` may be tried again; none means at once.
    pub fn ready_at(&self, event: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let delay = self.delay?;
        if self.expired(event) {
            return None;
        }
        let at = event + delay;
        (at > now).then_some(at)
    }

    /// A new try is made after the failure at `event`: the next one waits longer.
    pub fn advance(&mut self, event: Timestamp, now: Timestamp) {
        self.delay = Some(match self.delay {
            Some(delay) if !self.expired(event) => (delay * 2).min(MAX),
            _ => INITIAL,
        });
        self.updated = Some(now);
    }

    fn expired(&self, event: Timestamp) -> bool {
        self.updated
            .is_some_and(|updated| event.duration_since(updated) > MAX * 2)
    }
}

/// Go's way to write a duration of whole seconds, which users know from the messages.
pub fn seconds_text(delay: SignedDuration) -> String {
    let secs = delay.as_secs();
    match (secs / 60, secs % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn doubles_to_five_minutes_and_forgets_after_ten() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.ready_at(at(0), at(0)), None);
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..7 {
            let failed = now;
            backoff.advance(at(failed), at(now));
            let ready = backoff.ready_at(at(failed), at(now)).expect("waits");
            waits.push(ready.as_second() - failed);
            now = ready.as_second();
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        // It then ran for more than ten minutes.
        let failed = now + 700;
        assert_eq!(backoff.ready_at(at(failed), at(failed)), None);
        backoff.advance(at(failed), at(failed));
        assert_eq!(backoff.delay(), Some(INITIAL));
    }

    #[test]
    fn texts() {
        let text = |s| seconds_text(SignedDuration::from_secs(s));
        assert_eq!(
            [text(10), text(80), text(300)],
            ["10s", "1m20s", "5m0s"].map(String::from)
        );
    }
}
