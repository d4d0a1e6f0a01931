//! What the scheduler knows of storage, and the plugins that ask it: [`binding`], [`limits`],
//! [`restrictions`], [`zone`].
//!
//! Claims differ from pod to pod, so these plugins begin anew for each pod that has some; others they
//! skip at the cost of one look at the pod's volumes.

pub mod binding;
pub mod limits;
pub mod restrictions;
pub mod zone;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};

use crate::{
    bind::Prepare,
    cache::{NodeInfo, PodInfo},
};

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// See the module.
#[derive(Debug, Default)]
pub struct Volumes {
    claims: HashMap<Key, Arc<PersistentVolumeClaim>>,
    volumes: HashMap<Box<str>, Arc<PersistentVolume>>,
    /// Volumes that are not bound, by class, then name: what WaitForFirstConsumer chooses from.
    free: HashMap<Box<str>, BTreeMap<Box<str>, Arc<PersistentVolume>>>,
    classes: HashMap<Box<str>, Arc<StorageClass>>,
    nodes: HashMap<Box<str>, Arc<CSINode>>,
    drivers: HashMap<Box<str>, Arc<CSIDriver>>,
    capacities: HashMap<Key, Arc<CSIStorageCapacity>>,
    /// What is attached, by node, then name.
    attachments: HashMap<Box<str>, BTreeMap<Box<str>, Arc<VolumeAttachment>>>,
    /// How many placed pods use a claim.
    in_use: HashMap<Key, usize>,
    /// Volumes promised to claims whose binding is not seen yet, with the pod they are for.
    promised: HashMap<Box<str>, Box<str>>,
}

/// A claim a pod uses.
pub struct Used<'p> {
    /// Its name.
    pub name: String,
    /// Made for this pod by the ephemeral volume controller.
    pub ephemeral: bool,
    /// The pod only reads it.
    pub read_only: bool,
    pod: &'p PodInfo,
}

/// The claims a pod uses.
pub fn used(pod: &PodInfo) -> impl Iterator<Item = Used<'_>> {
    let volumes = pod.spec().volumes.iter().flatten();
    volumes.filter_map(move |volume| {
        let claim = volume.persistent_volume_claim.as_ref();
        let name = match (claim, &volume.ephemeral) {
            (Some(claim), _) => claim.claim_name.clone(),
            (None, Some(_)) => format!("{}-{}", pod.name(), volume.name),
            (None, None) => return None,
        };
        Some(Used {
            name,
            ephemeral: claim.is_none(),
            read_only: claim.is_some_and(|c| c.read_only == Some(true)),
            pod,
        })
    })
}

impl Used<'_> {
    fn key(&self) -> Key {
        (self.pod.namespace().into(), self.name.as_str().into())
    }
}

fn key<K: kube::Resource>(object: &K) -> Key {
    let meta = object.meta();
    (
        meta.namespace.as_deref().unwrap_or_default().into(),
        meta.name.as_deref().unwrap_or_default().into(),
    )
}

/// The class a claim or volume names; the annotation that came before the field wins.
fn class_of<'o, K: kube::Resource>(object: &'o K, field: Option<&'o str>) -> &'o str {
    let annotations = object.meta().annotations.as_ref();
    annotations
        .and_then(|a| a.get("volume.beta.kubernetes.io/storage-class"))
        .map(String::as_str)
        .or(field)
        .unwrap_or_default()
}

/// A claim's class.
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let field = claim
        .spec
        .as_ref()
        .and_then(|s| s.storage_class_name.as_deref());
    class_of(claim, field)
}

/// A volume's class.
pub fn volume_class(volume: &PersistentVolume) -> &str {
    let field = volume
        .spec
        .as_ref()
        .and_then(|s| s.storage_class_name.as_deref());
    class_of(volume, field)
}

