//! The seam between the store and what keeps its data: the embedded engine on one machine, etcd
//! on several. An engine makes writes durable, numbers them, and tells its [`Sink`] of every one
//! in order; it knows nothing of selectors, watchers or encryption.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::entry::Stored;
use crate::key::{Key, Revision};

mod embedded;

pub use embedded::Embedded;

/// What must hold of a key for a write to it to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing is filed there.
    Absent,
    /// The version of this revision is filed there.
    At(Revision),
    /// Some version is filed there.
    Present,
}

impl Expect {
    /// Whether it holds for a key whose current version has this revision.
    pub fn holds(self, current: Option<Revision>) -> bool {
        match self {
            Expect::Absent => current.is_none(),
            Expect::At(revision) => current == Some(revision),
            Expect::Present => current.is_some(),
        }
    }
}

/// One conditional change of one key.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key to change.
    pub key: Key,
    /// What must hold for it.
    pub expect: Expect,
    /// What to do to it.
    pub op: Op,
}

/// What a write does.
#[derive(Clone, Debug)]
pub enum Op {
    /// File a value, replacing what is there.
    Put(Value),
    /// Remove what is there.
    Delete,
}

/// A value on its way to an engine.
#[derive(Clone, Debug)]
pub struct Value {
    /// What goes to disk.
    pub bytes: Bytes,
    /// Whether `bytes` are sealed.
    pub sealed: bool,
    /// When the engine may delete it, in milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// The object itself, which the engine hands to its sink as it is.
    pub stored: Stored,
}

/// A committed, durable write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The revision it got.
    pub revision: Revision,
    /// The revision of the version it replaced or deleted.
    pub previous: Option<Revision>,
}

/// One committed change, as the sink is told of it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The key that changed.
    pub key: Key,
    /// The revision of the change.
    pub revision: Revision,
    /// The revision at which the object was created.
    pub created: Revision,
    /// What was filed; `None` when it was deleted.
    pub value: Option<Payload>,
}

/// The value of a change.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Written through this store.
    Stored(Stored),
    /// Read back from the engine.
    Raw(RawValue),
}

/// A value as an engine keeps it.
#[derive(Clone, Debug)]
pub struct RawValue {
    /// The bytes, perhaps sealed.
    pub bytes: Bytes,
    /// Whether they are.
    pub sealed: bool,
    /// Where the resourceVersion goes, see [`Stored::rv_at`].
    pub rv_at: u32,
}

/// A current version, as an engine loads it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it is filed.
    pub key: &'a str,
    /// Its revision.
    pub revision: Revision,
    /// The revision at which the object was created.
    pub created: Revision,
    /// Its bytes, perhaps sealed.
    pub bytes: &'a [u8],
    /// Whether they are.
    pub sealed: bool,
    /// Where the resourceVersion goes.
    pub rv_at: u32,
}

/// Told of every change in revision order. A commit is acknowledged after its change was applied.
pub trait Sink: Send + Sync + 'static {
    /// Takes the next changes, which are durable.
    fn apply(&self, changes: Vec<Change>);

    /// Lets go of what is too old to keep in memory.
    fn trim(&self);

    /// No change will follow.
    fn closed(&self);
}

/// Receives the current versions of a prefix.
pub trait Install: Send {
    /// Takes one version; they come in key order.
    fn record(&mut self, record: Record<'_>) -> Result<(), String>;

    /// All of them were handed over as they stand at `revision`. Called before the sink hears of
    /// any later change.
    fn done(&mut self, revision: Revision);
}

/// Changes of the past, oldest first.
#[derive(Debug, Default)]
pub struct Past {
    /// The changes.
    pub changes: Vec<PastChange>,
    /// Every change of the prefix up to here is among them.
    pub through: Revision,
}

/// A change of the past and what it replaced.
#[derive(Clone, Debug)]
pub struct PastChange {
    /// The change, its value being raw.
    pub change: Change,
    /// The version before, with its revision and creation.
    pub previous: Option<(Revision, Revision, RawValue)>,
}

/// What an engine has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Writes made durable.
    pub writes: u64,
    /// Transactions they were made durable in, each with one sync.
    pub batches: u64,
    /// Transactions that failed, with every write in them.
    pub failed_batches: u64,
    /// The revision through which history has been dropped.
    pub compacted: u64,
}

