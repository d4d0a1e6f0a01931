//! The work queue between changes and a reconciler.
//!
//! A key is in the queue at most once however often it is added, and is never handed to two workers
//! at a time: a key added while it is being worked on comes out again when that work is done.
//! The queue is bounded by the number of distinct keys, that is, by the objects there are; adding
//! never fails and never blocks.
//!
//! Delays live in one heap per queue. A driver task sleeps until the earliest of them and has no
//! timer at all while the heap is empty.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::metrics::{Metrics, QueueMetrics};
use crate::random::Random;

/// A queue of keys; clones share it.
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

struct Shared<K> {
    state: Mutex<State<K>>,
    /// A key may be ready, or the queue was shut down.
    ready: Notify,
    /// The earliest delay changed, or the queue was shut down.
    timer: Notify,
    backoff: Backoff,
    random: Arc<dyn Random>,
    metrics: QueueMetrics,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Everything in `ready` plus what was added again while worked on; with the time of the add.
    dirty: HashMap<K, Instant>,
    working: HashSet<K>,
    failures: HashMap<K, u32>,
    /// May hold superseded entries: only those that `due` confirms count.
    delays: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed: HashMap<u64, K>,
    due: HashMap<K, (Instant, u64)>,
    serial: u64,
    closed: bool,
}

impl<K> WorkQueue<K>
where
    K: Clone + Eq + Hash + Debug + Send + Sync + 'static,
{
    /// A queue with upstream's per-key backoff. Must be called within a tokio runtime.
    pub fn new(name: &str, metrics: &Metrics, random: Arc<dyn Random>) -> Self {
        Self::with_backoff(name, metrics, random, Backoff::QUEUE)
    }

    /// A queue with its own backoff. Must be called within a tokio runtime.
    pub fn with_backoff(
        name: &str,
        metrics: &Metrics,
        random: Arc<dyn Random>,
        backoff: Backoff,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: HashMap::new(),
                working: HashSet::new(),
                failures: HashMap::new(),
                delays: BinaryHeap::new(),
                delayed: HashMap::new(),
                due: HashMap::new(),
                serial: 0,
                closed: false,
            }),
            ready: Notify::new(),
            timer: Notify::new(),
            backoff,
            random,
            metrics: metrics.queue(name),
        });
        tokio::spawn(drive(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Adds a key, now.
    pub fn add(&self, key: K) {
        let mut state = self.shared.state.lock();
        self.shared.enqueue(&mut state, key);
    }

    /// Adds a key after a delay. Of several delays for one key the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + delay;
        let mut state = self.shared.state.lock();
        if state.closed || state.due.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        state.serial += 1;
        let serial = state.serial;
        if let Some((_, old)) = state.due.insert(key.clone(), (at, serial)) {
            state.delayed.remove(&old);
        }
        state.delayed.insert(serial, key);
        let first = state
            .delays
            .peek()
            .is_none_or(|Reverse((head, _))| at < *head);
        state.delays.push(Reverse((at, serial)));
        drop(state);
        if first {
            self.shared.timer.notify_one();
        }
    }

    /// Adds a key after the backoff its failures have earned, and counts one more failure.
    pub fn add_rate_limited(&self, key: K) {
        let failures = {
            let mut state = self.shared.state.lock();
            let count = state.failures.entry(key.clone()).or_insert(0);
            let before = *count;
            *count = count.saturating_add(1);
            before
        };
        self.shared.metrics.retries.inc();
        let delay = self.shared.backoff.delay(failures, &*self.shared.random);
        self.add_after(key, delay);
    }

    /// The key succeeded: its next failure starts from the smallest delay again.
    pub fn forget(&self, key: &K) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often in a row `add_rate_limited` was called for the key.
    pub fn failures(&self, key: &K) -> u32 {
        self.shared
            .state
            .lock()
            .failures
            .get(key)
            .copied()
            .unwrap_or_default()
    }

    /// Keys ready and waiting for a worker.
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// No key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next key to work on, or nothing once the queue is closed. The key stays reserved until
    /// the returned [`Work`] is dropped.
    pub async fn next(&self) -> Option<Work<K>> {
        loop {
            // Registered before looking, so that no add in between is missed.
            let ready = self.shared.ready.notified();
            {
                let mut state = self.shared.state.lock();
                if state.closed {
                    return None;
                }
                if let Some(key) = state.ready.pop_front() {
                    let added = state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    self.shared.metrics.depth.set(state.ready.len() as i64);
                    if !state.ready.is_empty() {
                        // Adds that came while nobody waited left one wake-up between them.
                        self.shared.ready.notify_one();
                    }
                    let now = Instant::now();
                    if let Some(added) = added {
                        self.shared
                            .metrics
                            .waited
                            .observe((now - added).as_secs_f64());
                    }
                    self.shared.metrics.began(now);
                    return Some(Work {
                        queue: self.clone(),
                        key,
                        since: now,
                    });
                }
            }
            ready.await;
        }
    }

    /// Ends the queue: every `next`, now and later, answers `None`; adds are dropped.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.ready.clear();
        state.delays.clear();
        state.delayed.clear();
        state.due.clear();
        drop(state);
        self.shared.ready.notify_waiters();
        self.shared.timer.notify_one();
    }

    fn done(&self, key: &K, since: Instant) {
        self.shared.metrics.ended(since);
        let mut state = self.shared.state.lock();
        state.working.remove(key);
        if state.dirty.contains_key(key) && !state.closed {
            state.ready.push_back(key.clone());
            self.shared.metrics.depth.set(state.ready.len() as i64);
            self.shared.ready.notify_one();
        }
    }
}

