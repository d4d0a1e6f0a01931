//! How a store is opened, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use api::clock::{Clock, SystemClock};

use crate::seal::Seal;

/// How to open a store. The defaults suit a cluster of one machine.
#[derive(Clone)]
pub struct Options {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// What seals the values of prefixes registered as sealed.
    pub seal: Option<Arc<dyn Seal>>,
    /// How long changes are kept for watches to resume and for reads of the past.
    pub keep: Duration,
    /// How many changes are kept at most, however young they are.
    pub max_history: u64,
    /// How many recent changes of one resource the cache keeps in memory; older ones that are
    /// still kept are read from disk.
    pub ring_events: usize,
    /// How many bytes of superseded versions the cache keeps in memory for one resource.
    pub ring_bytes: usize,
    /// How many events may wait for one watcher. One that falls further behind is dropped, and
    /// resumes from the revision it has seen.
    pub watcher_buffer: usize,
    /// How many writes may wait for the engine; further ones are refused.
    pub max_waiting: usize,
    /// How long to wait for another process to give the directory up, which a killed one does
    /// only when it has quite exited.
    pub lock_wait: Duration,
    /// How much memory the engine uses to cache its file. Reads come from the watch cache, so
    /// this holds little more than the upper pages of its trees.
    pub engine_cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            clock: Arc::new(SystemClock),
            seal: None,
            keep: Duration::from_secs(300),
            max_history: 100_000,
            ring_events: 8192,
            ring_bytes: 8 << 20,
            watcher_buffer: 8192,
            max_waiting: 65_536,
            lock_wait: Duration::from_millis(1500),
            engine_cache_bytes: 8 << 20,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("seal", &self.seal.is_some())
            .field("keep", &self.keep)
            .field("max_history", &self.max_history)
            .finish_non_exhaustive()
    }
}
