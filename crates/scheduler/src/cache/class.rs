//! What pods have in common: everything that filters and scores ask of a pod, worked out once for
//! all pods that are equal in it (the thousand pods of a Deployment, say).
//!
//! Two pods of one class fit the same nodes and score the same there, so rankings of nodes are kept
//! per class. What differs from pod to pod (claims, devices) is asked of the pod itself.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelectorTerm, Pod, PodSpec, Toleration, TopologySpreadConstraint,
};
use serde::Serialize;

use super::{
    pod::{HostPort, host_ports, is_resized},
    resources::{Resources, pod_requests, pod_requests_liked, pod_requests_non_zero},
    terms::{Term, Terms},
};

/// See the module.
#[derive(Debug)]
pub struct Class {
    /// Unlike any other class's of this process.
    pub id: u64,
    /// Namespace.
    pub namespace: Box<str>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.schedulerName`.
    pub scheduler_name: Box<str>,
    /// Priority; zero when none was admitted.
    pub priority: i32,
    /// Whether `preemptionPolicy` lets it make room for itself.
    pub may_preempt: bool,
    /// What it needs.
    pub requests: Resources,
    /// What it counts for in scoring, once it is placed.
    pub scored: Resources,
    /// What it counts for in NodeResourcesFit's scoring of nodes for it.
    pub liked: Resources,
    /// Host ports it claims.
    pub ports: Vec<HostPort>,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.affinity.nodeAffinity`.
    pub node_affinity: NodeAffinity,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// `spec.topologySpreadConstraints`.
    pub spread: Vec<TopologySpreadConstraint>,
    /// Affinity to and from other pods.
    pub terms: Terms,
    /// The images of its containers, init containers and volumes, normalized.
    pub images: Vec<Box<str>>,
    /// How many containers and init containers it has.
    pub containers: usize,
    /// Kind and name of the controller that owns it.
    pub controller: Option<(String, String)>,
    /// Features its node must declare (KEP-5328).
    pub features: Vec<&'static str>,
}

impl Class {
    /// The terms of the required node affinity; none where there is none.
    pub fn required_node_terms(&self) -> Option<&[NodeSelectorTerm]> {
        self.node_affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
            .map(|r| r.node_selector_terms.as_slice())
    }

    /// Its labels in pairs, as selectors take them.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

/// Everything a class is made of; equal keys are equal classes.
#[derive(Serialize)]
struct Key<'p> {
    namespace: &'p str,
    labels: &'p BTreeMap<String, String>,
    scheduler: &'p str,
    priority: i32,
    may_preempt: bool,
    requests: &'p Resources,
    scored: &'p Resources,
    /// Where it differs.
    liked: Option<&'p Resources>,
    ports: &'p [HostPort],
    selector: &'p Option<BTreeMap<String, String>>,
    affinity: &'p Option<k8s_openapi::api::core::v1::Affinity>,
    tolerations: &'p Option<Vec<Toleration>>,
    spread: &'p Option<Vec<TopologySpreadConstraint>>,
    images: &'p [Box<str>],
    controller: &'p Option<(String, String)>,
    features: &'p [&'static str],
}

/// The classes of the pods there are. Bounded by them: classes without pods are swept out when the
/// table has doubled.
#[derive(Debug)]
pub struct Classes {
    known: HashMap<Box<[u8]>, Weak<Class>>,
    next: u64,
    sweep_at: usize,
}

impl Default for Classes {
    fn default() -> Classes {
        Classes {
            known: HashMap::new(),
            next: 0,
            sweep_at: 256,
        }
    }
}

