//! What the binary decides for a kubelet: names, directories, addresses, limits.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use k8s_openapi::api::core::v1::Taint;

/// The certificates of the kubelet's own server. All PEM.
#[derive(Clone, Default)]
pub struct ServerTls {
    /// Serving certificate, then its issuers.
    pub certificate_chain: Vec<u8>,
    /// Private key of the serving certificate (PKCS#8).
    pub private_key: Vec<u8>,
    /// Authorities whose client certificates are believed.
    pub client_ca: Vec<u8>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must never reach a log.
        f.write_str("ServerTls { .. }")
    }
}

/// When the node takes pods off itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvictionThresholds {
    /// Least available memory, in bytes.
    pub memory_available: u64,
    /// Least free part of the file system of the root directory. Upstream's tenth is more than
    /// twenty gigabytes on a common disk; a twentieth is what one-machine clusters have shown to do.
    pub fs_available: f64,
    /// Least free part of its inodes.
    pub inodes_free: f64,
}

impl Default for EvictionThresholds {
    fn default() -> Self {
        Self {
            memory_available: 100 << 20,
            fs_available: 0.05,
            inodes_free: 0.05,
        }
    }
}

/// Everything a [`crate::Kubelet`] is told.
#[derive(Clone)]
pub struct Config {
    /// The Node object's name.
    pub node_name: String,
    /// Home of pod directories (volumes, hosts files).
    pub root_dir: PathBuf,
    /// Home of the containers' logs; `/var/log/pods` on a machine that has one cluster.
    pub pod_logs_dir: PathBuf,
    /// Unix socket of the container runtime.
    pub cri_socket: PathBuf,
    /// The API, as `system:node:<node_name>`.
    pub client: kube::Client,
    /// Certificates of the kubelet's server; without them the server is not started.
    pub tls: Option<ServerTls>,
    /// Where the kubelet's server listens (port 0 takes a free one).
    pub listen: SocketAddr,
    /// The node's InternalIP; found from the default route when absent.
    pub node_ip: Option<IpAddr>,
    /// Name servers of pods with dnsPolicy ClusterFirst.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of Services.
    pub cluster_domain: String,
    /// The resolver configuration that dnsPolicy Default hands on.
    pub resolv_conf: PathBuf,
    /// Folder (or file) of static pod manifests.
    pub static_pod_path: Option<PathBuf>,
    /// Most pods on the node.
    pub max_pods: u32,
    /// Name of the top cgroup; distinct for two clusters on one machine.
    pub cgroup_root: String,
    /// Where cgroups are mounted.
    pub cgroup_mount: PathBuf,
    /// Labels given to the Node when it registers.
    pub node_labels: BTreeMap<String, String>,
    /// Taints given to the Node when it is created.
    pub register_with_taints: Vec<Taint>,
    /// Resources kept from pods, by name (`cpu`, `memory`, `ephemeral-storage`), as quantities.
    pub reserved: BTreeMap<String, String>,
    /// When pods are evicted.
    pub eviction: EvictionThresholds,
    /// Images are collected above this percentage of disk use …
    pub image_gc_high_percent: u8,
    /// … down to this one.
    pub image_gc_low_percent: u8,
    /// Size at which a container's log is rotated.
    pub log_max_size: u64,
    /// Rotated logs kept beside the current one count into this number.
    pub log_max_files: u32,
    /// Pulls that may run at the same time on the node.
    pub parallel_pulls: usize,
}

impl Config {
    /// A configuration with upstream's defaults for everything that has one.
    pub fn new(
        node_name: impl Into<String>,
        root_dir: impl Into<PathBuf>,
        cri_socket: impl Into<PathBuf>,
        client: kube::Client,
    ) -> Self {
        let root_dir = root_dir.into();
        Self {
            node_name: node_name.into(),
            pod_logs_dir: root_dir.join("pod-logs"),
            root_dir,
            cri_socket: cri_socket.into(),
            client,
            tls: None,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 10250)),
            node_ip: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            static_pod_path: None,
            max_pods: 110,
            cgroup_root: "kubepods".to_owned(),
            cgroup_mount: PathBuf::from("/sys/fs/cgroup"),
            node_labels: BTreeMap::new(),
            register_with_taints: Vec::new(),
            reserved: BTreeMap::new(),
            eviction: EvictionThresholds::default(),
            image_gc_high_percent: 90,
            image_gc_low_percent: 85,
            log_max_size: 10 << 20,
            log_max_files: 5,
            parallel_pulls: 5,
        }
    }
}
