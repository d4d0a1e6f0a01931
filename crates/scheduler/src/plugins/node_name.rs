//! NodeName: a pod that names its node runs there or nowhere.

use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{Begin, FilterPlugin, NodeFilter, Plugin, Rejection},
    queue::events::ClusterEvents,
};

/// See the module.
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD
    }
}

impl FilterPlugin for NodeName {
    fn begin<'c>(&'c self, pod: &'c PodInfo, _: &'c Cache) -> Begin<'c> {
        match pod.spec().node_name.as_deref().filter(|n| !n.is_empty()) {
            Some(name) => Begin::Check(Box::new(Named(name))),
            None => Begin::Skip,
        }
    }
}

struct Named<'c>(&'c str);

impl NodeFilter for Named<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if &*node.name == self.0 {
            return Ok(());
        }
        Err(Rejection::unresolvable(
            "node(s) didn't match the requested node name",
        ))
    }
}
