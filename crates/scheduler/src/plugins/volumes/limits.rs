//! NodeVolumeLimits: a node attaches no more volumes of a CSI driver than its CSINode allows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Volumes, claim_class, used};
use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{Plugin, PodBegin, PodFilter, PodFilterPlugin, Rejection},
    queue::events::ClusterEvents,
};

/// See the module.
pub struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_DELETE | ClusterEvents::STORAGE
    }
}

/// Volumes by driver, each by what makes it unlike others.
type Attached = BTreeMap<String, BTreeSet<String>>;

/// What a pod has attached. Claims that are not bound count for what their class will make of them.
fn attached(volumes: &Volumes, pod: &PodInfo, out: &mut Attached) {
    for used in used(pod) {
        let Some(claim) = volumes.claim_of(&used) else {
            continue;
        };
        let volume = volumes.volume_of(claim);
        let csi = volume.and_then(|v| v.spec.as_ref()?.csi.as_ref());
        if let Some(csi) = csi {
            out.entry(csi.driver.clone())
                .or_default()
                .insert(csi.volume_handle.clone());
        } else if volume.is_none()
            && let Some(class) = volumes.classes.get(claim_class(claim))
        {
            let id = format!("{}/{}", pod.namespace(), used.name);
            out.entry(class.provisioner.clone()).or_default().insert(id);
        }
    }
}

/// What is attached to a node, whether a pod there uses it or not.
fn attached_to(volumes: &Volumes, node: &str, out: &mut Attached) {
    let all = volumes.attachments.get(node).into_iter().flatten();
    for (_, attachment) in all {
        let name = attachment.spec.source.persistent_volume_name.as_deref();
        let volume = name.and_then(|name| volumes.volumes.get(name));
        if let Some(csi) = volume.and_then(|v| v.spec.as_ref()?.csi.as_ref()) {
            let driver = attachment.spec.attacher.clone();
            let handle = csi.volume_handle.clone();
            out.entry(driver).or_default().insert(handle);
        }
    }
}

impl PodFilterPlugin for NodeVolumeLimits {
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> PodBegin<'c> {
        let mut wanted = Attached::new();
        attached(&cache.volumes, pod, &mut wanted);
        if wanted.is_empty() {
            return PodBegin::Skip;
        }
        PodBegin::Check(Box::new(Check { wanted, cache }))
    }
}

struct Check<'c> {
    wanted: Attached,
    cache: &'c Cache,
}

impl PodFilter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let volumes = &self.cache.volumes;
        let Some(csi) = volumes.nodes.get(&*node.name) else {
            return Ok(());
        };
        let limits: BTreeMap<&str, usize> = csi
            .spec
            .drivers
            .iter()
            .filter_map(|d| {
                let count = usize::try_from(d.allocatable.as_ref()?.count?).ok()?;
                Some((d.name.as_str(), count))
            })
            .filter(|(driver, _)| self.wanted.contains_key(*driver))
            .collect();
        if limits.is_empty() {
            return Ok(());
        }
        let mut there = Attached::new();
        for pod in node.pods.iter().filter(|p| p.spec().volumes.is_some()) {
            attached(volumes, pod, &mut there);
        }
        let mut taken = there.clone();
        attached_to(volumes, &node.name, &mut taken);
        // A volume that is attached for no pod counts as taken and as new.
        let over = |(driver, limit): (&&str, &usize)| {
            let there = there.get(*driver);
            let wanted = self.wanted.get(*driver).into_iter().flatten();
            let new = wanted.filter(|volume| there.is_none_or(|all| !all.contains(*volume)));
            let new = new.count();
            new > 0 && taken.get(*driver).map_or(0, BTreeSet::len) + new > *limit
        };
        if limits.iter().any(over) {
            return Err(Rejection::unschedulable("node(s) exceed max volume count"));
        }
        Ok(())
    }
}
