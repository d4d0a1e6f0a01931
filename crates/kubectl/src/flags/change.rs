//! What the commands take that change what is there, or run beside it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Selection;

/// What every command that writes takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Write {
    /// none, client, server.
    #[arg(long, default_value = "none", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: String,
    /// json, yaml, name, jsonpath=….
    #[arg(short, long)]
    pub output: Option<String>,
    /// Name of the manager of the fields.
    #[arg(long)]
    pub field_manager: Option<String>,
}

/// `patch`.
#[derive(Debug, Args)]
pub struct Patch {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// How it is written.
    #[command(flatten)]
    pub write: Write,
    /// The patch, in JSON or YAML.
    #[arg(short, long)]
    pub patch: Option<String>,
    /// A file with the patch.
    #[arg(long)]
    pub patch_file: Option<PathBuf>,
    /// strategic, merge, json.
    #[arg(long, default_value = "strategic")]
    pub r#type: String,
    /// Of this subresource: status, scale, resize.
    #[arg(long)]
    pub subresource: Option<String>,
}

/// `replace`.
#[derive(Debug, Args)]
pub struct Replace {
    /// Files, folders; `-` reads standard input.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub filename: Vec<String>,
    /// Folders are read with those in them.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Delete and create anew.
    #[arg(long)]
    pub force: bool,
    /// Seconds given to the object to end, with --force.
    #[arg(long, allow_negative_numbers = true)]
    pub grace_period: Option<i64>,
    /// How it is written.
    #[command(flatten)]
    pub write: Write,
}

/// `set`.
#[derive(Debug, Subcommand)]
pub enum Set {
    /// Update the image of a pod template.
    Image(SetPart),
    /// Update environment variables on a pod template.
    Env(SetPart),
    /// Update resource requests/limits on objects with pod templates.
    Resources(SetResources),
}

/// `set image`, `set env`.
#[derive(Debug, Args)]
pub struct SetPart {
    /// TYPE NAME KEY=VALUE…, TYPE/NAME KEY=VALUE….
    #[arg(required = true)]
    pub arguments: Vec<String>,
    /// How it is written.
    #[command(flatten)]
    pub write: Write,
    /// Objects by label.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// All objects of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// The containers; `*` means all.
    #[arg(short, long, default_value = "*")]
    pub containers: String,
    /// Show the variables there are.
    #[arg(long)]
    pub list: bool,
}

/// `set resources`.
#[derive(Debug, Args)]
pub struct SetResources {
    /// Which.
    #[command(flatten)]
    pub part: SetPart,
    /// cpu=…,memory=….
    #[arg(long)]
    pub limits: Option<String>,
    /// cpu=…,memory=….
    #[arg(long)]
    pub requests: Option<String>,
}

