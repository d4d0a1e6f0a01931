//! `corten node-sim`: how many nodes, what they are like, and which cluster they join.

use std::path::PathBuf;

use clap::Args;

/// `corten node-sim`.
#[derive(Clone, Debug, Args)]
pub struct NodeSimSettings {
    /// How many nodes.
    #[arg(long, env = "CORTEN_SIM_NODES", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub nodes: u32,
    /// The cluster to join: a kubeconfig.
    #[arg(
        long,
        env = "CORTEN_KUBECONFIG",
        value_name = "FILE",
        required_unless_present = "server",
        conflicts_with = "server"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster to join: its URL, with --token.
    #[arg(
        long,
        env = "CORTEN_SERVER",
        value_name = "URL",
        requires = "token",
        requires = "certificate_authority"
    )]
    pub server: Option<String>,
    /// A bearer token for --server.
    #[arg(long, env = "CORTEN_TOKEN", value_name = "TOKEN", requires = "server")]
    pub token: Option<String>,
    /// The certificate authority of --server, in PEM.
    #[arg(
        long,
        env = "CORTEN_CERTIFICATE_AUTHORITY",
        value_name = "FILE",
        requires = "server"
    )]
    pub certificate_authority: Option<PathBuf>,
    /// Nodes are named this and a number from 0.
    #[arg(
        long,
        env = "CORTEN_SIM_PREFIX",
        default_value = "sim-",
        value_name = "TEXT"
    )]
    pub prefix: String,
    /// What each node has.
    #[arg(
        long,
        env = "CORTEN_SIM_CAPACITY",
        value_delimiter = ',',
        default_value = "cpu=32,memory=256Gi,ephemeral-storage=200Gi,pods=110",
        value_name = "NAME=AMOUNT,…",
        value_parser = pair
    )]
    pub capacity: Vec<(String, String)>,
    /// Labels of every node.
    #[arg(long, env = "CORTEN_SIM_LABELS", value_delimiter = ',', value_name = "KEY=VALUE,…", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Zones the nodes are dealt out to; 0 for none.
    #[arg(long, env = "CORTEN_SIM_ZONES", default_value_t = 3, value_name = "N")]
    pub zones: u32,
    /// Seconds between two heartbeats of a node.
    #[arg(long, env = "CORTEN_SIM_HEARTBEAT", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub heartbeat: u64,
    /// Seconds a pod takes to stop, at most its grace period.
    #[arg(
        long,
        env = "CORTEN_SIM_STOP",
        default_value_t = 1,
        value_name = "SECONDS"
    )]
    pub stop: u64,
    /// Writes under way at once.
    #[arg(long, env = "CORTEN_SIM_WRITES", default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub writes: u16,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form KEY=VALUE")),
    }
}
