//! The seam between a sandbox and the pod network.
//!
//! The runtime makes the network namespace and asks a [`PodNetwork`] to furnish it, with the
//! meaning of CNI's ADD, CHECK and DEL. The crate `network` brings the implementations: the built-in bridge
//! over netlink, and one that runs CNI plugins.

use std::{net::IpAddr, path::PathBuf};

use async_trait::async_trait;

/// Which sandbox a call is about. The same values reach ADD, CHECK and DEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The sandbox's id, unique on the node and never reused.
    pub sandbox_id: String,
    /// Path under which the network namespace is pinned (bind mount of `/proc/…/ns/net`).
    pub netns: PathBuf,
    /// Pod namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// Host ports the pod's containers ask for.
    pub port_mappings: Vec<PortMapping>,
    /// Ingress and egress limits in bits per second, from the pod's bandwidth annotations.
    pub bandwidth: Bandwidth,
}

/// One `hostPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port inside the pod.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Host address the port is bound to; none means every address.
    pub host_ip: Option<IpAddr>,
}

/// Limits of a pod's traffic; zero means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Towards the pod, bits per second.
    pub ingress: u64,
    /// From the pod, bits per second.
    pub egress: u64,
}

/// What ADD brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// The pod's addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
}

/// Why the network could not be furnished or taken down.
#[derive(Debug, thiserror::Error)]
#[error("pod network: {operation} sandbox {sandbox}: {reason}")]
pub struct NetworkError {
    /// `add`, `check` or `del`.
    pub operation: &'static str,
    /// The sandbox's id.
    pub sandbox: String,
    /// What failed.
    pub reason: String,
}

/// Furnishes the network namespaces of sandboxes.
///
/// All three calls are idempotent for the same sandbox id: the runtime repeats them after a crash.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Whether pods can be attached now; the reason otherwise (becomes the node's `NetworkReady`).
    async fn ready(&self) -> Result<(), String>;
    /// Gives the namespace its loopback, interface, addresses and routes.
    async fn add(&self, attachment: &Attachment) -> Result<Attached, NetworkError>;
    /// Whether what ADD made still stands.
    async fn check(&self, attachment: &Attachment) -> Result<(), NetworkError>;
    /// Takes it down. Succeeds when there is nothing (any more).
    async fn del(&self, attachment: &Attachment) -> Result<(), NetworkError>;
    /// Takes a new pod address range (`Node.spec.podCIDRs`) into use for sandboxes made later.
    async fn set_pod_cidrs(&self, cidrs: &[String]) -> Result<(), String>;
}
