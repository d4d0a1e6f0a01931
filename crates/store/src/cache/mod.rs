//! The watch cache: every registered object once, as bytes, with recent changes and those who
//! watch. The engine applies changes to it in revision order before it acknowledges them, so it is
//! never behind what anybody was told.

mod install;
mod list;
mod resource;
mod ring;
mod watchers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::clock::Clock;
use parking_lot::RwLock;
use tokio::sync::watch;

pub(crate) use install::Installer;
pub use list::{List, ListError, ListOptions};
pub(crate) use resource::{Bounds, Resource};
pub(crate) use watchers::Watcher;

use crate::engine::{Change, Payload, RawValue, Sink};
use crate::entry::Entry;
use crate::event::Event;
use crate::key::{Key, Revision};
use crate::options::Options;
use crate::seal::Seal;
use crate::store::Registration;

/// Reads values as the engine keeps them: opens sealed ones and finds their attributes.
pub(crate) struct Reader {
    pub(crate) registration: Registration,
    pub(crate) seal: Option<Arc<dyn Seal>>,
}

impl Reader {
    pub(crate) fn entry(
        &self,
        key: &Key,
        revision: Revision,
        created: Revision,
        value: (&[u8], bool, u32),
    ) -> Result<Entry, String> {
        let (bytes, sealed, rv_at) = value;
        let opened;
        let plain = if sealed {
            let seal = self
                .seal
                .as_ref()
                .ok_or("it is sealed and the store has no seal")?;
            opened = seal.open(key, bytes).map_err(|error| error.to_string())?;
            &opened
        } else {
            bytes
        };
        let attributes = (self.registration.index)(plain);
        Ok(Entry::new(
            key.clone(),
            revision,
            created,
            (plain, rv_at),
            attributes,
        ))
    }

    pub(crate) fn raw(
        &self,
        key: &Key,
        revision: Revision,
        created: Revision,
        raw: &RawValue,
    ) -> Result<Entry, String> {
        self.entry(key, revision, created, (&raw.bytes, raw.sealed, raw.rv_at))
    }
}

/// All registered resources.
pub(crate) struct Cache {
    resources: RwLock<HashMap<Box<str>, Arc<Resource>>>,
    revision: AtomicU64,
    moved: watch::Sender<Revision>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
}

impl Cache {
    pub(crate) fn new(options: &Options, revision: Revision) -> Self {
        Cache {
            resources: RwLock::default(),
            revision: AtomicU64::new(revision.0),
            moved: watch::Sender::new(revision),
            clock: options.clock.clone(),
            bounds: Bounds {
                keep: i64::try_from(options.keep.as_millis()).unwrap_or(i64::MAX / 4),
                ring_events: options.ring_events,
                ring_bytes: options.ring_bytes,
                watcher_buffer: options.watcher_buffer,
            },
        }
    }

    /// Every change through here has been applied.
    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// Follows the revision.
    pub(crate) fn moved(&self) -> watch::Receiver<Revision> {
        self.moved.subscribe()
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    pub(crate) fn resource(&self, prefix: &str) -> Option<Arc<Resource>> {
        self.resources.read().get(prefix).cloned()
    }

    pub(crate) fn resources(&self) -> Vec<Arc<Resource>> {
        self.resources.read().values().cloned().collect()
    }

    pub(crate) fn insert(&self, prefix: &str, resource: Arc<Resource>) {
        self.resources.write().insert(prefix.into(), resource);
    }

    pub(crate) fn remove(&self, prefix: &str) -> Option<Arc<Resource>> {
        self.resources.write().remove(prefix)
    }
}

impl Sink for Cache {
    fn apply(&self, changes: Vec<Change>) {
        let Some(last) = changes.last().map(|change| change.revision) else {
            return;
        };
        let now = self.now();
        // Few resources change in one batch; each is locked once
        let mut groups: Vec<(Arc<Resource>, Vec<Change>)> = Vec::new();
        for change in changes {
            let prefix = change.key.prefix();
            if let Some((_, group)) = groups.iter_mut().find(|(r, _)| r.prefix() == prefix) {
                group.push(change);
            } else if let Some(resource) = self.resource(prefix) {
                groups.push((resource, vec![change]));
            }
        }
        let mut wakers = Vec::new();
        for (resource, group) in groups {
            resource.apply(group, now, &self.bounds, &mut wakers);
        }
        self.revision.store(last.0, Ordering::Release);
        self.moved.send_replace(last);
        // After the revision: whoever wakes up finds it at least as new as its events
        for watcher in wakers {
            watcher.wake();
        }
    }

    fn trim(&self) {
        let now = self.now();
        for resource in self.resources() {
            resource.trim(now, &self.bounds);
        }
    }

    fn closed(&self) {
        for resource in self.resources() {
            resource.close();
        }
    }
}

/// The entry a change files; `None` for a deletion.
pub(crate) fn filed(reader: &Reader, change: &Change) -> Option<Result<Entry, String>> {
    let (key, revision, created) = (&change.key, change.revision, change.created);
    Some(match change.value.as_ref()? {
        Payload::Stored(stored) => Ok(Entry::of(key.clone(), revision, created, stored)),
        Payload::Raw(raw) => reader.raw(key, revision, created, raw),
    })
}

/// A change of the past as an event.
pub(crate) fn past_event(
    reader: &Reader,
    past: &crate::engine::PastChange,
) -> Result<Option<Event>, String> {
    let change = &past.change;
    let previous = match &past.previous {
        None => None,
        Some((revision, created, raw)) => Some(Arc::new(reader.raw(
            &change.key,
            *revision,
            *created,
            raw,
        )?)),
    };
    Ok(match filed(reader, change) {
        Some(entry) => Some(Event::put(Arc::new(entry?), previous, 0)),
        None => previous.map(|previous| Event::delete(change.revision, previous, 0)),
    })
}
