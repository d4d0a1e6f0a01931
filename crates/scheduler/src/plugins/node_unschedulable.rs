//! NodeUnschedulable: a cordoned node takes only pods that tolerate its taint.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::taint_toleration::tolerates;
use crate::{
    cache::{Cache, NodeInfo, class::Class},
    framework::{Begin, FilterPlugin, LocalFilter, Plugin, Rejection},
    queue::events::{ClusterEvents, Event},
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
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        event
            .node
            .is_none_or(|n| !n.unschedulable() || tolerated(&class.tolerations))
    }
}

fn tolerated(tolerations: &[Toleration]) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    tolerates(tolerations, &taint)
}

impl FilterPlugin for NodeUnschedulable {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> Begin {
        if tolerated(&class.tolerations) {
            Begin::Skip
        } else {
            Begin::Local(Box::new(Cordon))
        }
    }
}

struct Cordon;

impl LocalFilter for Cordon {
    fn check(&self, _: &Cache, node: &NodeInfo) -> Result<(), Rejection> {
        if node.unschedulable() {
            return Err(Rejection::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }
}
