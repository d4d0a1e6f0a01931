//! When the engine has something to do besides writes: dropping history that is old enough,
//! deleting what has expired, and one quick-repair commit once writing has paused. Pure; with
//! nothing to do it names no time, and the writer sleeps until the next write.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::key::{Key, Revision};
use crate::options::Options;

/// How long writing has to pause before the file is brought into a state that opens at once.
const PAUSE: i64 = 1_000;
/// Changes of this many milliseconds age together.
const BUCKET: i64 = 10_000;
/// Work is left to gather this long beyond its time, so that a quiet cluster's few writes do not
/// each wake the engine again.
const SLACK: i64 = 30_000;
/// Keys deleted in one step because they expired.
pub(super) const EXPIRE_STEP: usize = 256;

/// Changes made at about the same time.
#[derive(Debug)]
struct Bucket {
    first: i64,
    last: i64,
    through: Revision,
}

/// Whether work is to be found at its time or only when it has gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Everything whose time has come.
    Strict,
    /// Only when the oldest of it has waited a while.
    Gathered,
}

/// What is known of pending work.
#[derive(Debug)]
pub(super) struct Schedule {
    keep: i64,
    max_history: u64,
    buckets: VecDeque<Bucket>,
    target: Revision,
    compacted: Revision,
    expiring: HashMap<Key, i64>,
    next_expiry: Option<i64>,
    flush_at: Option<i64>,
}

impl Schedule {
    /// For a file with changes in (`compacted`, `last`], which age from now on.
    pub(super) fn new(options: &Options, compacted: Revision, last: Revision, now: i64) -> Self {
        let mut schedule = Schedule {
            keep: i64::try_from(options.keep.as_millis()).unwrap_or(i64::MAX / 4),
            max_history: options.max_history.max(1),
            buckets: VecDeque::new(),
            target: compacted,
            compacted,
            expiring: HashMap::new(),
            next_expiry: None,
            flush_at: None,
        };
        if last > compacted {
            schedule.note_changes(last, now);
        }
        schedule
    }

    /// Changes through `last` were committed.
    pub(super) fn note_changes(&mut self, last: Revision, now: i64) {
        match self.buckets.back_mut() {
            Some(bucket) if now - bucket.first < BUCKET => {
                (bucket.last, bucket.through) = (now, last);
            }
            _ => self.buckets.push_back(Bucket {
                first: now,
                last: now,
                through: last,
            }),
        }
        if last.0.saturating_sub(self.compacted.0) > self.max_history {
            let keep = self.max_history - self.max_history / 4;
            self.target = self.target.max(Revision(last.0 - keep));
        }
    }

    /// A transaction ended.
    pub(super) fn note_commit(&mut self, quick_repair: bool, now: i64) {
        self.flush_at = (!quick_repair).then_some(now + PAUSE);
    }

    /// History was dropped through here.
    pub(super) fn note_compacted(&mut self, through: Revision) {
        self.compacted = through;
        while self.buckets.front().is_some_and(|b| b.through <= through) {
            self.buckets.pop_front();
        }
    }

    /// A key was written or deleted.
    pub(super) fn note_expiry(&mut self, key: &Key, at: Option<i64>) {
        match at {
            Some(at) => {
                self.expiring.insert(key.clone(), at);
                self.next_expiry = Some(self.next_expiry.map_or(at, |next| next.min(at)));
            }
            None if self.expiring.is_empty() => {}
            None => drop(self.expiring.remove(key)),
        }
    }

    /// Asks for history to be dropped through here.
    pub(super) fn compact(&mut self, through: Revision) {
        self.target = self.target.max(through);
    }

    /// Moves the target to what is old enough; says whether there is history to drop.
    pub(super) fn compaction(&mut self, when: When, now: i64) -> Option<(Revision, Revision)> {
        let slack = if when == When::Gathered { 2 * SLACK } else { 0 };
        let ripe = |bucket: &Bucket, slack| bucket.last + self.keep + slack <= now;
        if self
            .buckets
            .front()
            .is_some_and(|bucket| ripe(bucket, slack))
        {
            let old = self.buckets.iter().take_while(|bucket| ripe(bucket, 0));
            if let Some(bucket) = old.last() {
                self.target = self.target.max(bucket.through);
            }
        }
        (self.target > self.compacted).then_some((self.compacted, self.target))
    }

