//! NodePorts: two pods of one node cannot claim the same host port.

use crate::{
    cache::{Cache, HostPort, NodeInfo, PodInfo},
    framework::{Begin, FilterPlugin, NodeFilter, Plugin, Rejection},
    queue::events::ClusterEvents,
};

/// See the module.
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_DELETE | ClusterEvents::NODE_ADD
    }
}

impl FilterPlugin for NodePorts {
    fn begin<'c>(&'c self, pod: &'c PodInfo, _: &'c Cache) -> Begin<'c> {
        if pod.ports.is_empty() {
            return Begin::Skip;
        }
        Begin::Check(Box::new(Wanted(&pod.ports)))
    }
}

struct Wanted<'c>(&'c [HostPort]);

impl NodeFilter for Wanted<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let taken = node
            .pods
            .values()
            .flat_map(|p| &p.ports)
            .any(|had| self.0.iter().any(|want| want.conflicts(had)));
        if taken {
            return Err(Rejection::unschedulable(
                "node(s) didn't have free ports for the requested pod ports",
            ));
        }
        Ok(())
    }
}
