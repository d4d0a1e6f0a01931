//! What can be asked: kubectl's syntax.

mod change;
mod create;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use change::*;
pub use create::*;

/// Controls a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl",
    disable_version_flag = true,
    arg_required_else_help = true
)]
pub struct Kubectl {
    /// How the cluster is reached.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Path to the kubeconfig file to use.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig context to use.
    #[arg(long, global = true, help_heading = "Connection")]
    pub context: Option<String>,
    /// The namespace of this request.
    #[arg(short, long, global = true, help_heading = "Connection")]
    pub namespace: Option<String>,
    /// Address of the API server, instead of the kubeconfig's.
    #[arg(
        short,
        long,
        global = true,
        value_name = "URL",
        help_heading = "Connection"
    )]
    pub server: Option<String>,
    /// Bearer token for the API server.
    #[arg(long, global = true, help_heading = "Connection")]
    pub token: Option<String>,
    /// Act as this user.
    #[arg(
        long = "as",
        global = true,
        value_name = "USER",
        help_heading = "Connection"
    )]
    pub impersonate: Option<String>,
    /// Act as a member of these groups.
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        help_heading = "Connection"
    )]
    pub impersonate_groups: Vec<String>,
    /// How long a single request may take: 5s, 2m; 0 means for ever.
    #[arg(long, global = true, default_value = "0", help_heading = "Connection")]
    pub request_timeout: String,
    /// Do not verify the server's certificate.
    #[arg(long, global = true, help_heading = "Connection")]
    pub insecure_skip_tls_verify: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Display one or many resources.
    Get(Get),
    /// Show details of a specific resource or group of resources.
    Describe(Describe),
    /// Apply a configuration to a resource by file name or stdin.
    Apply(Apply),
    /// Create a resource from a file or from stdin.
    Create(Create),
    /// Delete resources by file names, stdin, resources and names, or by resources and label selector.
    Delete(Delete),
    /// Print the logs for a container in a pod.
    Logs(Logs),
    /// Execute a command in a container.
    Exec(Exec),
    /// Set a new size for a deployment, replica set, or replication controller.
    Scale(Scale),
    /// Manage the rollout of a resource.
    #[command(subcommand)]
    Rollout(Rollout),
    /// Wait for a specific condition on one or many resources.
    Wait(Wait),
    /// Update the labels on a resource.
    Label(Mark),
    /// Update the annotations on a resource.
    Annotate(Mark),
    /// Print the supported API resources on the server.
    #[command(name = "api-resources")]
    ApiResources(ApiResources),
    /// Print the client and server version information.
    Version,
    /// Print the supported API versions on the server, in the form of "group/version".
    #[command(name = "api-versions")]
    ApiVersions,
    /// Update fields of a resource.
    Patch(Patch),
    /// Replace a resource by file name or stdin.
    Replace(Replace),
    /// Set specific features on objects.
    #[command(subcommand)]
    Set(Set),
    /// Take a resource and expose it as a new Kubernetes service.
    Expose(Expose),
    /// Run a particular image on the cluster.
    Run(Run),
    /// Auto-scale a deployment, replica set, stateful set, or replication controller.
    Autoscale(Autoscale),
    /// Attach to a running container.
    Attach(Attach),
    /// Mark node as unschedulable.
    Cordon(Nodes),
    /// Mark node as schedulable.
    Uncordon(Nodes),
    /// Drain node in preparation for maintenance.
    Drain(Drain),
    /// Update the taints on one or more nodes.
    Taint(Mark),
    /// Inspect authorization.
    #[command(subcommand)]
    Auth(Auth),
    /// List events.
    Events(EventsOf),
    /// Display cluster information.
    #[command(name = "cluster-info")]
    ClusterInfo,
    /// Forward one or more local ports to a pod.
    #[command(name = "port-forward")]
    PortForward(PortForward),
}

/// `api-resources`.
#[derive(Debug, Args)]
pub struct ApiResources {
    /// Only those in namespaces, or only the others.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub namespaced: Option<bool>,
    /// Only of this group.
    #[arg(long)]
    pub api_group: Option<String>,
    /// Only with these verbs.
    #[arg(long, value_delimiter = ',')]
    pub verbs: Vec<String>,
    /// Only in these categories.
    #[arg(long, value_delimiter = ',')]
    pub categories: Vec<String>,
    /// wide, name.
    #[arg(short, long)]
    pub output: Option<String>,
    /// Without headers.
    #[arg(long)]
    pub no_headers: bool,
    /// name, kind.
    #[arg(long)]
    pub sort_by: Option<String>,
}