    /// Keys whose time has come, at most [`EXPIRE_STEP`]; each is named once.
    pub(super) fn expired(&mut self, when: When, now: i64) -> Vec<Key> {
        let slack = if when == When::Gathered { SLACK } else { 0 };
        if self.next_expiry.is_none_or(|next| next + slack > now) {
            return Vec::new();
        }
        let due = self.expiring.iter().filter(|(_, at)| **at <= now);
        let due: Vec<Key> = due.take(EXPIRE_STEP).map(|(key, _)| key.clone()).collect();
        for key in &due {
            self.expiring.remove(key);
        }
        self.next_expiry = self.expiring.values().min().copied();
        due
    }

    /// Whether writing has paused for long enough.
    pub(super) fn flush(&self, now: i64) -> bool {
        self.flush_at.is_some_and(|at| at <= now)
    }

    /// Whether there is something a quick-repair commit would be good for.
    pub(super) fn dirty(&self) -> bool {
        self.flush_at.is_some()
    }

    /// How long there is nothing to do; `None` for ever.
    pub(super) fn wait(&self, now: i64) -> Option<Duration> {
        let compaction = if self.target > self.compacted {
            Some(now)
        } else {
            self.buckets
                .front()
                .map(|bucket| bucket.last + self.keep + 2 * SLACK)
        };
        let expiry = self.next_expiry.map(|at| at + SLACK);
        let next = [compaction, expiry, self.flush_at]
            .into_iter()
            .flatten()
            .min()?;
        // A clock that was set forth or back must not keep the engine asleep or spinning
        let wait = (next - now).clamp(0, 600_000);
        Some(Duration::from_millis(wait.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        let options = Options {
            keep: Duration::from_secs(300),
            max_history: 1000,
            ..Options::default()
        };
        Schedule::new(&options, Revision(1), Revision(1), 0)
    }

    #[test]
    fn nothing_to_do_means_no_timer() {
        let mut schedule = schedule();
        assert_eq!(schedule.wait(0), None);
        schedule.note_changes(Revision(2), 0);
        schedule.note_commit(false, 0);
        assert_eq!(schedule.wait(0), Some(Duration::from_secs(1)));
        assert!(schedule.flush(1000));
        schedule.note_commit(true, 1000);
        assert_eq!(schedule.wait(1000), Some(Duration::from_secs(359)));
        assert_eq!(schedule.compaction(When::Gathered, 300_000), None);
        let ripe = schedule.compaction(When::Gathered, 360_000);
        assert_eq!(ripe, Some((Revision(1), Revision(2))));
        schedule.note_compacted(Revision(2));
        assert_eq!(schedule.wait(360_000), None);
    }

    #[test]
    fn history_is_dropped_by_age_bucket_by_bucket() {
        let mut schedule = schedule();
        for second in 0..40 {
            schedule.note_changes(Revision(2 + second), second as i64 * 1000);
        }
        let strict = schedule.compaction(When::Strict, 300_000 + 19_500);
        assert_eq!(
            strict,
            Some((Revision(1), Revision(21))),
            "the first two buckets"
        );
    }

    #[test]
    fn history_is_dropped_by_count() {
        let mut schedule = schedule();
        schedule.note_changes(Revision(1001), 0);
        assert_eq!(schedule.compaction(When::Gathered, 0), None);
        schedule.note_changes(Revision(1002), 0);
        let target = Revision(1002 - 750);
        assert_eq!(
            schedule.compaction(When::Gathered, 0),
            Some((Revision(1), target))
        );
    }

    #[test]
    fn keys_expire_once_and_a_later_write_puts_it_off() {
        let mut schedule = schedule();
        let (a, b, c) = (Key::new("/e/a"), Key::new("/e/b"), Key::new("/e/c"));
        schedule.note_expiry(&a, Some(1000));
        schedule.note_expiry(&b, Some(1000));
        schedule.note_expiry(&c, Some(1000));
        schedule.note_expiry(&b, Some(90_000));
        schedule.note_expiry(&c, None);
        assert_eq!(schedule.wait(0), Some(Duration::from_secs(31)));
        assert!(schedule.expired(When::Gathered, 30_000).is_empty());
        assert_eq!(schedule.expired(When::Gathered, 31_000), [a]);
        assert!(schedule.expired(When::Strict, 31_000).is_empty());
        assert_eq!(schedule.expired(When::Strict, 90_000), [b]);
        assert_eq!(schedule.wait(90_000), None);
    }
}
