//! A pod as the scheduler sees it: what filters ask of it, worked out once.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::resources::{Resources, pod_requests, pod_requests_non_zero};

/// A host port a pod claims.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Priority; zero when none was admitted.
    pub priority: i32,
    /// What it needs.
    pub requests: Resources,
    /// What it counts for in scoring.
    pub scored: Resources,
    /// Host ports it claims.
    pub ports: Vec<HostPort>,
}

/// Stands in for the spec of a pod without one, which the API server admits never.
static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

impl PodInfo {
    /// Works out what filters ask.
    pub fn new(pod: Arc<Pod>) -> PodInfo {
        let meta = &pod.metadata;
        let key = format!(
            "{}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        );
        let uid = meta.uid.clone().unwrap_or_default();
        let spec = pod.spec.as_ref().unwrap_or(&*NO_SPEC);
        PodInfo {
            key: key.into(),
            uid: uid.into(),
            priority: spec.priority.unwrap_or_default(),
            requests: pod_requests(spec),
            scored: pod_requests_non_zero(spec),
            ports: host_ports(spec),
            pod: pod.clone(),
        }
    }

    /// The spec.
    pub fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().unwrap_or(&*NO_SPEC)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The value of one of its labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.pod
            .metadata
            .labels
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// Has been asked to go.
    pub fn terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
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
