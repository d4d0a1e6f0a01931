//! What `create` takes, generator by generator.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Files, folders; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<String>,
    /// Folders are read with those in them.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// What to create without a file.
    #[command(subcommand)]
    pub generator: Option<Generator>,
    /// none, client, server.
    #[arg(long, default_value = "none", global = true)]
    pub dry_run: String,
    /// json, yaml, name.
    #[arg(short, long, global = true)]
    pub output: Option<String>,
}

/// What `create` makes from flags.
#[derive(Debug, Subcommand)]
pub enum Generator {
    /// Create a namespace.
    #[command(alias = "ns")]
    Namespace {
        /// Its name.
        name: String,
    },
    /// Create a deployment.
    #[command(alias = "deploy")]
    Deployment {
        /// Its name.
        name: String,
        /// Image to run.
        #[arg(long, required = true)]
        image: Vec<String>,
        /// How many.
        #[arg(short, long, default_value_t = 1)]
        replicas: i32,
        /// Port the container exposes.
        #[arg(long)]
        port: Option<i32>,
        /// Command, after `--`.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Create a config map from literals and files.
    #[command(alias = "cm")]
    Configmap(Literals),
    /// Create a service account.
    #[command(alias = "sa")]
    Serviceaccount {
        /// Its name.
        name: String,
    },
    /// Create a secret.
    #[command(subcommand)]
    Secret(SecretKind),
    /// Create a service.
    #[command(alias = "svc", subcommand)]
    Service(ServiceKind),
    /// Create a job.
    Job {
        /// Its name.
        name: String,
        /// Image to run.
        #[arg(long)]
        image: Option<String>,
        /// Take the job of this: cronjob/NAME.
        #[arg(long)]
        from: Option<String>,
        /// Command, after `--`.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Create a cron job.
    #[command(alias = "cj")]
    Cronjob {
        /// Its name.
        name: String,
        /// Image to run.
        #[arg(long, required = true)]
        image: String,
        /// When, in cron's words.
        #[arg(long, required = true)]
        schedule: String,
        /// OnFailure, Never.
        #[arg(long, default_value = "OnFailure")]
        restart: String,
        /// Command, after `--`.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Create a role.
    Role(RoleRules),
    /// Create a cluster role.
    Clusterrole(RoleRules),
    /// Create a role binding for a particular role or cluster role.
    Rolebinding(Binding),
    /// Create a cluster role binding for a particular cluster role.
    Clusterrolebinding(Binding),
    /// Request a service account token.
    Token {
        /// The service account.
        name: String,
        /// Whom the token is meant for.
        #[arg(long)]
        audience: Vec<String>,
        /// How long it is good: 10m, 24h.
        #[arg(long)]
        duration: Option<String>,
    },
    /// Create a quota.
    #[command(alias = "resourcequota")]
    Quota {
        /// Its name.
        name: String,
        /// cpu=1,pods=2,….
        #[arg(long)]
        hard: Option<String>,
        /// Scopes, by comma.
        #[arg(long)]
        scopes: Option<String>,
    },
    /// Create a pod disruption budget.
    #[command(alias = "pdb")]
    Poddisruptionbudget {
        /// Its name.
        name: String,
        /// The pods it is about.
        #[arg(long, required = true)]
        selector: String,
        /// How many, or what part of them, have to be there.
        #[arg(long)]
        min_available: Option<String>,
        /// How many, or what part of them, may be away.
        #[arg(long)]
        max_unavailable: Option<String>,
    },
    /// Create a priority class.
    #[command(alias = "pc")]
    Priorityclass {
        /// Its name.
        name: String,
        /// The priority.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        value: i64,
        /// For pods that name none.
        #[arg(long)]
        global_default: bool,
        /// When to use it.
        #[arg(long, default_value = "")]
        description: String,
        /// PreemptLowerPriority, Never.
        #[arg(long, default_value = "PreemptLowerPriority")]
        preemption_policy: String,
    },
}

/// Kinds of secrets.
#[derive(Debug, Subcommand)]
pub enum SecretKind {
    /// Create a secret from a local file, directory, or literal value.
    Generic {
        /// What is in it.
        #[command(flatten)]
        literals: Literals,
        /// The secret's type.
        #[arg(long)]
        r#type: Option<String>,
    },
    /// Create a TLS secret.
    Tls {
        /// Its name.
        name: String,
        /// File of the certificate.
        #[arg(long, required = true)]
        cert: PathBuf,
        /// File of the key.
        #[arg(long, required = true)]
        key: PathBuf,
    },
    /// Create a secret for use with a registry of images.
    #[command(name = "docker-registry")]
    DockerRegistry {
        /// Its name.
        name: String,
        /// The registry.
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        /// Who asks it.
        #[arg(long, required = true)]
        docker_username: String,
        /// With what password.
        #[arg(long, required = true)]
        docker_password: String,
        /// At what address.
        #[arg(long)]
        docker_email: Option<String>,
    },
}

/// Kinds of services.
#[derive(Debug, Subcommand)]
pub enum ServiceKind {
    /// Create a ClusterIP service.
    Clusterip(ServicePorts),
    /// Create a NodePort service.
    Nodeport(ServicePorts),
    /// Create a LoadBalancer service.
    Loadbalancer(ServicePorts),
    /// Create an ExternalName service.
    Externalname {
        /// Its ports.
        #[command(flatten)]
        ports: ServicePorts,
        /// The name it stands for.
        #[arg(long, required = true)]
        external_name: String,
    },
}

/// What services are made of.
#[derive(Debug, Args)]
pub struct ServicePorts {
    /// The service's name.
    pub name: String,
    /// PORT[:TARGET].
    #[arg(long, value_delimiter = ',')]
    pub tcp: Vec<String>,
    /// `None` makes it headless.
    #[arg(long)]
    pub clusterip: Option<String>,
    /// The port on every node.
    #[arg(long)]
    pub node_port: Option<i32>,
}

/// What roles are made of.
#[derive(Debug, Args)]
pub struct RoleRules {
    /// The role's name.
    pub name: String,
    /// Verbs.
    #[arg(long, value_delimiter = ',')]
    pub verb: Vec<String>,
    /// Resources: pods, deployments.apps/scale.
    #[arg(long, value_delimiter = ',')]
    pub resource: Vec<String>,
    /// Objects by name.
    #[arg(long)]
    pub resource_name: Vec<String>,
    /// Paths that are no resources.
    #[arg(long, value_delimiter = ',')]
    pub non_resource_url: Vec<String>,
}

/// What bindings are made of.
#[derive(Debug, Args)]
pub struct Binding {
    /// The binding's name.
    pub name: String,
    /// The role.
    #[arg(long)]
    pub role: Option<String>,
    /// The cluster role.
    #[arg(long)]
    pub clusterrole: Option<String>,
    /// Users.
    #[arg(long)]
    pub user: Vec<String>,
    /// Groups.
    #[arg(long)]
    pub group: Vec<String>,
    /// NAMESPACE:NAME.
    #[arg(long)]
    pub serviceaccount: Vec<String>,
}

/// Keys and values on the command line.
#[derive(Debug, Args)]
pub struct Literals {
    /// The object's name.
    pub name: String,
    /// KEY=VALUE.
    #[arg(long)]
    pub from_literal: Vec<String>,
    /// [KEY=]FILE.
    #[arg(long)]
    pub from_file: Vec<String>,
    /// A file of KEY=VALUE lines.
    #[arg(long)]
    pub from_env_file: Vec<String>,
}