/// `expose`.
#[derive(Debug, Args)]
pub struct Expose {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// How it is written.
    #[command(flatten)]
    pub write: Write,
    /// The service's port; the containers' unless given.
    #[arg(long)]
    pub port: Option<String>,
    /// The containers' port, by number or name.
    #[arg(long)]
    pub target_port: Option<String>,
    /// TCP, UDP, SCTP.
    #[arg(long)]
    pub protocol: Option<String>,
    /// The service's name; the object's unless given.
    #[arg(long)]
    pub name: Option<String>,
    /// ClusterIP, NodePort, LoadBalancer, ExternalName.
    #[arg(long)]
    pub r#type: Option<String>,
    /// Labels of the service.
    #[arg(long)]
    pub labels: Option<String>,
    /// `None` makes it headless.
    #[arg(long)]
    pub cluster_ip: Option<String>,
    /// A further address that leads to it.
    #[arg(long)]
    pub external_ip: Option<String>,
    /// None, ClientIP.
    #[arg(long)]
    pub session_affinity: Option<String>,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The pod's name.
    pub name: String,
    /// The image.
    #[arg(long, required = true)]
    pub image: String,
    /// When it is pulled.
    #[arg(long)]
    pub image_pull_policy: Option<String>,
    /// The port it listens on.
    #[arg(long)]
    pub port: Option<i32>,
    /// KEY=VALUE.
    #[arg(long)]
    pub env: Vec<String>,
    /// KEY=VALUE,….
    #[arg(short, long)]
    pub labels: Option<String>,
    /// KEY=VALUE,….
    #[arg(long)]
    pub annotations: Vec<String>,
    /// Always, OnFailure, Never.
    #[arg(long, default_value = "Always")]
    pub restart: String,
    /// What follows `--` is the command, not its arguments.
    #[arg(long)]
    pub command: bool,
    /// Remove the pod when it is done.
    #[arg(long)]
    pub rm: bool,
    /// Keep standard input open.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// With a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Wait for the pod and attach to it.
    #[arg(long)]
    pub attach: bool,
    /// With the host's privileges.
    #[arg(long)]
    pub privileged: bool,
    /// Say only what the pod says.
    #[arg(short, long)]
    pub quiet: bool,
    /// Fields of the pod, as JSON, over what is made here.
    #[arg(long)]
    pub overrides: Option<String>,
    /// Seconds until the pod has to run.
    #[arg(long, default_value = "1m0s")]
    pub pod_running_timeout: String,
    /// How it is written.
    #[command(flatten)]
    pub write: Write,
    /// Arguments or command, after `--`.
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

/// `autoscale`.
#[derive(Debug, Args)]
pub struct Autoscale {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// How it is written.
    #[command(flatten)]
    pub write: Write,
    /// The fewest pods.
    #[arg(long)]
    pub min: Option<i32>,
    /// The most pods.
    #[arg(long, required = true)]
    pub max: i32,
    /// The average CPU use, in percent of what is requested.
    #[arg(long, allow_negative_numbers = true)]
    pub cpu_percent: Option<i32>,
    /// The average CPU use: 70%, 500m.
    #[arg(long)]
    pub cpu: Option<String>,
    /// The average memory use: 70%, 500Mi.
    #[arg(long)]
    pub memory: Option<String>,
    /// The autoscaler's name; the object's unless given.
    #[arg(long)]
    pub name: Option<String>,
}

/// `attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// POD or TYPE/NAME.
    pub target: String,
    /// The container.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Standard input is a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Say only what the container says.
    #[arg(short, long)]
    pub quiet: bool,
}

/// `cordon` and `uncordon`.
#[derive(Debug, Args)]
pub struct Nodes {
    /// Their names.
    #[arg(required_unless_present = "selector")]
    pub nodes: Vec<String>,
    /// By label.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// none, client, server.
    #[arg(long, default_value = "none", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: String,
}

/// `drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// Which.
    #[command(flatten)]
    pub nodes: Nodes,
    /// Go on where DaemonSets would make their pods anew.
    #[arg(long)]
    pub ignore_daemonsets: bool,
    /// Go on where emptyDir volumes are lost.
    #[arg(long)]
    pub delete_emptydir_data: bool,
    /// Go on where nothing makes the pods anew.
    #[arg(long)]
    pub force: bool,
    /// Seconds given to each pod to end; negative means the pod's own.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// How long to go on; 0 means for ever.
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    /// Only pods with these labels.
    #[arg(long)]
    pub pod_selector: Option<String>,
    /// Delete the pods whatever their budgets say.
    #[arg(long)]
    pub disable_eviction: bool,
}

/// `auth`.
#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Check whether an action is allowed.
    #[command(name = "can-i")]
    CanI {
        /// VERB [TYPE | TYPE/NAME | URL].
        arguments: Vec<String>,
        /// Of this subresource.
        #[arg(long)]
        subresource: Option<String>,
        /// Across all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// Print everything that is allowed.
        #[arg(long)]
        list: bool,
        /// Answer by the exit code only.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Check self subject attributes.
    Whoami {
        /// json, yaml.
        #[arg(short, long)]
        output: Option<String>,
    },
}

/// `events`.
#[derive(Debug, Args)]
pub struct EventsOf {
    /// Across all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// About this object: TYPE/NAME.
    #[arg(long = "for")]
    pub about: Option<String>,
    /// Normal, Warning.
    #[arg(long, value_delimiter = ',')]
    pub types: Vec<String>,
    /// Without headers.
    #[arg(long)]
    pub no_headers: bool,
    /// json, yaml.
    #[arg(short, long)]
    pub output: Option<String>,
}

/// `port-forward`.
#[derive(Debug, Args)]
pub struct PortForward {
    /// POD or TYPE/NAME.
    pub target: String,
    /// [LOCAL:]REMOTE.
    #[arg(required = true)]
    pub ports: Vec<String>,
    /// Addresses to listen on.
    #[arg(long, default_value = "localhost", value_delimiter = ',')]
    pub address: Vec<String>,
}
