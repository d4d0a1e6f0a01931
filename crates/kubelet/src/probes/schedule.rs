//! When a probe is tried and when its result changes. Pure.
//!
//! Startup and readiness probes begin with a few quick tries that do not count when they fail:
//! most programs listen within milliseconds, and a pod need not wait a whole period because its
//! first try came one millisecond early.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

use super::ProbeKind;

/// Waits between the quick tries, as far as they fit into the first period.
const QUICK: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(180),
    Duration::from_millis(540),
    Duration::from_millis(1620),
];

/// What a try changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Same,
    /// The probe's result.
    Changed(bool),
}

/// The state of one probe.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Wait before the first try.
    pub initial_delay: Duration,
    period: Duration,
    successes_needed: u32,
    failures_needed: u32,
    result: Option<bool>,
    last: Option<bool>,
    in_a_row: u32,
    quick: usize,
    spent: Duration,
    counted: bool,
}

impl Schedule {
    /// The schedule of a probe.
    pub fn new(kind: ProbeKind, probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: i32, least: i32| {
            let value = value.unwrap_or(default).max(least);
            Duration::from_secs(u64::try_from(value).unwrap_or(0))
        };
        let threshold = |value: Option<i32>, default: i32| {
            u32::try_from(value.unwrap_or(default).max(1)).unwrap_or(1)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 10, 1),
            successes_needed: threshold(probe.success_threshold, 1),
            failures_needed: threshold(probe.failure_threshold, 3),
            // A container is alive until the probe says otherwise; it is not ready before.
            result: (kind == ProbeKind::Liveness).then_some(true),
            last: None,
            in_a_row: 0,
            quick: if kind == ProbeKind::Liveness {
                QUICK.len()
            } else {
                0
            },
            spent: Duration::ZERO,
            counted: true,
        }
    }

    /// Takes in a try.
    pub fn judge(&mut self, success: bool) -> Verdict {
        self.counted = success || !self.may_hurry();
        if !self.counted {
            return Verdict::Same;
        }
        self.quick = QUICK.len();
        if self.last == Some(success) {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            self.last = Some(success);
            self.in_a_row = 1;
        }
        let needed = if success {
            self.successes_needed
        } else {
            self.failures_needed
        };
        if self.in_a_row < needed || self.result == Some(success) {
            return Verdict::Same;
        }
        self.result = Some(success);
        Verdict::Changed(success)
    }

    /// Whether the last try counted.
    pub fn counts(&self) -> bool {
        self.counted
    }

    fn may_hurry(&self) -> bool {
        QUICK
            .get(self.quick)
            .is_some_and(|wait| self.spent + *wait < self.period)
    }

    /// The wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        if !self.counted
            && let Some(wait) = QUICK.get(self.quick)
        {
            self.quick += 1;
            self.spent += *wait;
            return *wait;
        }
        self.period.saturating_sub(std::mem::take(&mut self.spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(period: i32, success: i32, failure: i32) -> Probe {
        Probe {
            period_seconds: Some(period),
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Default::default()
        }
    }

    #[test]
    fn liveness_fails_after_its_threshold_only() {
        let mut s = Schedule::new(ProbeKind::Liveness, &probe(10, 1, 3));
        assert_eq!(s.judge(true), Verdict::Same);
        assert_eq!(s.judge(false), Verdict::Same);
        assert_eq!(s.judge(false), Verdict::Same);
        assert_eq!(s.judge(true), Verdict::Same);
        for want in [Verdict::Same, Verdict::Same, Verdict::Changed(false)] {
            assert_eq!(s.judge(false), want);
            assert_eq!(s.next_wait(), Duration::from_secs(10));
        }
    }

    #[test]
    fn quick_tries_do_not_count_until_the_first_period_is_over() {
        let mut s = Schedule::new(ProbeKind::Readiness, &probe(1, 1, 1));
        let mut waited = Duration::ZERO;
        let mut quick = 0;
        loop {
            let verdict = s.judge(false);
            if s.counts() {
                assert_eq!(verdict, Verdict::Changed(false));
                break;
            }
            assert_eq!(verdict, Verdict::Same);
            quick += 1;
            waited += s.next_wait();
        }
        assert_eq!(quick, 4);
        assert!(waited < Duration::from_secs(1));
        assert_eq!(waited + s.next_wait(), Duration::from_secs(1));
        assert_eq!(s.judge(true), Verdict::Changed(true));
        assert_eq!(s.next_wait(), Duration::from_secs(1));
    }

    #[test]
    fn readiness_needs_its_successes_in_a_row() {
        let mut s = Schedule::new(ProbeKind::Readiness, &probe(5, 2, 2));
        assert_eq!(s.judge(true), Verdict::Same);
        assert_eq!(s.judge(true), Verdict::Changed(true));
        assert_eq!(s.judge(false), Verdict::Same);
        assert_eq!(s.judge(false), Verdict::Changed(false));
    }
}
