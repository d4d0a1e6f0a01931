//! VolumeRestrictions: a claim that one pod alone may use is not used by another; a disk that can be
//! attached once is not attached twice on a node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Volume;

use super::{Used, used};
use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{Plugin, PodBegin, PodFilter, PodFilterPlugin, Rejection},
    queue::events::ClusterEvents,
};

/// See the module.
pub struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_DELETE | ClusterEvents::NODE_ADD | ClusterEvents::STORAGE
    }
}

impl PodFilterPlugin for VolumeRestrictions {
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> PodBegin<'c> {
        let alone = |used: &Used<'_>| {
            let claim = cache.volumes.claim_of(used);
            let modes = claim.and_then(|c| c.spec.as_ref()?.access_modes.as_ref());
            modes.is_some_and(|m| m.iter().any(|m| m == "ReadWriteOncePod"))
        };
        // Claims that are still to be made for the pod are VolumeBinding's business.
        for used in used(pod).filter(|u| !u.ephemeral) {
            if cache.volumes.claim_of(&used).is_none() {
                return PodBegin::Reject(Rejection::unresolvable(format!(
                    "persistentvolumeclaim \"{}\" not found",
                    used.name
                )));
            }
        }
        let alone: Vec<Used<'_>> = used(pod).filter(|u| !u.ephemeral && alone(u)).collect();
        let disks: Vec<&Volume> = pod
            .spec()
            .volumes
            .iter()
            .flatten()
            .filter(|v| conflicts(v, v) || is_disk(v))
            .collect();
        let in_use = alone.iter().filter(|u| cache.volumes.uses(u) > 0).count();
        if in_use == 0 && disks.is_empty() {
            return PodBegin::Skip;
        }
        PodBegin::Check(Box::new(Check {
            alone,
            in_use,
            disks,
            cache,
        }))
    }
}

fn is_disk(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// Whether two inline volumes cannot be mounted on one node.
fn conflicts(a: &Volume, b: &Volume) -> bool {
    if let (Some(a), Some(b)) = (&a.gce_persistent_disk, &b.gce_persistent_disk) {
        let read_only = a.read_only == Some(true) && b.read_only == Some(true);
        return a.pd_name == b.pd_name && !read_only;
    }
    if let (Some(a), Some(b)) = (&a.aws_elastic_block_store, &b.aws_elastic_block_store) {
        return a.volume_id == b.volume_id;
    }
    if let (Some(a), Some(b)) = (&a.iscsi, &b.iscsi) {
        let read_only = a.read_only == Some(true) && b.read_only == Some(true);
        return a.iqn == b.iqn && !read_only;
    }
    if let (Some(a), Some(b)) = (&a.rbd, &b.rbd) {
        let read_only = a.read_only == Some(true) && b.read_only == Some(true);
        let common = a.monitors.iter().any(|m| b.monitors.contains(m));
        return common && a.pool == b.pool && a.image == b.image && !read_only;
    }
    false
}

struct Check<'c> {
    /// Claims that must have no other user.
    alone: Vec<Used<'c>>,
    /// How many of them have one.
    in_use: usize,
    disks: Vec<&'c Volume>,
    cache: &'c Cache,
}

impl Check<'_> {
    /// How often the claims are used on the node.
    fn uses_on(&self, pods: &[Arc<PodInfo>]) -> usize {
        let key = |u: &Used<'_>| u.key();
        pods.iter()
            .filter(|p| p.spec().volumes.is_some())
            .flat_map(|p| used(p))
            .filter(|u| self.alone.iter().any(|a| key(a) == key(u)))
            .count()
    }
}

impl PodFilter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mounted = || {
            let pods = node.pods.iter();
            pods.flat_map(|p| p.spec().volumes.iter().flatten())
        };
        if self
            .disks
            .iter()
            .any(|disk| mounted().any(|other| conflicts(disk, other)))
        {
            return Err(Rejection::unschedulable("node(s) had no available disk"));
        }
        // The node may be thought of with other pods than it has.
        let really = self.uses_on(&self.cache.at(node.slot).pods);
        if self.in_use + self.uses_on(&node.pods) > really {
            return Err(Rejection::unschedulable(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
            ));
        }
        Ok(())
    }
}
