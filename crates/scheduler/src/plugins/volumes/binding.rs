//! VolumeBinding: bound claims keep a pod near their volumes; claims that wait for their first
//! consumer are given a volume, or a node to make one for, when their pod is placed.

use std::{collections::BTreeSet, sync::Arc};

use api::quantity::Quantity;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};

use super::{Volumes, claim_class, key, reaches, used, volume_class};
use crate::{
    bind::Prepare,
    cache::{Cache, NodeInfo, PodInfo, terms},
    framework::{Plugin, PodBegin, PodFilter, PodFilterPlugin, Rejection},
    queue::events::ClusterEvents,
};

/// Set by the volume controller once a claim and its volume know each other.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";

/// See the module.
pub struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::STORAGE | ClusterEvents::NODE_ADD | ClusterEvents::NODE_LABEL
    }
}

/// Whether a claim and its volume are bound for good.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref());
    let done = claim.metadata.annotations.as_ref();
    volume.is_some_and(|v| !v.is_empty()) && done.is_some_and(|a| a.contains_key(BIND_COMPLETED))
}

/// Whether something is wrong with a claim, in upstream's words.
fn trouble(claim: &PersistentVolumeClaim, ephemeral: bool, pod: &PodInfo) -> Option<String> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    if phase == Some("Lost") {
        let volume = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref());
        return Some(format!(
            "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
            volume.unwrap_or_default()
        ));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Some(format!("persistentvolumeclaim \"{name}\" is being deleted"));
    }
    let mut owners = claim.metadata.owner_references.iter().flatten();
    if ephemeral && !owners.any(|o| o.controller == Some(true) && *o.uid == *pod.uid) {
        return Some(format!(
            "PVC {}/{name} was not created for pod {} (pod is not owner)",
            pod.namespace(),
            pod.key
        ));
    }
    None
}

impl PodFilterPlugin for VolumeBinding {
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> PodBegin<'c> {
        let volumes = &cache.volumes;
        let mut check = Check {
            bound: Vec::new(),
            waiting: Vec::new(),
            volumes,
        };
        let mut immediate = false;
        for used in used(pod) {
            let no = |why: String| PodBegin::Reject(Rejection::unresolvable(why));
            let Some(claim) = volumes.claim_of(&used) else {
                return no(match used.ephemeral {
                    true => format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{}\"",
                        used.name
                    ),
                    false => format!("persistentvolumeclaim \"{}\" not found", used.name),
                });
            };
            if let Some(why) = trouble(claim, used.ephemeral, pod) {
                return no(why);
            }
            let class = volumes.classes.get(claim_class(claim));
            let waits = class
                .is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
            let named = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref());
            if is_bound(claim) {
                check.bound.push(volumes.volume_of(claim));
            } else if waits && named.is_none_or(str::is_empty) {
                check.waiting.push((claim, class));
            } else {
                immediate = true;
            }
        }
        if immediate {
            return PodBegin::Reject(Rejection::unresolvable(
                "pod has unbound immediate PersistentVolumeClaims",
            ));
        }
        if check.bound.is_empty() && check.waiting.is_empty() {
            return PodBegin::Skip;
        }
        // The smallest claims choose first.
        check.waiting.sort_by_key(|(claim, _)| asked(claim));
        PodBegin::Check(Box::new(check))
    }
}

fn asked(claim: &PersistentVolumeClaim) -> Option<i64> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    bytes(&requests.get("storage")?.0)
}

fn bytes(text: &str) -> Option<i64> {
    Some(text.parse::<Quantity>().ok()?.value())
}

type Waiting<'c> = (
    &'c Arc<PersistentVolumeClaim>,
    Option<&'c Arc<StorageClass>>,
);

struct Check<'c> {
    /// The volumes of bound claims; none where the volume does not exist.
    bound: Vec<Option<&'c Arc<PersistentVolume>>>,
    waiting: Vec<Waiting<'c>>,
    volumes: &'c Volumes,
}