impl<K: Clone + Eq + Hash> Shared<K> {
    fn enqueue(&self, state: &mut State<K>, key: K) {
        if state.closed || state.dirty.contains_key(&key) {
            return;
        }
        self.metrics.adds.inc();
        state.dirty.insert(key.clone(), Instant::now());
        if !state.working.contains(&key) {
            state.ready.push_back(key);
            self.metrics.depth.set(state.ready.len() as i64);
            self.ready.notify_one();
        }
    }

    /// Moves what is due into the queue; says when to look again.
    fn release_due(&self, now: Instant) -> Next {
        let mut state = self.state.lock();
        if state.closed {
            return Next::Never;
        }
        while let Some(Reverse((at, serial))) = state.delays.peek().copied() {
            if !state.delayed.contains_key(&serial) {
                state.delays.pop();
                continue;
            }
            if at > now {
                return Next::At(at);
            }
            state.delays.pop();
            if let Some(key) = state.delayed.remove(&serial) {
                state.due.remove(&key);
                self.enqueue(&mut state, key);
            }
        }
        Next::OnChange
    }
}

enum Next {
    At(Instant),
    OnChange,
    Never,
}

/// The queue's only timer.
async fn drive<K: Clone + Eq + Hash + Send + Sync + 'static>(queue: Weak<Shared<K>>) {
    loop {
        let Some(shared) = queue.upgrade() else {
            return;
        };
        let changed = shared.timer.notified();
        match shared.release_due(Instant::now()) {
            Next::Never => return,
            Next::OnChange => changed.await,
            Next::At(at) => {
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                }
            }
        }
    }
}

/// A key being worked on. Dropping it ends the work, also when the worker panicked.
pub struct Work<K>
where
    K: Clone + Eq + Hash + Debug + Send + Sync + 'static,
{
    queue: WorkQueue<K>,
    key: K,
    since: Instant,
}

impl<K> Work<K>
where
    K: Clone + Eq + Hash + Debug + Send + Sync + 'static,
{
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K> Drop for Work<K>
where
    K: Clone + Eq + Hash + Debug + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.queue.done(&self.key, self.since);
    }
}

#[cfg(test)]
mod tests;
