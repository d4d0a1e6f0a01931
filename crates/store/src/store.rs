//! The store as the API server uses it: durable conditional writes, and reads, lists and watches
//! out of memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::cache::{Cache, Installer, List, ListError, ListOptions, Reader, Resource, past_event};
use crate::engine::{
    CommitError, Embedded, Engine, EngineStats, Expect, LoadError, Op, OpenError, Value, Write,
};
use crate::entry::{Entry, Stored};
use crate::key::{Key, Revision};
use crate::options::Options;
use crate::watch::{Scope, WatchError, WatchStream};

/// The largest object in bytes. The API server's own bound on requests is lower.
const MAX_VALUE: usize = 8 << 20;

/// Finds the attributes of an object's JSON when it is read back from disk.
pub type IndexFn = Arc<dyn Fn(&[u8]) -> Attributes + Send + Sync>;

/// How a resource is kept.
#[derive(Clone)]
pub struct Registration {
    /// Finds the attributes of an object read back from disk.
    pub index: IndexFn,
    /// The fields by which lists and watches are to be quick, such as `spec.nodeName`.
    pub indexed: Vec<&'static str>,
    /// Whether values are sealed on disk; needs [`Options::seal`].
    pub sealed: bool,
}

impl Registration {
    /// No indexed fields, not sealed.
    pub fn new(index: impl Fn(&[u8]) -> Attributes + Send + Sync + 'static) -> Self {
        Registration {
            index: Arc::new(index),
            indexed: Vec::new(),
            sealed: false,
        }
    }

    /// With indexed fields.
    pub fn indexed(mut self, fields: impl IntoIterator<Item = &'static str>) -> Self {
        self.indexed.extend(fields);
        self
    }

    /// Sealed on disk.
    pub fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }
}

/// Why a resource could not be registered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegisterError {
    /// A prefix is `/<group>/<plural>/`.
    #[error("{0:?} is not a prefix of the form /group/plural/")]
    Prefix(String),
    /// It is registered already.
    #[error("{0} is registered already")]
    Registered(String),
    /// It is to be sealed, and the store has no seal.
    #[error("{0} is to be sealed, but the store was opened without a seal")]
    NoSeal(String),
    /// Its objects could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Why a write did not happen, or is not known to have.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The key was to be absent.
    #[error("{} exists already", .current.key)]
    Exists {
        /// What is filed there.
        current: Arc<Entry>,
    },
    /// The key was to be present.
    #[error("{key} does not exist")]
    NotFound {
        /// The key.
        key: Key,
    },
    /// The key has another version than expected.
    #[error("{} has changed: it is at revision {}", .current.key, .current.revision)]
    Conflict {
        /// What is filed there.
        current: Arc<Entry>,
    },
    /// The resource has not been registered.
    #[error("no resource is registered under the prefix of {0}")]
    Unregistered(Key),
    /// The key or the object is too large.
    #[error("{key} is too large: {size} bytes, at most {max} are kept")]
    TooLarge {
        /// The key.
        key: Key,
        /// Its size or its object's.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// The object could not be sealed.
    #[error("cannot seal {key}: {message}")]
    Seal {
        /// The key.
        key: Key,
        /// Why.
        message: String,
    },
    /// The write was made, but the version it made could not be read back.
    #[error("{key} was written but cannot be read back: {message}")]
    ReadBack {
        /// The key.
        key: Key,
        /// Why.
        message: String,
    },
    /// The engine failed; a disk that is full, for one. Not known to have happened.
    #[error(transparent)]
    Engine(CommitError),
}

/// What a store holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The newest revision.
    pub revision: u64,
    /// Objects in the cache.
    pub objects: usize,
    /// Watchers.
    pub watchers: usize,
    /// About how many bytes objects and recent changes take.
    pub bytes: usize,
    /// What the engine has done.
    pub engine: EngineStats,
}

/// Revisioned keys with watch.
pub struct Store {
    engine: Arc<dyn Engine>,
    cache: Arc<Cache>,
    options: Options,
}

