//! What the scheduler knows of the cluster, kept incrementally: nodes with the sums over their pods.
//!
//! The scheduling loop owns the [`Cache`]; events change it in place and every cycle reads it in
//! place, so no cycle copies the cluster. A placed pod is *assumed* at once, before its binding is
//! durable: the next cycle sees it. When the watch brings the bound pod, it takes the assumed one's
//! place; when the binding fails, [`Cache::remove_pod`] takes it back.

pub mod node;
pub mod pod;
pub mod resources;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Node;

pub use self::{
    node::NodeInfo,
    pod::{HostPort, PodInfo},
    resources::Resources,
};

/// All nodes and the pods on them.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: BTreeMap<Box<str>, NodeInfo>,
    /// Where each counted pod is, by uid.
    placed: HashMap<Box<str>, Box<str>>,
    /// On how many nodes an image is, by name.
    image_nodes: HashMap<Box<str>, usize>,
    /// Labels of namespaces, by name.
    namespaces: HashMap<Box<str>, BTreeMap<String, String>>,
}

impl Cache {
    /// Nodes that exist, in name order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|n| n.node.is_some())
    }

    /// How many nodes exist.
    pub fn len(&self) -> usize {
        self.nodes().count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes().next().is_none()
    }

    /// One node that exists.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name).filter(|n| n.node.is_some())
    }

    /// On how many nodes the image is.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.image_nodes.get(image).copied().unwrap_or_default()
    }

    /// A namespace's labels.
    pub fn namespace_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    /// A namespace came or changed. Answers whether its labels did.
    pub fn apply_namespace(&mut self, name: &str, labels: BTreeMap<String, String>) -> bool {
        let changed = self.namespaces.get(name) != Some(&labels);
        self.namespaces.insert(name.into(), labels);
        changed
    }

    /// A namespace went.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A node came or changed.
    pub fn apply_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let entry = self
            .nodes
            .entry(name.as_str().into())
            .or_insert_with(|| NodeInfo::named(&name));
        for image in entry.images.keys() {
            release(&mut self.image_nodes, image);
        }
        entry.set_node(node);
        for image in entry.images.keys() {
            *self.image_nodes.entry(image.clone()).or_default() += 1;
        }
    }

    /// A node went. Its pods stay counted until they go themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(entry) = self.nodes.get_mut(name) else {
            return;
        };
        for image in std::mem::take(&mut entry.images).keys() {
            release(&mut self.image_nodes, image);
        }
        entry.node = None;
        if entry.pods.is_empty() {
            self.nodes.remove(name);
        }
    }

    /// A pod is on a node (assumed or seen): counts it there and nowhere else.
    pub fn place_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        if self.placed.get(&pod.uid).is_some_and(|was| &**was != node) {
            self.remove_pod(&pod.uid);
        }
        self.placed.insert(pod.uid.clone(), node.into());
        self.nodes
            .entry(node.into())
            .or_insert_with(|| NodeInfo::named(node))
            .add_pod(pod);
    }

    /// A pod is on no node any more. Answers whether it was counted.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(node) = self.placed.remove(uid) else {
            return false;
        };
        let Some(entry) = self.nodes.get_mut(&node) else {
            return false;
        };
        entry.remove_pod(uid);
        if entry.node.is_none() && entry.pods.is_empty() {
            self.nodes.remove(&node);
        }
        true
    }

    /// Where a pod is counted.
    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.placed.get(uid).map(|n| &**n)
    }
}

fn release(counts: &mut HashMap<Box<str>, usize>, image: &str) {
    if let Some(count) = counts.get_mut(image) {
        *count -= 1;
        if *count == 0 {
            counts.remove(image);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
