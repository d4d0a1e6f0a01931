//! What can happen in the cluster that makes an unschedulable pod worth another try.

use k8s_openapi::api::core::v1::Node;

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// A placed pod came or its labels changed.
    pub const POD_ADD: ClusterEvents = ClusterEvents(32);
    /// A placed pod asks for less than before.
    pub const POD_SCALE_DOWN: ClusterEvents = ClusterEvents(64);
    /// Everything.
    pub const ALL: ClusterEvents = ClusterEvents(u16::MAX);

    /// Whether both have something in common.
    pub fn intersects(self, other: ClusterEvents) -> bool {
        self.0 & other.0 != 0
    }

    /// What changed between two states of a node that matters here.
    pub fn between(old: &Node, new: &Node) -> ClusterEvents {
        let mut events = ClusterEvents::NONE;
        if old.metadata.labels != new.metadata.labels {
            events = events | ClusterEvents::NODE_LABEL;
        }
        let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
        if allocatable(old) != allocatable(new) {
            events = events | ClusterEvents::NODE_ALLOCATABLE;
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
