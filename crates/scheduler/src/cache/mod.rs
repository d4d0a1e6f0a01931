//! What the scheduler knows of the cluster, kept incrementally: nodes with the sums over their pods.
//!
//! The scheduling loop owns the [`Cache`]; events change it in place and every cycle reads it in
//! place, so no cycle copies the cluster. A placed pod is *assumed* at once, before its binding is
//! durable: the next cycle sees it. When the watch brings the bound pod, it takes the assumed one's
//! place; when the binding fails, [`Cache::remove_pod`] takes it back.
//!
//! Every node has a slot, a small number that arrays are indexed by. Every change is noted in the
//! [`log`], from which rankings repair themselves.

pub mod class;
pub mod log;
pub mod node;
pub mod pod;
pub mod resources;
pub mod terms;
pub mod topology;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::DeviceClass,
};

use self::{
    class::{Class, Classes},
    log::{Change, Extent, Log},
    topology::Topology,
};
pub use self::{
    node::NodeInfo,
    pod::{Counted, HostPort, PodInfo},
    resources::Resources,
};
use crate::{
    plugins::{devices::Devices, volumes::Volumes},
    preemption::Budgets,
    selectors::Owners,
};

/// The label of a node's own name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// The label of its zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Where a pod is counted.
#[derive(Debug)]
struct Placed {
    slot: u32,
    pod: Arc<PodInfo>,
}

/// What is known of an image over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageState {
    /// How many have it.
    pub nodes: usize,
    /// In bytes, as the one of them said that has had it for longest.
    pub size: i64,
}

/// All nodes and the pods on them.
#[derive(Debug, Default)]
pub struct Cache {
    slots: Vec<NodeInfo>,
    free: Vec<u32>,
    by_name: HashMap<Arc<str>, u32>,
    /// How many nodes exist.
    existing: usize,
    /// By uid.
    placed: HashMap<Box<str>, Placed>,
    /// How many placed pods have a priority.
    priorities: BTreeMap<i32, usize>,
    /// On how many nodes an image is, by name, and how big.
    image_nodes: HashMap<Box<str>, ImageState>,
    /// Labels of namespaces, by name.
    namespaces: HashMap<Box<str>, BTreeMap<String, String>>,
    topologies: Vec<Topology>,
    /// Where pods are nominated, by uid.
    nominations: HashMap<Box<str>, u32>,
    /// What pods have in common.
    pub classes: Classes,
    /// What changed.
    pub log: Log,
    /// Raised when what rankings are made from changed otherwise than the log can tell.
    pub epoch: u64,
    /// Selectors of the objects that own pods.
    pub owners: Owners,
    /// Volumes and claims.
    pub volumes: Volumes,
    /// Devices and claims for them.
    pub devices: Devices,
    /// PodDisruptionBudgets.
    pub budgets: Budgets,
}

