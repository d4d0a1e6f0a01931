//! What can happen in the cluster that makes an unschedulable pod worth another try.

use k8s_openapi::api::core::v1::Node;

use crate::cache::{NodeInfo, PodInfo};

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterEvents(u16);

impl ClusterEvents {
    /// Nothing.
    pub const NONE: ClusterEvents = ClusterEvents(0);
    /// A node came.
    pub const NODE_ADD: ClusterEvents = ClusterEvents(1);
    /// A node's allocatable resources changed.
    pub const NODE_ALLOCATABLE: ClusterEvents = ClusterEvents(2);
    /// A node's labels changed.
    pub const NODE_LABEL: ClusterEvents = ClusterEvents(4);
    /// A node's taints or its cordon changed.
    pub const NODE_TAINT: ClusterEvents = ClusterEvents(8);
    /// A placed pod went or finished.
    pub const POD_DELETE: ClusterEvents = ClusterEvents(16);
    /// A placed pod came.
    pub const POD_ADD: ClusterEvents = ClusterEvents(32);
    /// A placed pod asks for less than before.
    pub const POD_SCALE_DOWN: ClusterEvents = ClusterEvents(64);
    /// A node declares other features.
    pub const NODE_FEATURES: ClusterEvents = ClusterEvents(128);
    /// A volume, claim, class, attachment limit or storage capacity came or changed.
    pub const STORAGE: ClusterEvents = ClusterEvents(256);
    /// A resource claim, slice or device class came or changed.
    pub const DEVICES: ClusterEvents = ClusterEvents(512);
    /// A placed pod's labels changed.
    pub const POD_LABEL: ClusterEvents = ClusterEvents(1024);
    /// A node went.
    pub const NODE_DELETE: ClusterEvents = ClusterEvents(2048);
    /// Everything.
    pub const ALL: ClusterEvents = ClusterEvents(u16::MAX);
    /// Everything about nodes.
    pub const NODE: ClusterEvents = ClusterEvents(1 | 2 | 4 | 8 | 128);

    /// Whether both have something in common.
    pub fn intersects(self, other: ClusterEvents) -> bool {
        self.0 & other.0 != 0
    }

    /// What both have in common.
    #[must_use]
    pub fn and(self, other: ClusterEvents) -> ClusterEvents {
        ClusterEvents(self.0 & other.0)
    }

    /// What changed between two states of a node that matters here.
    pub fn between(old: &Node, new: &Node) -> ClusterEvents {
        let mut events = ClusterEvents::NONE;
        if old.metadata.labels != new.metadata.labels {
            events = events | ClusterEvents::NODE_LABEL;
        }
        let (was, is) = (old.status.as_ref(), new.status.as_ref());
        if was.and_then(|s| s.allocatable.as_ref()) != is.and_then(|s| s.allocatable.as_ref()) {
            events = events | ClusterEvents::NODE_ALLOCATABLE;
        }
        if was.and_then(|s| s.declared_features.as_ref())
            != is.and_then(|s| s.declared_features.as_ref())
        {
            events = events | ClusterEvents::NODE_FEATURES;
        }
        let fence = |n: &Node| {
            n.spec
                .as_ref()
                .map(|s| (s.taints.clone(), s.unschedulable.unwrap_or_default()))
        };
        if fence(old) != fence(new) {
            events = events | ClusterEvents::NODE_TAINT;
        }
        events
    }
}

impl std::ops::BitOr for ClusterEvents {
    type Output = ClusterEvents;
    fn bitor(self, other: ClusterEvents) -> ClusterEvents {
        ClusterEvents(self.0 | other.0)
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub struct Event<'e> {
    /// What kind.
    pub kind: ClusterEvents,
    /// The node it happened to, as it is now.
    pub node: Option<&'e NodeInfo>,
    /// The placed pod it happened to.
    pub pod: Option<&'e PodInfo>,
}

impl<'e> Event<'e> {
    /// Something without a node or pod.
    pub fn of(kind: ClusterEvents) -> Event<'e> {
        Event {
            kind,
            node: None,
            pod: None,
        }
    }
}
