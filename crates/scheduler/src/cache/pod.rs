//! A pod as the scheduler sees it.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Serialize;

use super::class::{Class, Classes};

/// A host port a pod claims.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostPort {
    /// `0.0.0.0` for every address.
    pub ip: Box<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// Port on the node.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be bound on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || &*self.ip == ANY || &*other.ip == ANY)
    }
}

/// A pod with what filters ask of it.
#[derive(Debug)]
pub struct PodInfo {
    /// The object.
    pub pod: Arc<Pod>,
    /// `namespace/name`.
    pub key: Box<str>,
    /// uid.
    pub uid: Box<str>,
    /// What it has in common with others.
    pub class: Arc<Class>,
}

/// What of a placed pod counts for other pods. The log of changes keeps this, not the pod, which would
/// live on there long after it is gone.
#[derive(Clone, Debug)]
pub struct Counted {
    /// What it has in common with others.
    pub class: Arc<Class>,
    /// Has been asked to go.
    pub terminating: bool,
}

/// Stands in for the spec of a pod without one, which the API server admits never.
static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

impl PodInfo {
    /// Works out what filters ask.
    pub fn new(pod: Arc<Pod>, classes: &mut Classes) -> PodInfo {
        let class = classes.of(&pod, pod.spec.as_ref().unwrap_or(&*NO_SPEC));
        PodInfo::with_class(pod, class)
    }

    /// The pod's next state. Its class is worked out again only if it can have changed.
    pub fn next(&self, pod: Arc<Pod>, classes: &mut Classes) -> PodInfo {
        let (old, new) = (&*self.pod, &*pod);
        let same = same_but_for_node(old.spec.as_ref(), new.spec.as_ref())
            && old.metadata.labels == new.metadata.labels
            && old.metadata.owner_references == new.metadata.owner_references
            && !is_resized(new)
            && !is_resized(old);
        if same {
            PodInfo::with_class(pod, self.class.clone())
        } else {
            PodInfo::new(pod, classes)
        }
    }

    fn with_class(pod: Arc<Pod>, class: Arc<Class>) -> PodInfo {
        let meta = &pod.metadata;
        let key = format!(
            "{}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        );
        PodInfo {
            key: key.into(),
            uid: meta.uid.as_deref().unwrap_or_default().into(),
            class,
            pod: pod.clone(),
        }
    }

    /// The spec.
    pub fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().unwrap_or(&*NO_SPEC)
    }

    /// What of it counts for other pods.
    pub fn counted(&self) -> Counted {
        Counted {
            class: self.class.clone(),
            terminating: self.terminating(),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// Priority.
    pub fn priority(&self) -> i32 {
        self.class.priority
    }

    /// Has been asked to go.
    pub fn terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// `status.nominatedNodeName`.
    pub fn nominated_node(&self) -> Option<&str> {
        let status = self.pod.status.as_ref()?;
        status
            .nominated_node_name
            .as_deref()
            .filter(|n| !n.is_empty())
    }

    /// When it started, in seconds; the end of time when it has not.
    pub fn started(&self) -> i64 {
        self.pod
            .status
            .as_ref()
            .and_then(|s| s.start_time.as_ref())
            .map_or(i64::MAX, |t| t.0.as_second())
    }
}

/// Whether nothing changed but where the pod is, which is what a binding does.
fn same_but_for_node(old: Option<&PodSpec>, new: Option<&PodSpec>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return old == new;
    };
    if old.node_name == new.node_name {
        return old == new;
    }
    let mut moved = old.clone();
    moved.node_name.clone_from(&new.node_name);
    moved == *new
}

/// Whether a pod's status tells what it runs with, which may not be what its spec asks for.
pub(super) fn is_resized(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| {
        let statuses = status.container_statuses.iter().flatten();
        let mut all = statuses.chain(status.init_container_statuses.iter().flatten());
        status.resources.is_some() || all.any(|c| c.resources.is_some())
    })
}

pub(super) fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            let port = p.host_port.filter(|p| *p > 0)?;
            Some(HostPort {
                ip: p
                    .host_ip
                    .as_deref()
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or("0.0.0.0")
                    .into(),
                protocol: p.protocol.as_deref().unwrap_or("TCP").into(),
                port,
            })
        })
        .collect()
}
