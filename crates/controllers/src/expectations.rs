//! Keeps a reconciler from acting twice on what it did already but does not see yet.
//!
//! After a create, the highest revision written is expected of the cache; after a delete, that the
//! object is gone or marked. While either is outstanding, the owner's dependents are left alone; the
//! very change that fulfils the expectation brings the owner's key back into the queue. An
//! expectation whose change never came is dropped after [`PATIENCE`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use client::Key;
use client::informer::{Object, Store};
use client::revision_of;
use jiff::Timestamp;
use parking_lot::Mutex;

/// How long to wait for one's own writes to be seen, as upstream does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Outstanding {
    revision: u64,
    deleted: HashSet<(Key, String)>,
    since: Option<Timestamp>,
}

/// One entry per owner with outstanding writes.
#[derive(Default)]
pub(crate) struct Expectations {
    outstanding: Mutex<HashMap<Key, Outstanding>>,
}

impl Expectations {
    /// A dependent was created or changed: expects the cache to have come to its revision.
    pub fn wrote<K: Object>(&self, owner: &Key, dependent: &K, now: Timestamp) {
        let mut all = self.outstanding.lock();
        let outstanding = all.entry(owner.clone()).or_default();
        outstanding.revision = outstanding.revision.max(revision_of(dependent));
        outstanding.since = Some(now);
    }

    /// A dependent was deleted: expects it to be gone or marked.
    pub fn deleted<K: Object>(&self, owner: &Key, dependent: &K, now: Timestamp) {
        let mut all = self.outstanding.lock();
        let outstanding = all.entry(owner.clone()).or_default();
        let uid = dependent.meta().uid.clone().unwrap_or_default();
        outstanding.deleted.insert((Key::of(dependent), uid));
        outstanding.since = Some(now);
    }

    /// Nothing, or how long to wait at most before asking again.
    pub fn outstanding<K: Object>(
        &self,
        owner: &Key,
        cache: &Store<K>,
        now: Timestamp,
    ) -> Option<Duration> {
        let mut all = self.outstanding.lock();
        let outstanding = all.get_mut(owner)?;
        outstanding.deleted.retain(|(key, uid)| {
            cache.get_key(key).is_some_and(|cached| {
                let meta = cached.meta();
                meta.uid.as_ref() == Some(uid) && meta.deletion_timestamp.is_none()
            })
        });
        let waited = outstanding
            .since
            .and_then(|since| Duration::try_from(now.duration_since(since)).ok())
            .unwrap_or_default();
        let seen = outstanding.deleted.is_empty() && cache.revision() >= outstanding.revision;
        if seen || waited >= PATIENCE {
            all.remove(owner);
            return None;
        }
        Some(PATIENCE - waited)
    }

    /// The owner is gone.
    pub fn forget(&self, owner: &Key) {
        self.outstanding.lock().remove(owner);
    }
}