impl Classes {
    /// The class of a pod.
    pub fn of(&mut self, pod: &Pod, spec: &PodSpec) -> Arc<Class> {
        let none = BTreeMap::new();
        let requests = pod_requests(pod, spec);
        let scored = pod_requests_non_zero(pod, spec);
        // Else it is the same, and need not be worked out.
        let differs = spec.resources.is_some() || is_resized(pod);
        let liked = match differs {
            true => pod_requests_liked(pod, spec),
            false => scored.clone(),
        };
        let ports = host_ports(spec);
        let images = images(spec);
        let controller = pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| (owner.kind.clone(), owner.name.clone()));
        let features = features(spec);
        let key = Key {
            namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
            labels: pod.metadata.labels.as_ref().unwrap_or(&none),
            scheduler: spec.scheduler_name.as_deref().unwrap_or_default(),
            priority: spec.priority.unwrap_or_default(),
            may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
            requests: &requests,
            scored: &scored,
            liked: differs.then_some(&liked),
            ports: &ports,
            selector: &spec.node_selector,
            affinity: &spec.affinity,
            tolerations: &spec.tolerations,
            spread: &spec.topology_spread_constraints,
            images: &images,
            controller: &controller,
            features: &features,
        };
        // Maps with string keys always serialize.
        let bytes = serde_json::to_vec(&key).unwrap_or_default();
        if let Some(class) = self.known.get(bytes.as_slice()).and_then(Weak::upgrade) {
            return class;
        }
        self.next += 1;
        let affinity = spec.affinity.clone().unwrap_or_default();
        let namespace: Box<str> = key.namespace.into();
        let labels = key.labels.clone();
        let class = Arc::new(Class {
            id: self.next,
            terms: Terms::new(&namespace, &labels, &affinity),
            namespace,
            labels,
            scheduler_name: match key.scheduler {
                "" => "default-scheduler".into(),
                name => name.into(),
            },
            priority: key.priority,
            may_preempt: key.may_preempt,
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            node_affinity: affinity.node_affinity.unwrap_or_default(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            spread: spec.topology_spread_constraints.clone().unwrap_or_default(),
            containers: spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len),
            requests,
            scored,
            liked,
            ports,
            images,
            controller,
            features,
        });
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, class| class.strong_count() > 0);
            self.sweep_at = 256.max(self.known.len() * 2);
        }
        self.known.insert(bytes.into(), Arc::downgrade(&class));
        class
    }
}

fn images(spec: &PodSpec) -> Vec<Box<str>> {
    let containers = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .filter_map(|c| c.image.as_deref());
    let volumes = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|v| v.image.as_ref()?.reference.as_deref());
    containers.chain(volumes).map(normalized).collect()
}

/// With the tag `latest` where neither tag nor digest is given.
fn normalized(image: &str) -> Box<str> {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') {
        image.into()
    } else {
        format!("{image}:latest").into()
    }
}

/// What a node must declare to run the pod: of the features upstream's library knows in 1.36, those
/// a pod's spec shows. The others concern changes of running pods.
fn features(spec: &PodSpec) -> Vec<&'static str> {
    let mut features = Vec::new();
    let restarts_all = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .flat_map(|c| c.restart_policy_rules.iter().flatten())
        .any(|rule| rule.action == "RestartAllContainers");
    if restarts_all {
        features.push("RestartAllContainersOnContainerExits");
    }
    if spec.host_network == Some(true) && spec.host_users == Some(false) {
        features.push("UserNamespacesHostNetworkSupport");
    }
    features
}

/// Whether terms of a class are about pods of another class, remembered: classes are few, pods many.
#[derive(Debug, Default)]
pub struct Covers(HashMap<u64, Box<[bool]>>);

impl Covers {
    /// For each of `terms`, whether it is about `class`. `holds` decides the first time.
    pub fn of(&mut self, id: u64, terms: usize, holds: impl Fn(usize) -> bool) -> &[bool] {
        self.0
            .entry(id)
            .or_insert_with(|| (0..terms).map(holds).collect())
    }
}

/// Whether a term of one class is about another class's pods, given the labels of that namespace.
pub fn covers(
    term: &Term,
    class: &Class,
    namespace_labels: Option<&BTreeMap<String, String>>,
) -> bool {
    term.covers(&class.namespace, namespace_labels) && term.selector.matches(class.labels())
}
