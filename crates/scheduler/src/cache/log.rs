//! What changed of late, so that rankings kept from cycle to cycle repair themselves instead of
//! being made anew.

use std::collections::VecDeque;

use super::Counted;

/// Changes remembered. A ranking that is further behind is made anew, which costs one look at every
/// node.
pub const LIMIT: usize = 16_384;

/// How much of a node's object changed; the larger includes the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// What no other node's pods depend on.
    Status,
    /// Its taints or its cordon.
    Taints,
    /// Its labels, or it came or went.
    Shape,
}

/// One change; nodes by their slot.
#[derive(Clone, Debug)]
pub enum Change {
    /// The node's object.
    Node {
        /// Where.
        slot: u32,
        /// How much of it.
        extent: Extent,
    },
    /// A pod counted on a node.
    Pod {
        /// Where.
        slot: u32,
        /// What counts of it.
        pod: Counted,
        /// Or removed.
        added: bool,
    },
    /// A pod that expects room on a node came or went.
    Nominated {
        /// Where.
        slot: u32,
    },
}

impl Change {
    /// The node.
    pub fn slot(&self) -> u32 {
        match self {
            Change::Node { slot, .. } | Change::Pod { slot, .. } | Change::Nominated { slot } => {
                *slot
            }
        }
    }
}

/// The last [`LIMIT`] changes.
#[derive(Debug, Default)]
pub struct Log {
    changes: VecDeque<Change>,
    /// How many were forgotten.
    base: u64,
}

impl Log {
    /// Notes a change.
    pub fn push(&mut self, change: Change) {
        if self.changes.len() == LIMIT {
            self.changes.pop_front();
            self.base += 1;
        }
        self.changes.push_back(change);
    }

    /// How many changes there have been.
    pub fn head(&self) -> u64 {
        self.base + self.changes.len() as u64
    }

    /// The changes after the first `seen`; none when some of them are forgotten.
    pub fn since(&self, seen: u64) -> Option<impl Iterator<Item = &Change>> {
        let skip = usize::try_from(seen.checked_sub(self.base)?).ok()?;
        Some(self.changes.range(skip.min(self.changes.len())..))
    }
}
