//! `corten agent` and `corten token`: flags of a node that joins, and of what it joins with; and the
//! node's parts run alone.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use super::DataDir;

/// What any node is told that is no server.
#[derive(Clone, Debug, Args)]
pub struct NodeSettings {
    /// Where everything of the node is.
    #[command(flatten)]
    pub data: DataDir,
    /// The node's name; the machine's name unless given.
    #[arg(long, env = "CORTEN_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// The node's address; that of the default route unless given.
    #[arg(long, env = "CORTEN_NODE_IP", value_name = "IP")]
    pub node_ip: Option<IpAddr>,
    /// Labels for the node.
    #[arg(
        long,
        env = "CORTEN_NODE_LABELS",
        value_delimiter = ',',
        value_name = "KEY=VALUE,…"
    )]
    pub node_labels: Vec<String>,
    /// Address the kubelet listens on.
    #[arg(long, env = "CORTEN_BIND_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED), value_name = "IP")]
    pub bind_address: IpAddr,
    /// Port of the kubelet.
    #[arg(
        long,
        env = "CORTEN_KUBELET_PORT",
        default_value_t = 10250,
        value_name = "PORT"
    )]
    pub kubelet_port: u16,
    /// Most pods on the node.
    #[arg(long, env = "CORTEN_MAX_PODS", default_value_t = 110, value_name = "N")]
    pub max_pods: u32,
    /// Socket of another container runtime (containerd); Corten's own runs unless given.
    #[arg(long, env = "CORTEN_CONTAINER_RUNTIME_ENDPOINT", value_name = "PATH")]
    pub container_runtime_endpoint: Option<PathBuf>,
    /// Resolver configuration that pods with dnsPolicy Default get.
    #[arg(
        long,
        env = "CORTEN_RESOLV_CONF",
        default_value = "/etc/resolv.conf",
        value_name = "FILE"
    )]
    pub resolv_conf: PathBuf,
    /// Folder of CNI configurations; with it, CNI plugins make the pod network.
    #[arg(long, env = "CORTEN_CNI_CONF_DIR", value_name = "DIR")]
    pub cni_conf_dir: Option<PathBuf>,
    /// Folder of CNI plugins; /opt/cni/bin and /usr/lib/cni unless given.
    #[arg(long, env = "CORTEN_CNI_BIN_DIR", value_name = "DIR")]
    pub cni_bin_dir: Option<PathBuf>,
}

/// `corten agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentSettings {
    /// The API to join, such as https://192.0.2.2:6443.
    #[arg(long, env = "CORTEN_SERVER", value_name = "URL")]
    pub server: String,
    /// What `corten token create` printed; needed until the node has its certificate.
    #[arg(
        long,
        env = "CORTEN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// The cluster's certificate authority, where the token does not name it.
    #[arg(long, env = "CORTEN_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// What every node takes.
    #[command(flatten)]
    pub node: NodeSettings,
}

/// `corten kubelet`.
#[derive(Clone, Debug, Args)]
pub struct KubeletSettings {
    /// How to reach the API, as the user of this node.
    #[arg(long, env = "CORTEN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// What every node takes.
    #[command(flatten)]
    pub node: NodeSettings,
}

/// `corten proxy`.
#[derive(Clone, Debug, Args)]
pub struct ProxySettings {
    /// How to reach the API.
    #[arg(long, env = "CORTEN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Whose rules these are: tells them from those of another cluster on this machine.
    #[command(flatten)]
    pub data: DataDir,
    /// The node's name; the machine's name unless given.
    #[arg(long, env = "CORTEN_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Addresses pods get theirs from; an IPv6 network may stand beside the IPv4 one after a comma.
    #[arg(
        long,
        env = "CORTEN_CLUSTER_CIDR",
        default_value = "10.244.0.0/16",
        value_name = "CIDR[,CIDR]"
    )]
    pub cluster_cidr: String,
}

/// `corten token`.
#[derive(Clone, Debug, Args)]
pub struct TokenSettings {
    /// Whose cluster.
    #[command(flatten)]
    pub data: DataDir,
    /// What to do.
    #[command(subcommand)]
    pub action: TokenAction,
}

/// What to do with tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenAction {
    /// Make a token that nodes can join with, and print it.
    Create {
        /// Hours it holds; 0 means for ever.
        #[arg(long, default_value_t = 24, value_name = "HOURS")]
        ttl: u32,
        /// What it is for.
        #[arg(long)]
        description: Option<String>,
    },
    /// List tokens.
    List,
    /// Take tokens away; nodes that have joined stay.
    Delete {
        /// Their first halves.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}
