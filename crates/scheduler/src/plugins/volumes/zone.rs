//! VolumeZone: a volume with zone labels is for nodes of those zones.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolume;

use super::{claim_class, used};
use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{Plugin, PodBegin, PodFilter, PodFilterPlugin, Rejection},
    queue::events::ClusterEvents,
};

/// The labels, each with the one that has taken its place.
const LABELS: [(&str, &str); 4] = [
    (
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    (
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
];

/// See the module.
pub struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::STORAGE | ClusterEvents::NODE_ADD | ClusterEvents::NODE_LABEL
    }
}

impl PodFilterPlugin for VolumeZone {
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> PodBegin<'c> {
        let mut wanted = Vec::new();
        for used in used(pod) {
            let no = |why: String| PodBegin::Reject(Rejection::unresolvable(why));
            let Some(claim) = cache.volumes.claim_of(&used) else {
                return no(format!("persistentvolumeclaim \"{}\" not found", used.name));
            };
            let bound = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref());
            let Some(name) = bound.filter(|n| !n.is_empty()) else {
                let class = claim_class(claim);
                if class.is_empty() {
                    return no("PersistentVolumeClaim had no pv name and storageClass name".into());
                }
                let Some(class) = cache.volumes.classes.get(class) else {
                    return no(format!("storageclass.storage.k8s.io \"{class}\" not found"));
                };
                match class.volume_binding_mode.as_deref() {
                    Some("WaitForFirstConsumer") => continue,
                    _ => return no("PersistentVolume had no name".into()),
                }
            };
            let Some(volume) = cache.volumes.volumes.get(name) else {
                return no(format!("persistentvolume \"{name}\" not found"));
            };
            wanted.extend(zones(volume));
        }
        if wanted.is_empty() {
            return PodBegin::Skip;
        }
        PodBegin::Check(Box::new(Zones(wanted)))
    }
}

type Zone = (&'static str, &'static str, BTreeSet<String>);

fn zones(volume: &PersistentVolume) -> impl Iterator<Item = Zone> {
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    LABELS.into_iter().filter_map(move |(label, stable)| {
        // Several zones are joined by two underscores.
        let values = labels.get(label)?.split("__").map(str::to_owned);
        Some((label, stable, values.collect()))
    })
}

struct Zones(Vec<Zone>);

impl PodFilter for Zones {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if LABELS.iter().all(|(label, _)| node.label(label).is_none()) {
            return Ok(());
        }
        let inside = |(label, stable, values): &Zone| {
            let value = node.label(label).or_else(|| node.label(stable));
            value.is_some_and(|v| values.contains(v))
        };
        if self.0.iter().all(inside) {
            return Ok(());
        }
        Err(Rejection::unresolvable(
            "node(s) had no available volume zone",
        ))
    }
}
