//! The embedded engine: one redb file, one thread that writes it.
//!
//! Two trees hold the data. `keys` maps each live key to the revision of its version and of its
//! creation; `values` maps each revision to the change made at it, value and all, so that a value
//! is written once, always at the right edge of a tree, and history is simply the older part of
//! `values`. A change names the revision it replaced; dropping history walks it forward and
//! deletes what each change replaced, a bounded step at a time.

mod batch;
mod disk;
mod history;
mod lock;
mod open;
mod record;
mod schedule;
mod writer;

#[cfg(test)]
mod crash_tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use redb::{Database, TableDefinition};
use tokio::sync::oneshot;

use super::{
    CommitError, Committed, Engine, EngineStats, HistoryError, Install, LoadError, OpenError, Past,
    Sink, Write,
};
use crate::key::Revision;
use crate::options::Options;
use writer::{Command, Queue};

/// Key → (revision of the current version, revision of the creation).
const KEYS: TableDefinition<&str, (u64, u64)> = TableDefinition::new("keys");
/// Revision → change, see [`record`].
const VALUES: TableDefinition<u64, &[u8]> = TableDefinition::new("values");
/// `format`, and `compacted`: the revision through which history has been dropped.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The format this code reads and writes.
const FORMAT: u64 = 1;

/// The file while it is open; `None` between a failure and the next successful opening.
type Handle = RwLock<Option<Arc<Database>>>;

struct Shared {
    dir: PathBuf,
    handle: Handle,
    queue: Queue,
    compacted: AtomicU64,
    writes: AtomicU64,
    batches: AtomicU64,
    failed_batches: AtomicU64,
}

/// The engine on one redb file.
pub struct Embedded {
    shared: Arc<Shared>,
    opened_at: Revision,
    idle: Mutex<Option<writer::Writer>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the store in `dir`, making it where there is none.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        Self::open_with(dir, options, Box::new(disk::Plain))
    }

    fn open_with(
        dir: &Path,
        options: &Options,
        medium: Box<dyn disk::Medium>,
    ) -> Result<Self, OpenError> {
        let lock = lock::take(dir, options.lock_wait)?;
        let file = open::ensure(dir, options.engine_cache_bytes, &*medium)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            handle: RwLock::new(Some(Arc::new(file.database))),
            queue: Queue::new(options.max_waiting),
            compacted: AtomicU64::new(file.compacted.0),
            writes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            failed_batches: AtomicU64::new(0),
        });
        let start = writer::Start {
            last: file.last,
            guard: file.guard,
            lock,
            medium,
        };
        let writer = writer::Writer::new(shared.clone(), options, start);
        Ok(Embedded {
            shared,
            opened_at: file.last,
            idle: Mutex::new(Some(writer)),
            thread: Mutex::new(None),
        })
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(command(reply))?;
        answer.await.map_err(|_| CommitError::Closed)
    }

    fn stop(&self) -> Option<std::thread::JoinHandle<()>> {
        self.shared.queue.close();
        drop(self.idle.lock().take());
        self.thread.lock().take()
    }
}

#[async_trait]
impl Engine for Embedded {
    fn attach(&self, sink: Arc<dyn Sink>) {
        let Some(writer) = self.idle.lock().take() else {
            return;
        };
        let thread = std::thread::Builder::new().name("store".into());
        match thread.spawn(move || writer.run(sink)) {
            Ok(thread) => *self.thread.lock() = Some(thread),
            Err(error) => {
                tracing::error!(%error, "cannot start the store's thread");
                self.shared.queue.close();
            }
        }
    }

    fn opened_at(&self) -> Revision {
        self.opened_at
    }

    fn compacted(&self) -> Revision {
        Revision(self.shared.compacted.load(Ordering::Acquire))
    }

    async fn commit(&self, write: Write) -> Result<Committed, CommitError> {
        self.ask(|reply| Command::Write(write, reply)).await?
    }

    async fn load(&self, prefix: &str, install: Box<dyn Install>) -> Result<(), LoadError> {
        let prefix = prefix.to_owned();
        let asked = self
            .ask(|reply| Command::Load(prefix, install, reply))
            .await;
        asked.map_err(|_| LoadError::Closed)?
    }

    async fn changes(
        &self,
        prefix: &str,
        after: Revision,
        upto: Revision,
        limit: usize,
    ) -> Result<Past, HistoryError> {
        let (shared, prefix) = (self.shared.clone(), prefix.to_owned());
        let read = move || {
            let database = shared.handle.read().clone().ok_or(HistoryError::Closed)?;
            history::changes(&database, &prefix, after, upto, limit)
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|error| Err(HistoryError::Io(error.to_string())))
    }

    async fn compact(&self, through: Revision) -> Result<(), CommitError> {
        self.ask(|reply| Command::Maintain(Some(through), reply))
            .await?
    }

    async fn maintain(&self) -> Result<(), CommitError> {
        self.ask(|reply| Command::Maintain(None, reply)).await?
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            writes: self.shared.writes.load(Ordering::Relaxed),
            batches: self.shared.batches.load(Ordering::Relaxed),
            failed_batches: self.shared.failed_batches.load(Ordering::Relaxed),
            compacted: self.shared.compacted.load(Ordering::Relaxed),
        }
    }

    async fn close(&self) {
        if let Some(thread) = self.stop() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the store's thread ended badly");
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The next to open the directory must find it closed; the thread has one batch to end
        if let Some(thread) = self.stop() {
            let _ = thread.join();
        }
    }
}
