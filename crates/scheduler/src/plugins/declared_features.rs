//! NodeDeclaredFeatures: a node must declare the features a pod needs (KEP-5328, on by default since
//! 1.36).

use std::sync::Arc;

use crate::{
    cache::{Cache, NodeInfo, class::Class},
    framework::{Begin, FilterPlugin, LocalFilter, Plugin, Rejection},
    queue::events::{ClusterEvents, Event},
};

/// See the module.
pub struct NodeDeclaredFeatures;

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_FEATURES
    }
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        event.node.is_none_or(|node| declares(node, class))
    }
}

fn declares(node: &NodeInfo, class: &Class) -> bool {
    let status = node.node.as_ref().and_then(|n| n.status.as_ref());
    let declared = status.and_then(|s| s.declared_features.as_deref());
    class
        .features
        .iter()
        .all(|f| declared.is_some_and(|d| d.iter().any(|d| d == f)))
}

impl FilterPlugin for NodeDeclaredFeatures {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> Begin {
        if class.features.is_empty() {
            return Begin::Skip;
        }
        Begin::Local(Box::new(Needs(class.clone())))
    }
}

struct Needs(Arc<Class>);

impl LocalFilter for Needs {
    fn check(&self, _: &Cache, node: &NodeInfo) -> Result<(), Rejection> {
        if declares(node, &self.0) {
            return Ok(());
        }
        Err(Rejection::unresolvable(
            "node(s) didn't match Pod's required features",
        ))
    }
}
