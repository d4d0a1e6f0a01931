//! The recent changes of one resource, bounded by count, weight and age. What falls out can still
//! be read from the engine for as long as that keeps it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::resource::Bounds;
use crate::event::Event;
use crate::key::Revision;

/// How many of the newest changes hold the frames they were sent as. Watchers who keep up send a
/// change at about the same time; those who do not make its frame again.
const FRAMED: usize = 64;

/// Recent changes, oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Every change after this one is in `events`.
    floor: Revision,
    weight: usize,
}

impl Ring {
    pub(crate) fn new(floor: Revision) -> Self {
        Ring {
            events: VecDeque::new(),
            floor,
            weight: 0,
        }
    }

    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.weight += event.weight();
        if let Some(at) = self.events.len().checked_sub(FRAMED) {
            self.events[at].let_go_of_frames();
        }
        self.events.push_back(event);
    }

    pub(crate) fn trim(&mut self, now: i64, bounds: &Bounds) {
        while let Some(oldest) = self.events.front() {
            let full = self.events.len() > bounds.ring_events || self.weight > bounds.ring_bytes;
            if !full && now - oldest.seen <= bounds.keep {
                break;
            }
            self.floor = oldest.revision();
            self.weight -= oldest.weight();
            self.events.pop_front();
        }
        if self.events.is_empty() {
            self.events.shrink_to(64);
        }
    }

    /// The changes after a revision, when all of them are here.
    pub(crate) fn after(&self, after: Revision) -> Option<impl Iterator<Item = &Arc<Event>>> {
        (after >= self.floor).then(|| {
            let from = self
                .events
                .partition_point(|event| event.revision() <= after);
            self.events.range(from..)
        })
    }

    /// The change of a revision.
    pub(crate) fn at(&self, revision: Revision) -> Option<&Arc<Event>> {
        let at = self
            .events
            .binary_search_by_key(&revision, |event| event.revision());
        self.events.get(at.ok()?)
    }
}
