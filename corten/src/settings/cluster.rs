//! `corten server`: flags of the whole cluster on one machine.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use super::{DataDir, ShareSizes};

/// Parts that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// No node on this machine.
    Kubelet,
    /// Pods are placed by another scheduler.
    Scheduler,
    /// Controllers run elsewhere.
    ControllerManager,
    /// No Services on this node.
    Proxy,
    /// No name service.
    Dns,
}

/// `corten server`.
#[derive(Clone, Debug, Args)]
pub struct ServerSettings {
    /// Where everything is.
    #[command(flatten)]
    pub data: DataDir,
    /// Configuration file: YAML whose keys are these flags' names.
    #[arg(long, env = "CORTEN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Parts to leave out.
    #[arg(
        long,
        env = "CORTEN_DISABLE",
        value_enum,
        value_delimiter = ',',
        value_name = "PART,…"
    )]
    pub disable: Vec<Part>,

    /// Configuration of the scheduler: a KubeSchedulerConfiguration of
    /// kubescheduler.config.k8s.io/v1.
    #[arg(long, env = "CORTEN_SCHEDULER_CONFIG", value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,

    /// Address the API listens on.
    #[arg(long, env = "CORTEN_BIND_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED), value_name = "IP", help_heading = "API")]
    pub bind_address: IpAddr,
    /// Port the API listens on.
    #[arg(
        long,
        env = "CORTEN_HTTPS_LISTEN_PORT",
        default_value_t = 6443,
        value_name = "PORT",
        help_heading = "API"
    )]
    pub https_listen_port: u16,
    /// Further names and addresses the API's certificate should hold.
    #[arg(
        long,
        env = "CORTEN_TLS_SAN",
        value_delimiter = ',',
        value_name = "NAME,…",
        help_heading = "API"
    )]
    pub tls_san: Vec<String>,
    /// Addresses Services get theirs from: an IPv4 network. There are no Services of IPv6.
    #[arg(
        long,
        env = "CORTEN_SERVICE_CIDR",
        default_value = "10.96.0.0/16",
        value_name = "CIDR",
        help_heading = "API"
    )]
    pub service_cidr: String,
    /// Ports NodePort Services get theirs from.
    #[arg(
        long,
        env = "CORTEN_SERVICE_NODE_PORT_RANGE",
        default_value = "30000-32767",
        value_name = "A-B",
        help_heading = "API"
    )]
    pub service_node_port_range: String,
    /// Versions of the API to serve beside the stable ones, or not to serve: api/all=true, api/beta=true,
    /// api/alpha=true, GROUP/VERSION=true, GROUP/VERSION/RESOURCE=false.
    #[arg(
        long,
        env = "CORTEN_RUNTIME_CONFIG",
        value_delimiter = ',',
        value_name = "KEY=VALUE,…",
        help_heading = "API"
    )]
    pub runtime_config: Vec<String>,
    /// What to record of requests: a Policy of audit.k8s.io/v1; everything at level Metadata unless
    /// given.
    #[arg(
        long,
        env = "CORTEN_AUDIT_POLICY_FILE",
        value_name = "FILE",
        help_heading = "API"
    )]
    pub audit_policy_file: Option<PathBuf>,
    /// Where to write the audit log, - for standard output; none is written unless given.
    #[arg(
        long,
        alias = "audit-log",
        env = "CORTEN_AUDIT_LOG_PATH",
        value_name = "FILE",
        help_heading = "API"
    )]
    pub audit_log_path: Option<PathBuf>,
    /// Megabytes the audit log grows to before it is put aside.
    #[arg(
        long,
        env = "CORTEN_AUDIT_LOG_MAXSIZE",
        default_value_t = 100,
        value_name = "MB",
        help_heading = "API"
    )]
    pub audit_log_maxsize: u64,
    /// How many audit logs that were put aside to keep; 0 for all.
    #[arg(
        long,
        env = "CORTEN_AUDIT_LOG_MAXBACKUP",
        default_value_t = 0,
        value_name = "N",
        help_heading = "API"
    )]
    pub audit_log_maxbackup: usize,
    /// Days to keep audit logs that were put aside; 0 for ever.
    #[arg(
        long,
        env = "CORTEN_AUDIT_LOG_MAXAGE",
        default_value_t = 0,
        value_name = "DAYS",
        help_heading = "API"
    )]
    pub audit_log_maxage: u32,

    /// The node's name; the machine's name unless given.
    #[arg(
        long,
        env = "CORTEN_NODE_NAME",
        value_name = "NAME",
        help_heading = "Node"
    )]
    pub node_name: Option<String>,
    /// The node's address; that of the default route unless given.
    #[arg(long, env = "CORTEN_NODE_IP", value_name = "IP", help_heading = "Node")]
    pub node_ip: Option<IpAddr>,
    /// Labels for the node.
    #[arg(
        long,
        env = "CORTEN_NODE_LABELS",
        value_delimiter = ',',
        value_name = "KEY=VALUE,…",
        help_heading = "Node"
    )]
    pub node_labels: Vec<String>,
    /// Port of the kubelet.
    #[arg(
        long,
        env = "CORTEN_KUBELET_PORT",
        default_value_t = 10250,
        value_name = "PORT",
        help_heading = "Node"
    )]
    pub kubelet_port: u16,
    /// Most pods on the node.
    #[arg(
        long,
        env = "CORTEN_MAX_PODS",
        default_value_t = 110,
        value_name = "N",
        help_heading = "Node"
    )]
    pub max_pods: u32,
    /// Folder or file of static pods: manifests of pods that this node runs by itself.
    #[arg(
        long,
        env = "CORTEN_POD_MANIFEST_PATH",
        value_name = "PATH",
        help_heading = "Node"
    )]
    pub pod_manifest_path: Option<PathBuf>,
    /// Socket of another container runtime (containerd); Corten's own runs unless given.
    #[arg(
        long,
        env = "CORTEN_CONTAINER_RUNTIME_ENDPOINT",
        value_name = "PATH",
        help_heading = "Node"
    )]
    pub container_runtime_endpoint: Option<PathBuf>,
    /// Resolver configuration that pods with dnsPolicy Default get, and whose servers DNS asks.
    #[arg(
        long,
        env = "CORTEN_RESOLV_CONF",
        default_value = "/etc/resolv.conf",
        value_name = "FILE",
        help_heading = "Node"
    )]
    pub resolv_conf: PathBuf,

    /// Addresses pods get theirs from: an IPv4 network. With --cni-conf-dir or another container
    /// runtime an IPv6 network may stand beside it after a comma; Corten's own pod network serves
    /// IPv4 alone.
    #[arg(
        long,
        env = "CORTEN_CLUSTER_CIDR",
        default_value = "10.244.0.0/16",
        value_name = "CIDR[,CIDR]",
        help_heading = "Network"
    )]
    pub cluster_cidr: String,
    /// How large a node's part is.
    #[command(flatten)]
    pub shares: ShareSizes,
    /// Domain of Services.
    #[arg(
        long,
        env = "CORTEN_CLUSTER_DOMAIN",
        default_value = "cluster.local",
        value_name = "DOMAIN",
        help_heading = "Network"
    )]
    pub cluster_domain: String,
    /// Folder of CNI configurations; with it, CNI plugins make the pod network instead of Corten's
    /// own bridge.
    #[arg(
        long,
        env = "CORTEN_CNI_CONF_DIR",
        value_name = "DIR",
        help_heading = "Network"
    )]
    pub cni_conf_dir: Option<PathBuf>,
    /// Folder of CNI plugins; /opt/cni/bin and /usr/lib/cni unless given.
    #[arg(
        long,
        env = "CORTEN_CNI_BIN_DIR",
        value_name = "DIR",
        help_heading = "Network"
    )]
    pub cni_bin_dir: Option<PathBuf>,
}

impl ServerSettings {
    /// Whether a part runs.
    pub fn runs(&self, part: Part) -> bool {
        !self.disable.contains(&part)
    }
}
