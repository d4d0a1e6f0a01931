//! NodeName: a pod that names its node goes there or nowhere. Such pods are bound already when the
//! scheduler sees them, so there is nothing left to filter; the name stands for profiles that list
//! it.

use std::sync::Arc;

use crate::{
    cache::{Cache, class::Class},
    framework::{Begin, FilterPlugin, Plugin},
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
    fn begin(&self, _: &Arc<Class>, _: &Cache) -> Begin {
        Begin::Skip
    }
}