impl Check<'_> {
    /// What to do about each waiting claim if the pod goes to this node.
    fn plan(&self, node: &NodeInfo) -> Result<Vec<Prepare>, Vec<&'static str>> {
        let mut steps = Vec::new();
        let mut chosen = BTreeSet::new();
        for (claim, class) in &self.waiting {
            // A claim that was given a node before has its volume made for that one.
            let selected = claim
                .metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get("volume.kubernetes.io/selected-node"));
            if selected.is_some_and(|s| **s != *node.name) {
                return Err(vec![
                    "node(s) didn't find available persistent volumes to bind",
                ]);
            }
            let found = match selected {
                Some(_) => None,
                None => self.find(claim, node, &chosen),
            };
            match found {
                Some(volume) => {
                    chosen.insert(key(&**volume).1);
                    steps.push(Prepare::BindVolume {
                        volume: volume.clone(),
                        claim: (*claim).clone(),
                    });
                }
                None => {
                    self.provisionable(claim, *class, node)?;
                    steps.push(Prepare::Provision {
                        claim: (*claim).clone(),
                        node: node.name.clone(),
                    });
                }
            }
        }
        Ok(steps)
    }

    /// The smallest free volume that will do; one that is promised to this claim comes first.
    fn find(
        &self,
        claim: &PersistentVolumeClaim,
        node: &NodeInfo,
        chosen: &BTreeSet<Box<str>>,
    ) -> Option<&Arc<PersistentVolume>> {
        let spec = claim.spec.as_ref()?;
        let wanted = asked(claim).unwrap_or_default();
        let selector = spec.selector.as_ref().map(|s| terms::selector(Some(s)));
        let mode = |m: &Option<String>| m.as_deref().unwrap_or("Filesystem").to_owned();
        // One that is meant for the claim is the only one that will do, if the node reaches it.
        let fits = |volume: &PersistentVolume| -> Option<(bool, bool, i64)> {
            let own = volume.spec.as_ref()?;
            let prebound = match &own.claim_ref {
                None => false,
                Some(by) => {
                    let same = by.name == claim.metadata.name
                        && by.namespace == claim.metadata.namespace
                        && (by.uid.as_ref().is_none_or(|u| u.is_empty())
                            || by.uid == claim.metadata.uid);
                    if !same {
                        return None;
                    }
                    true
                }
            };
            let size = bytes(&own.capacity.as_ref()?.get("storage")?.0)?;
            let right = size >= wanted
                && mode(&own.volume_mode) == mode(&spec.volume_mode)
                && own
                    .volume_attributes_class_name
                    .as_deref()
                    .unwrap_or_default()
                    == spec
                        .volume_attributes_class_name
                        .as_deref()
                        .unwrap_or_default()
                && volume.metadata.deletion_timestamp.is_none();
            let reached = reaches(volume, node);
            if !right || prebound {
                return right.then_some((true, reached, size));
            }
            let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
            let labels = volume.metadata.labels.iter().flatten();
            let labels = labels.map(|(k, v)| (k.as_str(), v.as_str()));
            let modes = own.access_modes.as_deref().unwrap_or_default();
            let good = reached
                && phase == Some("Available")
                && selector.as_ref().is_none_or(|s| s.matches(labels))
                && spec
                    .access_modes
                    .iter()
                    .flatten()
                    .all(|m| modes.contains(m));
            good.then_some((false, true, size))
        };
        let free = self.volumes.free.get(claim_class(claim))?;
        free.iter()
            .filter(|(name, _)| {
                !chosen.contains(*name) && !self.volumes.promised.contains_key(*name)
            })
            .filter(|(_, volume)| volume_class(volume) == claim_class(claim))
            .filter_map(|(_, volume)| fits(volume).map(|rank| (rank, volume)))
            .min_by_key(|((prebound, _, size), _)| (!prebound, *size))
            .filter(|((_, reached, _), _)| *reached)
            .map(|(_, volume)| volume)
    }

    /// Whether a volume for the claim can be made that the node reaches.
    fn provisionable(
        &self,
        claim: &PersistentVolumeClaim,
        class: Option<&Arc<StorageClass>>,
        node: &NodeInfo,
    ) -> Result<(), Vec<&'static str>> {
        let none = || vec!["node(s) didn't find available persistent volumes to bind"];
        let class = class.ok_or_else(none)?;
        if matches!(
            class.provisioner.as_str(),
            "" | "kubernetes.io/no-provisioner"
        ) {
            return Err(none());
        }
        let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
        let within = topologies.is_empty()
            || topologies.iter().any(|term| {
                term.match_label_expressions.iter().flatten().all(|e| {
                    node.label(&e.key)
                        .is_some_and(|v| e.values.iter().any(|w| w == v))
                })
            });
        if !within {
            return Err(none());
        }
        let tracked = self
            .volumes
            .drivers
            .get(class.provisioner.as_str())
            .is_some_and(|d| d.spec.storage_capacity == Some(true));
        let Some(size) = asked(claim).filter(|_| tracked) else {
            return Ok(());
        };
        let class_name = class.metadata.name.as_deref().unwrap_or_default();
        let enough = self.volumes.capacities.values().any(|c| {
            let most = c.maximum_volume_size.as_ref().or(c.capacity.as_ref());
            let topology = c.node_topology.as_ref();
            let labels = node.node.as_ref().and_then(|n| n.metadata.labels.as_ref());
            let labels = labels.into_iter().flatten();
            c.storage_class_name == class_name
                && most.and_then(|q| bytes(&q.0)).is_some_and(|m| m >= size)
                && topology.is_some()
                && terms::selector(topology).matches(labels.map(|(k, v)| (k.as_str(), v.as_str())))
        });
        if enough {
            Ok(())
        } else {
            Err(vec!["node(s) did not have enough free storage"])
        }
    }
}

impl PodFilter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if self.bound.iter().any(Option::is_none) {
            return Err(Rejection::unresolvable(
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            ));
        }
        let mut reasons = Vec::new();
        if self.bound.iter().flatten().any(|v| !reaches(v, node)) {
            reasons.push("node(s) didn't match PersistentVolume's node affinity");
        }
        if !self.waiting.is_empty()
            && let Err(more) = self.plan(node)
        {
            reasons.extend(more);
        }
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Rejection {
            reasons: reasons.into_iter().map(Into::into).collect(),
            preemption_helps: false,
        })
    }

    fn reserve(&self, node: &NodeInfo) -> Vec<Prepare> {
        self.plan(node).unwrap_or_default()
    }
}