/// Keeps revisioned keys durably.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Names the sink. Called once, before anything else.
    fn attach(&self, sink: Arc<dyn Sink>);

    /// The newest revision when the engine was opened.
    fn opened_at(&self) -> Revision;

    /// The revision through which history has been dropped.
    fn compacted(&self) -> Revision;

    /// Makes one write durable. Concurrent ones share a sync. The sink has seen the change when
    /// this returns; an error says that it is not known to be durable, except
    /// [`CommitError::Conflict`], which says that it did not happen.
    async fn commit(&self, write: Write) -> Result<Committed, CommitError>;

    /// Hands every current version of a prefix to `install`, as one snapshot.
    async fn load(&self, prefix: &str, install: Box<dyn Install>) -> Result<(), LoadError>;

    /// Reads kept changes of a prefix after one revision, up to another; at most about `limit`
    /// of them, so that `through` may be short of `upto`.
    async fn changes(
        &self,
        prefix: &str,
        after: Revision,
        upto: Revision,
        limit: usize,
    ) -> Result<Past, HistoryError>;

    /// Drops what only reads before `through` need.
    async fn compact(&self, through: Revision) -> Result<(), CommitError>;

    /// Does now what the engine otherwise does when its clock says so: expiry and compaction.
    async fn maintain(&self) -> Result<(), CommitError>;

    /// What it has done so far.
    fn stats(&self) -> EngineStats;

    /// Ends it in good order; later calls fail.
    async fn close(&self);
}

/// Why a write was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// What was expected of the key does not hold.
    #[error("the key does not have the expected version")]
    Conflict {
        /// The revision of the version filed there.
        current: Option<Revision>,
    },
    /// The disk has no room.
    #[error("no space left for {path}: free some, the store then goes on by itself", path = path.display())]
    Full {
        /// The store's directory.
        path: PathBuf,
    },
    /// Too many writes wait already.
    #[error("{waiting} writes wait for the store already")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The disk failed.
    #[error("cannot write to {path}: {message}", path = path.display())]
    Io {
        /// The store's directory.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// The engine has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a prefix could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk failed.
    #[error("cannot read {prefix}: {message}")]
    Io {
        /// What was to be loaded.
        prefix: String,
        /// What went wrong.
        message: String,
    },
    /// A value could not be taken.
    #[error("cannot load {key}: {message}")]
    Record {
        /// Which.
        key: String,
        /// Why.
        message: String,
    },
    /// The engine has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why the past could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// It has been dropped.
    #[error("changes through revision {oldest} are not kept any more")]
    Compacted {
        /// The revision through which it has been.
        oldest: Revision,
    },
    /// The disk failed.
    #[error("cannot read the history: {0}")]
    Io(String),
    /// The engine has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a store could not be opened. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("another corten uses {dir}{holder}: stop it, or give this one a directory of its own",
        dir = dir.display(), holder = pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// The process, where it can be known.
        pid: Option<u32>,
    },
    /// It may not be read or written.
    #[error("cannot access {path}: {source}", path = path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is there was not made by a store.
    #[error("{path} is not a store of Corten ({detail})", path = path.display())]
    NotAStore {
        /// What.
        path: PathBuf,
        /// How that shows.
        detail: String,
    },
    /// A newer Corten made it.
    #[error("{path} has format {found}, this corten knows formats up to {known}: use a newer corten", path = path.display())]
    NewerFormat {
        /// What.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The disk has no room to open it.
    #[error("no space left to open {path}", path = path.display())]
    Full {
        /// What.
        path: PathBuf,
    },
    /// The file is damaged, or the disk failed.
    #[error("cannot open {path}: {message}", path = path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
}
