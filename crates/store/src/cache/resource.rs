//! One registered resource: its objects in key order, its indexes, its recent changes and its
//! watchers, under one lock that is held for one batch or one list at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use super::ring::Ring;
use super::watchers::{Watcher, Watchers};
use super::{Reader, filed};
use crate::attributes::Signature;
use crate::engine::Change;
use crate::entry::Entry;
use crate::event::Event;
use crate::key::{Key, Revision};
use crate::watch::{Scope, WatchError};

/// The bounds of every resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) keep: i64,
    pub(crate) ring_events: usize,
    pub(crate) ring_bytes: usize,
    pub(crate) watcher_buffer: usize,
}

/// An object and what can be told of it without following the pointer.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) signature: Signature,
    pub(crate) entry: Arc<Entry>,
}

impl Slot {
    fn new(entry: Arc<Entry>) -> Self {
        Slot {
            signature: entry.attributes.signature(),
            entry,
        }
    }
}

/// The objects of one value of an indexed field.
type Same = BTreeMap<Key, Arc<Entry>>;

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) entries: BTreeMap<Key, Slot>,
    pub(crate) ring: Ring,
    /// The newest change, or the revision at which the objects were loaded.
    pub(crate) last: Revision,
    pub(crate) weight: usize,
    indexes: Vec<(&'static str, HashMap<Box<str>, Same>)>,
    watchers: Watchers,
    closed: bool,
}

/// One registered resource.
pub(crate) struct Resource {
    prefix: Box<str>,
    pub(crate) reader: Reader,
    pub(crate) state: RwLock<State>,
}

impl Resource {
    pub(crate) fn new(prefix: &str, reader: Reader) -> Self {
        let indexed = reader.registration.indexed.iter();
        let state = State {
            entries: BTreeMap::new(),
            ring: Ring::new(Revision::default()),
            last: Revision::default(),
            weight: 0,
            indexes: indexed.map(|name| (*name, HashMap::new())).collect(),
            watchers: Watchers::default(),
            closed: false,
        };
        Resource {
            prefix: prefix.into(),
            reader,
            state: RwLock::new(state),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn indexed(&self) -> &[&'static str] {
        &self.reader.registration.indexed
    }

    /// The objects were loaded as they stand at `revision`.
    pub(crate) fn loaded(&self, entries: Vec<Arc<Entry>>, revision: Revision) {
        let mut state = self.state.write();
        for entry in entries {
            state.insert(entry);
        }
        state.ring = Ring::new(revision);
        state.last = revision;
    }

    pub(crate) fn apply(
        &self,
        changes: Vec<Change>,
        now: i64,
        bounds: &Bounds,
        wakers: &mut Vec<Arc<Watcher>>,
    ) {
        let read = |change: Change| (filed(&self.reader, &change), change);
        let changes: Vec<_> = changes.into_iter().map(read).collect();
        let mut state = self.state.write();
        for (entry, change) in changes {
            if change.revision <= state.last {
                continue;
            }
            let event = match entry {
                Some(Ok(entry)) => {
                    let entry = Arc::new(entry);
                    let previous = state.insert(entry.clone());
                    Event::put(entry, previous, now)
                }
                // Only what was sealed and read back can fail; the old version stays, as it would
                // were the object not readable at start
                Some(Err(error)) => {
                    tracing::error!(key = %change.key, %error, "cannot read a committed value");
                    continue;
                }
                None => match state.remove(&change.key) {
                    Some(previous) => Event::delete(change.revision, previous, now),
                    None => continue,
                },
            };
            let event = Arc::new(event);
            state.last = change.revision;
            state
                .watchers
                .push(&event, self.indexed(), bounds.watcher_buffer, wakers);
            state.ring.push(event);
        }
        state.ring.trim(now, bounds);
    }

    pub(crate) fn trim(&self, now: i64, bounds: &Bounds) {
        self.state.write().ring.trim(now, bounds);
    }

    pub(crate) fn close(&self) {
        let watchers = {
            let mut state = self.state.write();
            state.closed = true;
            state.watchers.drain()
        };
        for watcher in watchers {
            watcher.end(WatchError::Closed);
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.state
            .read()
            .entries
            .get(key)
            .map(|slot| slot.entry.clone())
    }

    /// The event of one change, while it is recent.
    pub(crate) fn event(&self, revision: Revision) -> Option<Arc<Event>> {
        self.state.read().ring.at(revision).cloned()
    }

    /// Adds a watcher of changes after a revision; `None` when some of those are not recent.
    pub(crate) fn watch(&self, scope: &Scope, after: Revision) -> Option<Arc<Watcher>> {
        let mut state = self.state.write();
        let recent = state.ring.after(after)?;
        let backlog = recent
            .filter(|event| scope.matches(event))
            .cloned()
            .collect();
        let watcher = Arc::new(Watcher::new(scope.clone(), after, backlog));
        if state.closed {
            watcher.end(WatchError::Closed);
        } else {
            state
                .watchers
                .add(&self.prefix, self.indexed(), watcher.clone());
        }
        Some(watcher)
    }

    pub(crate) fn unwatch(&self, watcher: &Arc<Watcher>) {
        self.state
            .write()
            .watchers
            .remove(&self.prefix, self.indexed(), watcher);
    }

    /// Objects, and watchers that every change in a namespace concerns.
    pub(crate) fn load(&self, namespace: Option<&str>) -> (usize, usize) {
        let state = self.state.read();
        (state.entries.len(), state.watchers.broad(namespace))
    }

    /// Objects, watchers, and the bytes of objects and of recent changes.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let state = self.state.read();
        (
            state.entries.len(),
            state.watchers.len(),
            state.weight + state.ring.weight(),
        )
    }
}

impl State {
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.weight += entry.weight();
        let slot = Slot::new(entry.clone());
        let previous = self
            .entries
            .insert(entry.key.clone(), slot)
            .map(|slot| slot.entry);
        if let Some(previous) = &previous {
            self.weight -= previous.weight();
        }
        for (name, index) in &mut self.indexes {
            let new = entry.attributes.field(name);
            let old = previous.as_ref().and_then(|p| p.attributes.field(name));
            if old != new {
                unindex(index, old, &entry.key);
            }
            if let Some(new) = new {
                match index.get_mut(new) {
                    Some(same) => drop(same.insert(entry.key.clone(), entry.clone())),
                    None => {
                        let same = BTreeMap::from([(entry.key.clone(), entry.clone())]);
                        index.insert(new.into(), same);
                    }
                }
            }
        }
        previous
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let previous = self.entries.remove(key)?.entry;
        self.weight -= previous.weight();
        for (name, index) in &mut self.indexes {
            unindex(index, previous.attributes.field(name), key);
        }
        Some(previous)
    }

    /// The objects with a value of an indexed field; `None` when it is not indexed.
    pub(crate) fn indexed(&self, name: &str, value: &str) -> Option<Option<&Same>> {
        let index = self.indexes.iter().find(|(indexed, _)| *indexed == name);
        index.map(|(_, index)| index.get(value))
    }
}

fn unindex(index: &mut HashMap<Box<str>, Same>, value: Option<&str>, key: &Key) {
    let Some(value) = value else {
        return;
    };
    if let Some(same) = index.get_mut(value) {
        same.remove(key);
        if same.is_empty() {
            index.remove(value);
        }
    }
}
