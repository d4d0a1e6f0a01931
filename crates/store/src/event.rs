//! One change as a watcher sees it.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

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
    /// The change in its natural type (added, modified or deleted) as one frame of a JSON watch.
    pub json_frame: Frame,
    /// The same without `metadata.managedFields`.
    pub json_frame_without_managers: Frame,
    /// The same for a protobuf watch.
    pub protobuf_frame: Frame,
    /// When it was applied here, in milliseconds of the store's clock.
    pub(crate) seen: i64,
}

/// A change as it goes to watchers: made by whoever first sends it, shared by those who send it about
/// the same time, and let go when the change is no longer among the newest. Whoever comes later makes
/// it again.
#[derive(Debug, Default)]
pub struct Frame(Mutex<Option<Bytes>>);

impl Frame {
    /// The frame, if somebody made it and it is still held.
    pub fn get(&self) -> Option<Bytes> {
        self.0.lock().clone()
    }

    /// Holds it for the others.
    pub fn hold(&self, bytes: Bytes) {
        *self.0.lock() = Some(bytes);
    }

    fn let_go(&self) {
        self.0.lock().take();
    }
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
        Event {
            kind,
            entry,
            previous,
            json_frame: Frame::default(),
            json_frame_without_managers: Frame::default(),
            protobuf_frame: Frame::default(),
            seen,
        }
    }

    /// Lets go of what was only made to be sent.
    pub(crate) fn let_go_of_frames(&self) {
        self.json_frame.let_go();
        self.json_frame_without_managers.let_go();
        self.protobuf_frame.let_go();
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