/// Keeps a map of objects up to date: `object` is none when it went.
macro_rules! keep {
    ($name:ident, $field:ident, $kind:ty, namespaced) => {
        /// One came, changed or went.
        pub fn $name(&mut self, object: Arc<$kind>, there: bool) {
            if there {
                self.$field.insert(key(&*object), object);
            } else {
                self.$field.remove(&key(&*object));
            }
        }
    };
    ($name:ident, $field:ident, $kind:ty) => {
        /// One came, changed or went.
        pub fn $name(&mut self, object: Arc<$kind>, there: bool) {
            let (_, name) = key(&*object);
            if there {
                self.$field.insert(name, object);
            } else {
                self.$field.remove(&name);
            }
        }
    };
}

impl Volumes {
    keep!(claim, claims, PersistentVolumeClaim, namespaced);
    keep!(class, classes, StorageClass);
    keep!(csi_node, nodes, CSINode);
    keep!(driver, drivers, CSIDriver);
    keep!(capacity, capacities, CSIStorageCapacity, namespaced);

    /// One came, changed or went.
    pub fn volume(&mut self, volume: Arc<PersistentVolume>, there: bool) {
        let (_, name) = key(&*volume);
        if let Some(old) = self.volumes.remove(&name)
            && let Some(free) = self.free.get_mut(volume_class(&old))
        {
            free.remove(&name);
            if free.is_empty() {
                self.free.remove(volume_class(&old));
            }
        }
        let claimed = |v: &PersistentVolume| {
            let claim = v.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
            claim.is_some_and(|c| c.uid.as_ref().is_some_and(|uid| !uid.is_empty()))
        };
        if there {
            let claimed = claimed(&volume);
            if claimed {
                self.promised.remove(&name);
            }
            // Before that it may have been given to a claim that does not know it yet.
            let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
            if !claimed || phase != Some("Bound") {
                let class = volume_class(&volume).into();
                let free = self.free.entry(class).or_default();
                free.insert(name.clone(), volume.clone());
            }
            self.volumes.insert(name, volume);
        } else {
            self.promised.remove(&name);
        }
    }

    /// One came, changed or went. The node it names never changes.
    pub fn attachment(&mut self, attachment: Arc<VolumeAttachment>, there: bool) {
        let (_, name) = key(&*attachment);
        let node: Box<str> = attachment.spec.node_name.as_str().into();
        let on_node = self.attachments.entry(node.clone()).or_default();
        if there {
            on_node.insert(name, attachment);
        } else {
            on_node.remove(&name);
            if on_node.is_empty() {
                self.attachments.remove(&node);
            }
        }
    }

    /// A pod is counted on a node.
    pub fn place(&mut self, pod: &PodInfo, _: u32) {
        for used in used(pod) {
            *self.in_use.entry(used.key()).or_default() += 1;
        }
    }

    /// A pod is not counted any more.
    pub fn displace(&mut self, pod: &PodInfo, _: u32) {
        let mut any = false;
        for used in used(pod) {
            any = true;
            let key = used.key();
            if let Some(count) = self.in_use.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.in_use.remove(&key);
                }
            }
        }
        if any {
            self.promised.retain(|_, uid| *uid != pod.uid);
        }
    }

    /// The volumes a pod is about to get are nobody else's.
    pub fn promise(&mut self, pod: &PodInfo, prepare: &[Prepare]) {
        for step in prepare {
            if let Prepare::BindVolume { volume, .. } = step {
                self.promised.insert(key(&**volume).1, pod.uid.clone());
            }
        }
    }

    fn claim_of(&self, used: &Used<'_>) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&used.key())
    }

    /// How many placed pods use the claim.
    fn uses(&self, used: &Used<'_>) -> usize {
        self.in_use.get(&used.key()).copied().unwrap_or_default()
    }

    /// Which volume a claim is bound to, in name.
    fn volume_of(&self, claim: &PersistentVolumeClaim) -> Option<&Arc<PersistentVolume>> {
        let name = claim.spec.as_ref()?.volume_name.as_deref()?;
        self.volumes.get(name)
    }
}

/// Whether a volume can be reached from a node.
pub fn reaches(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    let affinity = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref());
    affinity
        .and_then(|a| a.required.as_ref())
        .is_none_or(|required| super::node_affinity::selector_matches(required, node))
}

#[cfg(test)]
mod tests;