/// Which objects.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// TYPE NAME…, TYPE/NAME…, or TYPE,TYPE….
    #[arg(value_name = "TYPE[/NAME]")]
    pub arguments: Vec<String>,
    /// Label query to filter on.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Field query to filter on.
    #[arg(long)]
    pub field_selector: Option<String>,
    /// Across all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Files, folders or addresses that name the objects; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<String>,
    /// Folders are read with those in them.
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// json, yaml, name, wide, jsonpath=…, custom-columns=….
    #[arg(short, long)]
    pub output: Option<String>,
    /// After listing, watch for changes.
    #[arg(short, long)]
    pub watch: bool,
    /// Watch for changes without listing first.
    #[arg(long)]
    pub watch_only: bool,
    /// Do not print headers.
    #[arg(long)]
    pub no_headers: bool,
    /// Add the labels as the last column.
    #[arg(long)]
    pub show_labels: bool,
    /// Add these labels as columns.
    #[arg(short = 'L', long, value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Keep managedFields when printing in JSON or YAML.
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Sort the list by this JSONPath expression.
    #[arg(long)]
    pub sort_by: Option<String>,
    /// Print nothing and succeed when the named object does not exist.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Print the server's answer to this path.
    #[arg(long, value_name = "PATH")]
    pub raw: Option<String>,
}

/// `describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// Show the events about the object; the default for one object, not for several.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub show_events: Option<bool>,
    /// Accepted for kubectl's sake: lists are asked for whole.
    #[arg(long, default_value_t = 500)]
    pub chunk_size: i64,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Files, folders; `-` reads standard input.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub filename: Vec<String>,
    /// Folders are read with those in them.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// The server merges, and knows who set which field.
    #[arg(long)]
    pub server_side: bool,
    /// Take over fields that others set (with --server-side).
    #[arg(long)]
    pub force_conflicts: bool,
    /// Name of the manager of the fields.
    #[arg(long)]
    pub field_manager: Option<String>,
    /// none, server.
    #[arg(long, default_value = "none")]
    pub dry_run: String,
    /// json, yaml, name.
    #[arg(short, long)]
    pub output: Option<String>,
    /// strict (or true), warn, ignore (or false).
    #[arg(long, default_value = "strict")]
    pub validate: String,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// All objects of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// Seconds given to the object to end.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// Remove from the API at once, whatever the node does.
    #[arg(long)]
    pub force: bool,
    /// End at once.
    #[arg(long)]
    pub now: bool,
    /// background, orphan, foreground.
    #[arg(long, default_value = "background", num_args = 0..=1, default_missing_value = "background", require_equals = true)]
    pub cascade: String,
    /// Wait until the objects are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub wait: bool,
    /// Treat what is not there as deleted.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Print names only.
    #[arg(short, long)]
    pub output: Option<String>,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// POD or TYPE/NAME.
    pub target: Option<String>,
    /// The container.
    pub container_name: Option<String>,
    /// The container.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pods by label.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Go on as more is written.
    #[arg(short, long)]
    pub follow: bool,
    /// Of the container's instance before this one.
    #[arg(short, long)]
    pub previous: bool,
    /// With times.
    #[arg(long)]
    pub timestamps: bool,
    /// The last lines only.
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Not older than this: 5s, 2m, 3h.
    #[arg(long)]
    pub since: Option<String>,
    /// All containers of the pod.
    #[arg(long)]
    pub all_containers: bool,
    /// Begin each line with pod and container.
    #[arg(long)]
    pub prefix: bool,
    /// At most so many bytes.
    #[arg(long)]
    pub limit_bytes: Option<i64>,
}

/// `exec`.
#[derive(Debug, Args)]
pub struct Exec {
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
    /// Command, after `--`.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// `scale`.
#[derive(Debug, Args)]
pub struct Scale {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// The new size.
    #[arg(long, required = true)]
    pub replicas: i32,
    /// Only when this is the size now.
    #[arg(long)]
    pub current_replicas: Option<i32>,
}

/// `rollout`.
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Show the status of the rollout.
    Status {
        /// Which.
        #[command(flatten)]
        selection: Selection,
        /// Watch until it is done.
        #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
        watch: bool,
        /// How long to watch: 30s, 5m; 0 means for ever.
        #[arg(long, default_value = "0s")]
        timeout: String,
    },
    /// View rollout history.
    History {
        /// Which.
        #[command(flatten)]
        selection: Selection,
        /// This one's pod template.
        #[arg(long, default_value_t = 0)]
        revision: i64,
    },
    /// Undo a previous rollout.
    Undo {
        /// Which.
        #[command(flatten)]
        selection: Selection,
        /// The revision to go back to; the last one unless given.
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
    },
    /// Restart a resource.
    Restart {
        /// Which.
        #[command(flatten)]
        selection: Selection,
    },
    /// Mark the resource as paused.
    Pause {
        /// Which.
        #[command(flatten)]
        selection: Selection,
    },
    /// Resume a paused resource.
    Resume {
        /// Which.
        #[command(flatten)]
        selection: Selection,
    },
}

/// `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// All objects of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// delete, create, condition=NAME[=VALUE], jsonpath={…}=VALUE.
    #[arg(long = "for", required = true)]
    pub condition: String,
    /// How long: 30s, 5m.
    #[arg(long, default_value = "30s")]
    pub timeout: String,
}

/// `label` and `annotate`.
#[derive(Debug, Args)]
pub struct Mark {
    /// TYPE NAME… KEY=VALUE… KEY-….
    #[arg(required = true)]
    pub arguments: Vec<String>,
    /// Objects by label.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// All objects of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// Change values that are there already.
    #[arg(long)]
    pub overwrite: bool,
    /// How it is written.
    #[command(flatten)]
    pub write: Write,
}