impl Store {
    /// Opens the embedded store in `dir`, making it where there is none. May wait for as long as
    /// [`Options::lock_wait`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Arc<Store>, OpenError> {
        let engine = Embedded::open(dir.as_ref(), &options)?;
        Ok(Store::over(Arc::new(engine), options))
    }

    /// A store over any engine that has no sink yet.
    pub fn over(engine: Arc<dyn Engine>, options: Options) -> Arc<Store> {
        let cache = Arc::new(Cache::new(&options, engine.opened_at()));
        engine.attach(cache.clone());
        Arc::new(Store {
            engine,
            cache,
            options,
        })
    }

    /// Loads the objects under `/<group>/<plural>/` and keeps them in memory from now on. Reads
    /// and writes need it.
    pub async fn register(
        &self,
        prefix: &str,
        registration: Registration,
    ) -> Result<(), RegisterError> {
        if Key::new(prefix).prefix() != prefix || prefix.matches('/').count() != 3 {
            return Err(RegisterError::Prefix(prefix.to_owned()));
        }
        if self.cache.resource(prefix).is_some() {
            return Err(RegisterError::Registered(prefix.to_owned()));
        }
        let seal = self.options.seal.clone();
        if registration.sealed && seal.is_none() {
            return Err(RegisterError::NoSeal(prefix.to_owned()));
        }
        let reader = Reader { registration, seal };
        let resource = Arc::new(Resource::new(prefix, reader));
        let installer = Installer::new(self.cache.clone(), resource);
        Ok(self.engine.load(prefix, Box::new(installer)).await?)
    }

    /// Forgets a resource that is served no more, and ends its watches. Its objects stay on disk;
    /// whoever wants them gone deletes them first.
    pub fn unregister(&self, prefix: &str) {
        if let Some(resource) = self.cache.remove(prefix) {
            resource.close();
        }
    }

    /// Files a new object.
    pub async fn create(&self, key: Key, stored: Stored) -> Result<Arc<Entry>, WriteError> {
        self.put(key, Expect::Absent, stored).await
    }

    /// Replaces an object.
    pub async fn update(
        &self,
        key: Key,
        expect: Expect,
        stored: Stored,
    ) -> Result<Arc<Entry>, WriteError> {
        self.put(key, expect, stored).await
    }

    /// Deletes an object; gives its last version, showing the deletion's revision.
    pub async fn delete(&self, key: Key, expect: Expect) -> Result<Arc<Entry>, WriteError> {
        let resource = self.resource_of(&key)?;
        let revision = self
            .commit(&resource, key.clone(), expect, Op::Delete)
            .await?;
        self.committed(&resource, &key, revision).await
    }

    async fn put(
        &self,
        key: Key,
        expect: Expect,
        stored: Stored,
    ) -> Result<Arc<Entry>, WriteError> {
        let resource = self.resource_of(&key)?;
        let key_len = key.as_str().len();
        for (size, max) in [(key_len, Key::MAX_LEN), (stored.bytes.len(), MAX_VALUE)] {
            if size > max {
                return Err(WriteError::TooLarge { key, size, max });
            }
        }
        let value = self.value(&resource, &key, stored)?;
        let revision = self
            .commit(&resource, key.clone(), expect, Op::Put(value))
            .await?;
        self.committed(&resource, &key, revision).await
    }

    /// The version that a write of ours made.
    async fn committed(
        &self,
        resource: &Resource,
        key: &Key,
        revision: Revision,
    ) -> Result<Arc<Entry>, WriteError> {
        if let Some(event) = resource.event(revision) {
            return Ok(event.entry.clone());
        }
        // A huge object, or so many changes since that this one is not recent any more
        let before = Revision(revision.0 - 1);
        let past = self
            .engine
            .changes(resource.prefix(), before, revision, 1)
            .await;
        let event = match past.as_ref().map(|past| past.changes.first()) {
            Ok(Some(change)) => past_event(&resource.reader, change),
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        match event {
            Ok(Some(event)) => Ok(event.entry),
            Ok(None) => Err(WriteError::NotFound { key: key.clone() }),
            Err(message) => Err(WriteError::ReadBack {
                key: key.clone(),
                message,
            }),
        }
    }

    fn value(&self, resource: &Resource, key: &Key, stored: Stored) -> Result<Value, WriteError> {
        let ttl = stored
            .ttl
            .map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2));
        let expires_at = ttl.map(|ttl| self.cache.now().saturating_add(ttl));
        let sealed = resource.reader.registration.sealed;
        let bytes = match (&self.options.seal, sealed) {
            (Some(seal), true) => {
                let sealed = seal
                    .seal(key, &stored.bytes)
                    .map_err(|error| WriteError::Seal {
                        key: key.clone(),
                        message: error.to_string(),
                    })?;
                Bytes::from(sealed)
            }
            _ => stored.bytes.clone(),
        };
        Ok(Value {
            bytes,
            sealed,
            expires_at,
            stored,
        })
    }

    async fn commit(
        &self,
        resource: &Resource,
        key: Key,
        expect: Expect,
        op: Op,
    ) -> Result<Revision, WriteError> {
        // The cache may be behind the engine by the batch in flight, never ahead: what it already
        // contradicts need not wait for a disk
        if let (Expect::At(expected), Some(current)) = (expect, resource.get(&key))
            && current.revision > expected
        {
            return Err(WriteError::Conflict { current });
        }
        let write = Write {
            key: key.clone(),
            expect,
            op,
        };
        match self.engine.commit(write).await {
            Ok(committed) => Ok(committed.revision),
            Err(CommitError::Conflict { .. }) => Err(match (resource.get(&key), expect) {
                (Some(current), Expect::Absent) => WriteError::Exists { current },
                (Some(current), Expect::At(_) | Expect::Present) => {
                    WriteError::Conflict { current }
                }
                (None, _) => WriteError::NotFound { key },
            }),
            Err(error) => Err(WriteError::Engine(error)),
        }
    }

    fn resource_of(&self, key: &Key) -> Result<Arc<Resource>, WriteError> {
        let resource = self.cache.resource(key.prefix());
        resource.ok_or_else(|| WriteError::Unregistered(key.clone()))
    }

    /// The current version of an object.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.cache.resource(key.prefix())?.get(key)
    }

    /// One consistent snapshot of a resource, or a page of it. `filter` decides over each object
    /// that [`ListOptions`] lets through; it must be quick, as writers of the resource wait.
    pub async fn list(
        &self,
        prefix: &str,
        options: &ListOptions<'_>,
        filter: Option<&(dyn Fn(&Entry) -> bool + Send + Sync)>,
    ) -> Result<List, ListError> {
        let resource = self.cache.resource(prefix);
        let resource = resource.ok_or_else(|| ListError::Unregistered(prefix.to_owned()))?;
        resource
            .list(&*self.engine, || self.cache.revision(), options, filter)
            .await
    }

    /// The changes of a resource after a revision. A watch from a list's revision continues it
    /// without a gap.
    pub fn watch(
        &self,
        prefix: &str,
        after: Revision,
        scope: Scope,
    ) -> Result<WatchStream, WatchError> {
        let resource = self.cache.resource(prefix);
        let resource = resource.ok_or_else(|| WatchError::Unregistered(prefix.to_owned()))?;
        WatchStream::new(
            self.cache.clone(),
            self.engine.clone(),
            resource,
            scope,
            after,
        )
    }

    /// The newest revision that anybody was told of.
    pub fn revision(&self) -> Revision {
        self.cache.revision()
    }

    /// Waits until reads show a revision; says whether they do. It is only ever not there yet
    /// because it belongs to the batch in flight, or because it was made up.
    pub async fn wait_for(&self, revision: Revision, patience: Duration) -> bool {
        let mut moved = self.cache.moved();
        let reached = moved.wait_for(|now| *now >= revision);
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }

    /// Drops what only reads of the past before `through` need.
    pub async fn compact(&self, through: Revision) -> Result<(), CommitError> {
        self.engine.compact(through).await
    }

    /// Does now what is otherwise done when the clock says so: deleting expired objects and
    /// dropping old history.
    pub async fn maintain(&self) -> Result<(), CommitError> {
        self.engine.maintain().await
    }

    /// The revision through which history has been dropped: the oldest to watch from.
    pub fn compacted(&self) -> Revision {
        self.engine.compacted()
    }

    /// How many objects a resource has, and how many watchers a change in this namespace concerns at
    /// least; nothing for a resource that is not registered.
    pub fn load(&self, prefix: &str, namespace: Option<&str>) -> (usize, usize) {
        let resource = self.cache.resource(prefix);
        resource.map_or((0, 0), |resource| resource.load(namespace))
    }

    /// What the store holds and has done.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            revision: self.revision().0,
            engine: self.engine.stats(),
            ..Stats::default()
        };
        for resource in self.cache.resources() {
            let (objects, watchers, bytes) = resource.sizes();
            stats.objects += objects;
            stats.watchers += watchers;
            stats.bytes += bytes;
        }
        stats
    }

    /// Ends the store in good order: waiting writes are still done, watches end.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
