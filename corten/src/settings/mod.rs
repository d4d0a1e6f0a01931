//! What the user decides: flags, `CORTEN_…` variables and the configuration file are one table, the
//! clap definitions here. A flag beats a variable, a variable beats the file, the file beats the
//! default.

pub mod agent;
pub mod cluster;
mod file;
pub mod image;
pub mod node_sim;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::{
    agent::{AgentSettings, KubeletSettings, ProxySettings, TokenSettings},
    cluster::ServerSettings,
    image::ImageSettings,
    node_sim::NodeSimSettings,
};

/// Kubernetes in one program.
#[derive(Debug, Parser)]
#[command(
    name = "corten",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
    /// How much to log: error, warn, info, debug, trace; or per part, like `warn,kubelet=debug`.
    #[arg(
        long,
        global = true,
        env = "CORTEN_LOG",
        default_value = "warn",
        value_name = "LEVELS"
    )]
    pub log: String,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cluster on this machine: control plane and node.
    Server(Box<ServerSettings>),
    /// Run a node of a cluster whose control plane runs elsewhere.
    Agent(Box<AgentSettings>),
    /// Make, list and take away the tokens that nodes join with.
    Token(TokenSettings),
    /// Run the API server alone, with its store.
    Apiserver(Box<ServerSettings>),
    /// Run the kubelet alone, with the runtime and the pods' network it needs.
    Kubelet(Box<KubeletSettings>),
    /// Run the service proxy alone.
    Proxy(ProxySettings),
    /// Run the scheduler alone, against the cluster of a kubeconfig.
    Scheduler(SchedulerSettings),
    /// Run the controllers alone, against the cluster of a kubeconfig.
    #[command(name = "controller-manager")]
    ControllerManager(ControllerSettings),
    /// Simulate nodes that run pods without containers, to load any Kubernetes cluster.
    #[command(name = "node-sim")]
    NodeSim(Box<NodeSimSettings>),
    /// Look at and change the images of this machine's node.
    Image(ImageSettings),
    /// Stop every pod of a data directory and take away what they left on this machine.
    Reset(ResetSettings),
    /// The command line of Kubernetes; also when the program is called by the name kubectl.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Everything kubectl takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The programs of the built-in image corten.local/tools.
    #[command(disable_help_flag = true)]
    Tools {
        /// Program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Where everything of a cluster is kept.
#[derive(Clone, Debug, Args)]
pub struct DataDir {
    /// Where the cluster's data is kept: store, keys, images, pods.
    #[arg(
        long,
        global = true,
        env = "CORTEN_DATA_DIR",
        default_value = "/var/lib/corten",
        value_name = "DIR",
        value_parser = absolute
    )]
    pub data_dir: PathBuf,
}

/// Mounts and other processes are told the path too, and they stand elsewhere.
fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|e| e.to_string())
}

/// A part run alone.
#[derive(Clone, Debug, Args)]
pub struct PartSettings {
    /// How to reach the API.
    #[arg(long, env = "CORTEN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Name of this instance among several of which one works; the machine's name unless given.
    #[arg(long, env = "CORTEN_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// Serve /metrics, /healthz, /livez and /readyz here by HTTP, such as 127.0.0.1:10257. Loopback
    /// addresses only: it is not encrypted.
    #[arg(long, env = "CORTEN_METRICS_ADDRESS", value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub metrics_address: Option<SocketAddr>,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "not an address and a port, such as 127.0.0.1:10257".to_owned())?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err("not a loopback address: what is served there is not encrypted".to_owned()),
    }
}

/// The scheduler run alone.
#[derive(Clone, Debug, Args)]
pub struct SchedulerSettings {
    /// What every part takes.
    #[command(flatten)]
    pub part: PartSettings,
    /// Configuration: a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1.
    #[arg(long, env = "CORTEN_SCHEDULER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How large a node's part of the pods' networks is.
#[derive(Clone, Copy, Debug, Args)]
pub struct ShareSizes {
    /// Prefix length of a node's part of the pods' IPv4 network.
    #[arg(
        long,
        env = "CORTEN_NODE_CIDR_MASK_SIZE_IPV4",
        default_value_t = 24,
        value_name = "BITS",
        help_heading = "Network"
    )]
    pub node_cidr_mask_size_ipv4: u8,
    /// Prefix length of a node's part of the pods' IPv6 network.
    #[arg(
        long,
        env = "CORTEN_NODE_CIDR_MASK_SIZE_IPV6",
        default_value_t = 64,
        value_name = "BITS",
        help_heading = "Network"
    )]
    pub node_cidr_mask_size_ipv6: u8,
}

/// The controllers run alone.
#[derive(Clone, Debug, Args)]
pub struct ControllerSettings {
    /// What every part takes.
    #[command(flatten)]
    pub part: PartSettings,
    /// Addresses pods get theirs from, out of which each node is given a part: an IPv4 network, an
    /// IPv6 network, or one of each with a comma between.
    #[arg(
        long,
        env = "CORTEN_CLUSTER_CIDR",
        default_value = "10.244.0.0/16",
        value_name = "CIDR[,CIDR]"
    )]
    pub cluster_cidr: String,
    /// How large a node's part is.
    #[command(flatten)]
    pub shares: ShareSizes,
    /// Certificate authority that pods should trust, published in every namespace.
    #[arg(long, env = "CORTEN_ROOT_CA_FILE", value_name = "FILE")]
    pub root_ca_file: PathBuf,
}

/// `corten reset`.
#[derive(Clone, Debug, Args)]
pub struct ResetSettings {
    /// Which cluster.
    #[command(flatten)]
    pub data: DataDir,
    /// Do it without asking.
    #[arg(long)]
    pub yes: bool,
}

/// Reads the command line, the environment and the configuration file; ends the process with a
/// message when they are wrong or when help was asked for.
pub fn read(arguments: Vec<OsString>) -> Cli {
    let command = match file::apply(Cli::command(), &arguments) {
        Ok(command) => command,
        Err(error) => Cli::command()
            .error(clap::error::ErrorKind::ValueValidation, error)
            .exit(),
    };
    let matches = command.get_matches_from(arguments);
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    }
}

/// What a server is told when it is told nothing.
pub fn server_defaults() -> anyhow::Result<ServerSettings> {
    match Cli::try_parse_from(["corten", "server"])?.command {
        Command::Server(settings) => Ok(*settings),
        other => anyhow::bail!("{other:?} is no server"),
    }
}

#[cfg(test)]
mod tests;
