//! NodePorts: two pods that claim the same host port do not meet on one node.

use std::sync::Arc;

use crate::{
    cache::{Cache, NodeInfo, class::Class},
    framework::{Begin, FilterPlugin, LocalFilter, Plugin, Rejection},
    queue::events::{ClusterEvents, Event},
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
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        event.pod.is_none_or(|gone| {
            let freed = &gone.class.ports;
            class
                .ports
                .iter()
                .any(|p| freed.iter().any(|f| f.conflicts(p)))
        })
    }
}

impl FilterPlugin for NodePorts {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> Begin {
        if class.ports.is_empty() {
            return Begin::Skip;
        }
        Begin::Local(Box::new(Wanted(class.clone())))
    }
}

struct Wanted(Arc<Class>);

impl LocalFilter for Wanted {
    fn check(&self, _: &Cache, node: &NodeInfo) -> Result<(), Rejection> {
        let mut wanted = self.0.ports.iter();
        if wanted.any(|w| node.ports.iter().any(|u| u.conflicts(w))) {
            return Err(Rejection::unschedulable(
                "node(s) didn't have free ports for the requested pod ports",
            ));
        }
        Ok(())
    }
}
