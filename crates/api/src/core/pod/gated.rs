//! What pods and their templates lose because the gates of it are off: it stays only where it was
//! before.

use schema::Value;

use crate::{object::Object, resource::Resource};

/// Sources of projected volumes.
const SOURCES: [&str; 2] = ["clusterTrustBundle", "podCertificate"];
const STATUSES: [&str; 3] = [
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
];
const CLAIMS: &str = "nodeAllocatableResourceClaimStatuses";

/// Where objects of this kind have the spec of a pod.
fn pod_spec(resource: &Resource) -> Option<&'static str> {
    Some(match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") => "spec",
        ("", "PodTemplate") => "template.spec",
        ("batch", "CronJob") => "spec.jobTemplate.spec.template.spec",
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job") => "spec.template.spec",
        _ => return None,
    })
}

/// Takes it away from the object's pod, which was another before.
pub fn drop(resource: &Resource, object: &mut Value, old: &Value) {
    let Some(path) = pod_spec(resource) else {
        return;
    };
    let before = old.at(path);
    let Some(spec) = object.at_mut(path) else {
        return;
    };
    for source in SOURCES {
        let has = |part: &Value| part.has(source);
        let mut volumes = before.list("volumes").iter();
        if volumes.any(|volume| volume.list("projected.sources").iter().any(has)) {
            continue;
        }
        for volume in spec.list_mut("volumes") {
            for part in volume.list_mut("projected.sources") {
                part.remove(source);
            }
        }
    }
    const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
    let mut containers = LISTS.iter().flat_map(|list| before.list(list));
    if containers.any(|container| container.has("lifecycle.stopSignal")) {
        return;
    }
    for list in LISTS {
        for container in spec.list_mut(list) {
            let lifecycle = container.remove("lifecycle.stopSignal");
            let left = container
                .map("lifecycle")
                .is_some_and(|map| !map.is_empty());
            if lifecycle.is_some() && !left {
                container.remove("lifecycle");
            }
        }
    }
}

/// Takes it away from a pod's status, which was another before.
pub fn drop_from_status(object: &mut Value, old: &Value) {
    if old.list(&format!("status.{CLAIMS}")).is_empty() {
        object.remove(&format!("status.{CLAIMS}"));
    }
    let digests = |container: &Value| {
        let mut mounts = container.list("volumeMounts").iter();
        mounts.any(|mount| mount.has("volumeStatus"))
    };
    let before = old.at("status");
    if STATUSES
        .iter()
        .any(|list| before.list(list).iter().any(digests))
    {
        return;
    }
    for list in STATUSES {
        for container in object.list_mut(&format!("status.{list}")) {
            for mount in container.list_mut("volumeMounts") {
                mount.remove("volumeStatus");
            }
        }
    }
}
