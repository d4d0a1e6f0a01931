//! Extended resources that devices back: a container asks for `example.com/gpu: 2`, and where no
//! device plugin provides that, a claim is made up for the pod from the class that names the
//! resource (DRAExtendedResource).

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::{Container, ContainerExtendedResourceRequest},
        resource::v1::{
            DeviceClaim, DeviceClass, DeviceRequest, ExactDeviceRequest, ResourceClaim,
            ResourceClaimSpec,
        },
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::{Devices, slice::quantity};
use crate::cache::{NodeInfo, PodInfo};

/// What a resource is called that a class backs without naming it.
const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/";
/// Marks the claims made up here.
const MARK: &str = "resource.kubernetes.io/extended-resource-claim";

/// Which container got which request for which resource.
pub type Mappings = Vec<ContainerExtendedResourceRequest>;

/// The extended resources a pod asks for, one of them at least backed by devices.
pub struct Extended<'c> {
    pod: &'c PodInfo,
    wanted: Vec<(&'c str, i64)>,
    /// Made up by an earlier try that did not end well.
    earlier: Option<&'c Arc<ResourceClaim>>,
}

/// What one node needs for them.
pub struct OnNode {
    /// The claim, with a name still to be given.
    pub claim: Arc<ResourceClaim>,
    /// Its requests by container.
    pub mappings: Mappings,
}

impl Devices {
    /// The class that backs a resource: of several that name it the newest, then the first by name.
    pub fn backing(&self, resource: &str) -> Option<&Arc<DeviceClass>> {
        if let Some(class) = resource.strip_prefix(IMPLICIT) {
            return self.class(class);
        }
        if !resource.contains('/') {
            return None;
        }
        let mut best: Option<&Arc<DeviceClass>> = None;
        let since = |class: &DeviceClass| class.metadata.creation_timestamp.clone();
        for class in self.classes.values() {
            let names = class.spec.extended_resource_name.as_deref() == Some(resource);
            if names && best.is_none_or(|b| since(class) > since(b)) {
                best = Some(class);
            }
        }
        best
    }
}

/// Names with a slash are extended resources, unless they are Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.starts_with(IMPLICIT)
        || (name.contains('/')
            && !name.contains("kubernetes.io/")
            && !name.starts_with("requests."))
}

impl<'c> Extended<'c> {
    /// Those of a pod; none where no class backs any.
    pub fn of(pod: &'c PodInfo, devices: &'c Devices) -> Option<Extended<'c>> {
        let scalar = pod.class.requests.scalar.iter();
        let wanted: Vec<(&str, i64)> = scalar
            .filter(|(name, amount)| **amount > 0 && is_extended(name))
            .map(|(name, amount)| (&**name, *amount))
            .collect();
        let mut names = wanted.iter();
        if !names.any(|(name, _)| devices.backing(name).is_some()) {
            return None;
        }
        let mut claims = devices.claims.values();
        let earlier = claims.find(|claim| {
            let meta = &claim.metadata;
            let mark = meta.annotations.as_ref().and_then(|a| a.get(MARK));
            let mut owners = meta.owner_references.iter().flatten();
            mark.is_some_and(|m| m == "true")
                && owners.any(|o| o.controller == Some(true) && *o.uid == *pod.uid)
        });
        Some(Extended {
            pod,
            wanted,
            earlier,
        })
    }

    /// The claim of an earlier try, which is in the way.
    pub fn left_over(&self) -> Option<&'c Arc<ResourceClaim>> {
        self.earlier
    }

    /// What a node needs; nothing where its device plugins provide everything.
    pub fn on(&self, node: &NodeInfo, devices: &Devices) -> Result<Option<OnNode>, String> {
        if self.earlier.is_some() {
            return Err("cannot schedule extended resource claim".to_owned());
        }
        let mut backed = Vec::new();
        for (name, _) in &self.wanted {
            let provided = node.allocatable.scalar.get(*name);
            match devices.backing(name) {
                Some(class) if provided.is_none_or(|amount| *amount == 0) => {
                    backed.push((*name, class));
                }
                _ if provided.is_none() => return Err("cannot fit resource".to_owned()),
                _ => {}
            }
        }
        if backed.is_empty() {
            return Ok(None);
        }
        let (requests, mappings) = requests(self.pod, &backed);
        Ok(Some(OnNode {
            claim: Arc::new(claim(self.pod, requests)),
            mappings,
        }))
    }
}

