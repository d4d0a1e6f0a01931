//! NodeUnschedulable: a cordoned node takes only pods that tolerate that.

use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::tolerates;
use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{Begin, FilterPlugin, NodeFilter, Plugin, Rejection},
    queue::events::ClusterEvents,
};

/// See the module.
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_TAINT
    }
}

impl FilterPlugin for NodeUnschedulable {
    fn begin<'c>(&'c self, pod: &'c PodInfo, _: &'c Cache) -> Begin<'c> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        if tolerates(
            pod.spec().tolerations.as_deref().unwrap_or_default(),
            &taint,
        ) {
            return Begin::Skip;
        }
        Begin::Check(Box::new(Cordon))
    }
}

struct Cordon;

impl NodeFilter for Cordon {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.unschedulable() {
            return Err(Rejection::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }
}