impl Cache {
    /// Nodes that exist.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.slots.iter().filter(|n| n.node.is_some())
    }

    /// How many nodes exist.
    pub fn len(&self) -> usize {
        self.existing
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.existing == 0
    }

    /// How many slots there are; some may be empty.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// What is in a slot; a node that does not exist where there is none.
    pub fn at(&self, slot: u32) -> &NodeInfo {
        &self.slots[slot as usize]
    }

    /// One node that exists.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        let slot = *self.by_name.get(name)?;
        Some(self.at(slot)).filter(|n| n.node.is_some())
    }

    /// On how many nodes the image is, and how big.
    pub fn image(&self, name: &str) -> ImageState {
        self.image_nodes.get(name).copied().unwrap_or_default()
    }

    /// A namespace's labels.
    pub fn namespace_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    /// The lowest priority any placed pod has.
    pub fn lowest_priority(&self) -> Option<i32> {
        self.priorities.first_key_value().map(|(p, _)| *p)
    }

    /// A pod with what filters ask of it. What its affinity calls near is counted from now on.
    pub fn info(&mut self, pod: Arc<Pod>) -> Arc<PodInfo> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let info = match self.placed.get(uid) {
            Some(placed) => placed.pod.next(pod, &mut self.classes),
            None => PodInfo::new(pod, &mut self.classes),
        };
        self.watch_topologies(&info.class);
        Arc::new(info)
    }

    fn watch_topologies(&mut self, class: &Class) {
        let spread = class.spread.iter().map(|c| c.topology_key.as_str());
        for key in class.terms.keys().chain(spread).chain([HOSTNAME, ZONE]) {
            self.watch_topology(key);
        }
    }

    /// Counts the domains of a label from now on. Bounded by the labels that pods name.
    pub fn watch_topology(&mut self, key: &str) {
        if self.topology_index(key).is_none() {
            let mut topology = Topology::new(key);
            for node in &self.slots {
                topology.set(node.slot, node.label(key));
            }
            self.topologies.push(topology);
        }
    }

    /// Where the domains of a label are.
    pub fn topology_index(&self, key: &str) -> Option<usize> {
        self.topologies.iter().position(|t| &*t.key == key)
    }

    /// Domains by [`Cache::topology_index`].
    pub fn topology(&self, index: usize) -> &Topology {
        &self.topologies[index]
    }

    /// A namespace came or changed. Answers whether its labels did.
    pub fn apply_namespace(&mut self, name: &str, labels: BTreeMap<String, String>) -> bool {
        if self.namespaces.get(name) == Some(&labels) {
            return false;
        }
        self.namespaces.insert(name.into(), labels);
        self.epoch += 1;
        true
    }

    /// A device class came, changed or went.
    pub fn apply_device_class(&mut self, class: Arc<DeviceClass>, there: bool) {
        // Where a resource is devices', NodeResourcesFit leaves it to them.
        self.epoch += u64::from(self.devices.class_applied(class, there));
    }

    /// A namespace went.
    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some_and(|l| !l.is_empty()) {
            self.epoch += 1;
        }
    }

    fn slot_of(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(NodeInfo::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let node = NodeInfo::named(name, slot);
        self.by_name.insert(node.name.clone(), slot);
        self.slots[slot as usize] = node;
        slot
    }

    fn release_slot(&mut self, slot: u32) {
        let node = &self.slots[slot as usize];
        if node.node.is_some() || !node.pods.is_empty() || !node.nominated.is_empty() {
            return;
        }
        self.by_name.remove(&node.name);
        self.slots[slot as usize] = NodeInfo {
            slot,
            ..NodeInfo::default()
        };
        self.free.push(slot);
    }

    /// A node came or changed.
    pub fn apply_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let slot = self.slot_of(&name);
        let entry = &mut self.slots[slot as usize];
        let extent = entry
            .node
            .as_ref()
            .map_or(Extent::Shape, |old| extent(old, &node));
        let before = entry.images.clone();
        self.existing += usize::from(entry.node.is_none());
        entry.set_node(node);
        let after = entry.images.clone();
        if !Arc::ptr_eq(&before, &after) {
            self.count_images(&before, &after);
        }
        if extent == Extent::Shape {
            let entry = &self.slots[slot as usize];
            for topology in &mut self.topologies {
                topology.set(slot, entry.label(&topology.key));
            }
        }
        self.log.push(Change::Node { slot, extent });
    }

    fn count_images(&mut self, before: &BTreeMap<Box<str>, i64>, after: &BTreeMap<Box<str>, i64>) {
        for image in before.keys().filter(|i| !after.contains_key(*i)) {
            if let Some(state) = self.image_nodes.get_mut(image) {
                state.nodes -= 1;
                if state.nodes == 0 {
                    self.image_nodes.remove(image);
                }
            }
        }
        for (image, size) in after {
            let state = self.image_nodes.entry(image.clone()).or_default();
            state.nodes += usize::from(!before.contains_key(image));
            if state.nodes == 1 {
                state.size = *size;
            }
        }
    }

    /// A node went. Its pods stay counted until they go themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.by_name.get(name).copied() else {
            return;
        };
        let entry = &mut self.slots[slot as usize];
        if entry.node.take().is_none() {
            return;
        }
        self.existing -= 1;
        let images = std::mem::take(&mut entry.images);
        self.count_images(&images, &BTreeMap::new());
        for topology in &mut self.topologies {
            topology.set(slot, None);
        }
        let extent = Extent::Shape;
        self.log.push(Change::Node { slot, extent });
        self.release_slot(slot);
        // Domains of nodes that went are forgotten when they are the most.
        let most = 1024 + 2 * self.existing;
        if self.topologies.iter().any(|t| t.len() > most) {
            let keys: Vec<Box<str>> = self.topologies.drain(..).map(|t| t.key).collect();
            for key in keys {
                self.watch_topology(&key);
            }
            self.epoch += 1;
        }
    }

    /// A pod is on a node (assumed or seen): counts it there and nowhere else.
    pub fn place_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.withdraw(&pod.uid);
        if let Some(placed) = self.placed.get_mut(&pod.uid) {
            let entry = &mut self.slots[placed.slot as usize];
            let same = *entry.name == *node
                && placed.pod.class.id == pod.class.id
                && placed.pod.terminating() == pod.terminating();
            if same {
                // Nothing that counts has changed.
                if let Some(at) = entry.pods.iter().position(|p| p.uid == pod.uid) {
                    entry.pods[at] = pod.clone();
                }
                placed.pod = pod;
                return;
            }
            let uid = pod.uid.clone();
            self.count_out(&uid);
        }
        let slot = self.slot_of(node);
        *self.priorities.entry(pod.priority()).or_default() += 1;
        let placed = Placed {
            slot,
            pod: pod.clone(),
        };
        self.placed.insert(pod.uid.clone(), placed);
        self.volumes.place(&pod, slot);
        self.log.push(Change::Pod {
            slot,
            pod: pod.counted(),
            added: true,
        });
        self.slots[slot as usize].add_pod(pod);
    }

    /// A pod is on no node any more. Answers its last state, if it was counted.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let pod = self.count_out(uid)?;
        self.devices.displace(&pod);
        Some(pod)
    }

    fn count_out(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.withdraw(uid);
        let Placed { slot, pod } = self.placed.remove(uid)?;
        if let Some(count) = self.priorities.get_mut(&pod.priority()) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&pod.priority());
            }
        }
        self.volumes.displace(&pod, slot);
        self.slots[slot as usize].remove_pod(uid);
        self.log.push(Change::Pod {
            slot,
            pod: pod.counted(),
            added: false,
        });
        self.release_slot(slot);
        Some(pod)
    }

    /// Where a pod is counted.
    pub fn node_of(&self, uid: &str) -> Option<&NodeInfo> {
        self.placed.get(uid).map(|p| self.at(p.slot))
    }

    /// A placed pod.
    pub fn placed(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.placed.get(uid).map(|p| &p.pod)
    }

    /// Others make room for the pod on this node: from now on it is reckoned with there.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.withdraw(&pod.uid);
        let slot = self.slot_of(node);
        self.nominations.insert(pod.uid.clone(), slot);
        self.slots[slot as usize].nominated.push(pod);
        self.log.push(Change::Nominated { slot });
    }

    /// Where a pod is nominated.
    pub fn nomination(&self, uid: &str) -> Option<u32> {
        self.nominations.get(uid).copied()
    }

    /// The pod is reckoned with nowhere any more. Answers where it was.
    pub fn withdraw(&mut self, uid: &str) -> Option<u32> {
        let slot = self.nominations.remove(uid)?;
        self.slots[slot as usize]
            .nominated
            .retain(|p| &*p.uid != uid);
        self.log.push(Change::Nominated { slot });
        self.release_slot(slot);
        Some(slot)
    }
}

fn extent(old: &Node, new: &Node) -> Extent {
    let taints = |node: &'_ Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    let cordon = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable);
    if old.metadata.labels != new.metadata.labels {
        Extent::Shape
    } else if taints(old) != taints(new) || cordon(old) != cordon(new) {
        Extent::Taints
    } else {
        Extent::Status
    }
}

#[cfg(test)]
pub(crate) mod tests;