fn claim(pod: &PodInfo, requests: Vec<DeviceRequest>) -> ResourceClaim {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid.to_string(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ResourceClaim {
        metadata: ObjectMeta {
            namespace: Some(pod.namespace().to_owned()),
            generate_name: Some(format!("{}-extended-resources-", pod.name())),
            owner_references: Some(vec![owner]),
            annotations: Some([(MARK.to_owned(), "true".to_owned())].into()),
            // What its promise goes by until it has one of its own.
            uid: Some(format!("extended-resources-of-{}", pod.uid)),
            ..ObjectMeta::default()
        },
        spec: ResourceClaimSpec {
            devices: Some(DeviceClaim {
                requests: Some(requests),
                ..DeviceClaim::default()
            }),
        },
        status: None,
    }
}

/// A container, its place among all (init containers come first), and whether it ends before the
/// pod runs.
struct Member<'p> {
    place: usize,
    container: &'p Container,
    brief: bool,
}

/// The requests for the resources, and which container each is for. What init containers need they
/// take from what containers after them need; of what they need beyond that, the most counts.
fn requests(pod: &PodInfo, backed: &[(&str, &Arc<DeviceClass>)]) -> (Vec<DeviceRequest>, Mappings) {
    let spec = pod.spec();
    let init = spec.init_containers.iter().flatten().map(|container| {
        let stays = container.restart_policy.as_deref() == Some("Always");
        (container, !stays)
    });
    let all = init.chain(spec.containers.iter().map(|container| (container, false)));
    let members: Vec<Member<'_>> = all
        .enumerate()
        .map(|(place, (container, brief))| Member {
            place,
            container,
            brief,
        })
        .collect();
    let (mut requests, mut mappings) = (Vec::new(), Vec::new());
    for (resource, class) in backed {
        let class = class.metadata.name.as_deref().unwrap_or_default();
        let mut lasting: Vec<(usize, DeviceRequest)> = Vec::new();
        for member in members.iter().filter(|m| !m.brief) {
            let (request, own) = one(member, resource, class, &[]);
            lasting.extend(request.map(|r| (member.place, r)));
            mappings.extend(own);
        }
        let mut most: Option<DeviceRequest> = None;
        let (mut brief_mappings, mut brief_names) = (Vec::new(), Vec::new());
        for member in members.iter().filter(|m| m.brief) {
            let later = lasting.iter().filter(|(place, _)| *place >= member.place);
            let later: Vec<&DeviceRequest> = later.map(|(_, r)| r).collect();
            let (request, own) = one(member, resource, class, &later);
            brief_mappings.extend(own);
            if let Some(request) = request {
                brief_names.push(request.name.clone());
                if most.as_ref().is_none_or(|m| count(m) < count(&request)) {
                    most = Some(request);
                }
            }
        }
        if let Some(most) = most {
            for mapping in &mut brief_mappings {
                if brief_names.contains(&mapping.request_name) {
                    mapping.request_name.clone_from(&most.name);
                }
            }
            requests.push(most);
        }
        mappings.extend(brief_mappings);
        requests.extend(lasting.into_iter().map(|(_, r)| r));
    }
    requests.sort_by(|a, b| a.name.cmp(&b.name));
    (requests, mappings)
}

fn count(request: &DeviceRequest) -> i64 {
    let exactly = request.exactly.as_ref();
    exactly.and_then(|e| e.count).unwrap_or_default()
}

/// What one container needs beyond what it may use of others', and all it uses.
fn one(
    member: &Member<'_>,
    resource: &str,
    class: &str,
    others: &[&DeviceRequest],
) -> (Option<DeviceRequest>, Mappings) {
    let requests = member.container.resources.as_ref();
    let requests = requests.and_then(|r| r.requests.as_ref());
    let wanted = requests
        .and_then(|r| r.get(resource))
        .map_or(0, |amount| quantity(amount).value());
    let mapping = |request: &str| ContainerExtendedResourceRequest {
        container_name: member.container.name.clone(),
        resource_name: resource.to_owned(),
        request_name: request.to_owned(),
    };
    let mut mappings = Vec::new();
    if wanted == 0 {
        return (None, mappings);
    }
    let mut sum = 0;
    for other in others {
        sum += count(other);
        mappings.push(mapping(&other.name));
        if sum >= wanted {
            return (None, mappings);
        }
    }
    let mut names = requests.into_iter().flat_map(|r| r.keys());
    let index = names.position(|name| name == resource).unwrap_or_default();
    let name = format!("container-{}-request-{index}", member.place);
    mappings.push(mapping(&name));
    let request = DeviceRequest {
        name,
        exactly: Some(ExactDeviceRequest {
            device_class_name: class.to_owned(),
            allocation_mode: Some("ExactCount".to_owned()),
            count: Some(wanted - sum),
            ..ExactDeviceRequest::default()
        }),
        first_available: None,
    };
    (Some(request), mappings)
}
