//! One change as a watcher sees it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::entry::Entry;
use crate::key::Revision;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The object was created (no previous version) or replaced.
    Put,
    /// The object was deleted.
    Delete,
}

/// One change of one object, shared by all who watch it.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The new version; for a deletion the last one, showing the deletion's revision.
    pub entry: Arc<Entry>,
    /// The version before, which selectors need to see an object leave their selection.
    pub previous: Option<Arc<Entry>>,
    /// The change in its natural type (added, modified or deleted) as one frame of a JSON watch;
    /// filled by whoever first sends it.
    pub json_frame: OnceLock<Bytes>,
    /// The same for a protobuf watch.
    pub protobuf_frame: OnceLock<Bytes>,
    /// When it was applied here, in milliseconds of the store's clock.
    pub(crate) seen: i64,
}

impl Event {
    pub(crate) fn put(entry: Arc<Entry>, previous: Option<Arc<Entry>>, seen: i64) -> Self {
        Event::new(EventKind::Put, entry, previous, seen)
    }

    pub(crate) fn delete(at: Revision, previous: Arc<Entry>, seen: i64) -> Self {
        Event::new(
            EventKind::Delete,
            Arc::new(previous.at(at)),
            Some(previous),
            seen,
        )
    }

    fn new(kind: EventKind, entry: Arc<Entry>, previous: Option<Arc<Entry>>, seen: i64) -> Self {
        let (json_frame, protobuf_frame) = (OnceLock::new(), OnceLock::new());
        Event {
            kind,
            entry,
            previous,
            json_frame,
            protobuf_frame,
            seen,
        }
    }

    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        self.entry.revision
    }

    /// What keeping this event keeps alive that would otherwise be gone.
    pub(crate) fn weight(&self) -> usize {
        let superseded = self.previous.as_ref().map_or(0, |p| p.weight());
        let last = if self.kind == EventKind::Delete {
            self.entry.weight()
        } else {
            0
        };
        size_of::<Event>() + superseded + last
    }
}
