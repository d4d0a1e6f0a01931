//! What every part of one kubelet shares: configuration, clients, recorder, and the few facts of
//! the node that pods need.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use client::{
    Informer,
    events::{EventType, Recorder},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};

use crate::{
    config::Config,
    metrics::Metrics,
    node::machine::Machine,
    pods::{cgroups::Cgroups, fields::Surroundings, view::PodView},
    runtime_client::RuntimeClient,
};

/// Shared by everything in one kubelet.
pub struct Agent {
    /// What the binary decided.
    pub config: Config,
    /// The API: client, caches, clock, randomness.
    pub context: client::Context,
    /// Events, marked with the node's name.
    pub recorder: Recorder,
    /// The container runtime.
    pub runtime: RuntimeClient,
    /// The runtime's name, the scheme of container ids; known once it has answered.
    pub runtime_name: OnceLock<String>,
    /// The machine.
    pub machine: Machine,
    /// The node's addresses, the primary one first.
    pub host_ips: RwLock<Vec<IpAddr>>,
    /// The Node object as last seen.
    pub node: watch::Sender<Option<Arc<Node>>>,
    /// The API's pods of this node.
    pub pods: Informer<Pod>,
    /// All Services, for the environment of containers.
    pub services: Informer<Service>,
    /// Permits of image pulls.
    pub pulls: Arc<Semaphore>,
    /// Pod cgroups.
    pub cgroups: Cgroups,
    /// What is counted.
    pub metrics: Metrics,
}

impl Agent {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// The scheme of container ids.
    pub fn runtime_name(&self) -> &str {
        self.runtime_name.get().map_or("cri", String::as_str)
    }

    /// What a pod's fields may show of the node.
    pub fn surroundings(&self, pod: &PodView) -> Surroundings {
        let allocatable = self
            .node
            .borrow()
            .as_ref()
            .and_then(|n| n.status.as_ref()?.allocatable.clone())
            .unwrap_or_default();
        let of_status = pod.status().pod_ips.iter().flatten();
        Surroundings {
            node_name: self.config.node_name.clone(),
            host_ips: self
                .host_ips
                .read()
                .iter()
                .map(ToString::to_string)
                .collect(),
            pod_ips: of_status.map(|ip| ip.ip.clone()).collect(),
            allocatable,
        }
    }

    /// Notes an event about a pod, or one of its containers.
    pub fn pod_event(
        &self,
        pod: &PodView,
        container: Option<&str>,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut about = client::events::reference(pod.pod().as_ref());
        about.field_path = container.and_then(|name| pod.field_path(name));
        self.recorder.event(about, kind, reason, message);
    }

    /// Notes an event about the node.
    pub fn node_event(&self, kind: EventType, reason: &str, message: impl Into<String>) {
        let name = self.config.node_name.clone();
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            api_version: Some("v1".to_owned()),
            // Upstream's kubelet names the node as its uid too; `kubectl describe` looks for both.
            uid: Some(name.clone()),
            name: Some(name),
            ..Default::default()
        };
        self.recorder.event(about, kind, reason, message);
    }
}
