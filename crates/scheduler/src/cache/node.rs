//! A node as the scheduler sees it: what it has, what is taken, and by whom.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Taint};

use super::{
    pod::{HostPort, PodInfo},
    resources::Resources,
};

/// A node with the sums over its pods kept up to date as they come and go.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// Its place in the cache; kept as long as the node or pods on it are known.
    pub slot: u32,
    /// The object; none while pods are known on a node that is not (yet) known itself.
    pub node: Option<Arc<Node>>,
    /// Name.
    pub name: Arc<str>,
    /// What pods may use.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub allowed_pods: i64,
    /// What its pods need.
    pub requested: Resources,
    /// What its pods count for in scoring.
    pub scored: Resources,
    /// Its pods, assumed ones too.
    pub pods: Vec<Arc<PodInfo>>,
    /// Pods that others are being evicted for here.
    pub nominated: Vec<Arc<PodInfo>>,
    /// Host ports its pods claim.
    pub ports: Vec<HostPort>,
    /// Size in bytes of the images it has, by every name they go by.
    pub images: Arc<BTreeMap<Box<str>, i64>>,
}

impl NodeInfo {
    /// A node of which only the name is known.
    pub fn named(name: &str, slot: u32) -> NodeInfo {
        NodeInfo {
            slot,
            name: name.into(),
            ..NodeInfo::default()
        }
    }

    /// Takes over a new state of the object.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
        self.allocatable = allocatable.map(Resources::from_list).unwrap_or_default();
        self.allowed_pods = allocatable
            .and_then(|list| list.get("pods"))
            .and_then(|q| q.0.parse::<api::quantity::Quantity>().ok())
            .map_or(0, |q| q.value());
        let old = self.node.as_ref().and_then(|n| n.status.as_ref());
        if old.and_then(|s| s.images.as_ref()) != status.and_then(|s| s.images.as_ref()) {
            let images = status.and_then(|s| s.images.as_ref()).into_iter().flatten();
            let mut named = BTreeMap::new();
            for image in images {
                let size = image.size_bytes.unwrap_or_default();
                for name in image.names.iter().flatten() {
                    named.entry(name.as_str().into()).or_insert(size);
                }
            }
            self.images = Arc::new(named);
        }
        self.node = Some(node);
    }

    /// Counts a pod in. It must not be counted already.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.class.requests);
        self.scored.add(&pod.class.scored);
        self.ports.extend(pod.class.ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Counts a pod out.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| &*p.uid == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.sub(&pod.class.requests);
        self.scored.sub(&pod.class.scored);
        for port in &pod.class.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node
            .as_ref()?
            .metadata
            .labels
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// Taints.
    pub fn taints(&self) -> &[Taint] {
        self.node
            .as_ref()
            .and_then(|n| n.spec.as_ref())
            .and_then(|s| s.taints.as_deref())
            .unwrap_or_default()
    }

    /// `spec.unschedulable`.
    pub fn unschedulable(&self) -> bool {
        self.node
            .as_ref()
            .and_then(|n| n.spec.as_ref())
            .and_then(|s| s.unschedulable)
            .unwrap_or_default()
    }
}
