//! Starting them all: which controllers there are, under which names they sign in and report events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use client::Context;
use ipnet::IpNet;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::kit::Kit;
use crate::{apps, batch, certificates, core, discovery, gc, node, policy, protection, rbac};

/// What the controllers are run with.
pub struct Config {
    /// The process's caches, clock, events; its client is used for reads only.
    pub context: Context,
    /// A client for each controller by its ServiceAccount's name (`deployment-controller`), so that
    /// each writes under its own identity and its own RBAC.
    pub clients: Arc<dyn Fn(&str) -> kube::Client + Send + Sync>,
    /// Nodes get their `podCIDR` out of this; without it none are given out.
    pub cluster_cidr: Option<IpNet>,
    /// The prefix length of a node's share.
    pub node_cidr_mask: u8,
    /// The certificate authority clients in pods trust; published into every namespace.
    pub root_ca_pem: String,
    /// Signs kubelets' client certificates; without it requests wait for someone else.
    pub signer: Option<Signer>,
    /// Concurrent reconciliations per controller.
    pub workers: usize,
    /// Names of controllers that stay off (`node-ipam-controller`).
    pub disabled: Vec<String>,
}

/// A certificate authority.
#[derive(Clone)]
pub struct Signer {
    /// Its certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

/// Why the controllers could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A controller ended before it was told to.
    #[error("controller ended unexpectedly: {0}")]
    Ended(String),
    /// The share of a node does not fit into the cluster's network.
    #[error("node network prefix /{mask} does not lie within the cluster network {cluster}")]
    Mask {
        /// The node's prefix length.
        mask: u8,
        /// The cluster's network.
        cluster: IpNet,
    },
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Entry {
    /// As `--controllers` knows it.
    name: &'static str,
    /// ServiceAccount.
    account: &'static str,
    /// Reporting component of its events.
    component: &'static str,
    start: fn(Kit, &Arc<Config>) -> Running,
}

/// Every controller there is.
const ENTRIES: &[Entry] = &[
    Entry {
        name: "deployment-controller",
        account: "deployment-controller",
        component: "deployment-controller",
        start: |kit, _| Box::pin(apps::deployment::run(kit)),
    },
    Entry {
        name: "replicaset-controller",
        account: "replicaset-controller",
        component: "replicaset-controller",
        start: |kit, _| Box::pin(apps::replicas::run::<ReplicaSet>(kit)),
    },
    Entry {
        name: "replicationcontroller-controller",
        account: "replication-controller",
        component: "replication-controller",
        start: |kit, _| Box::pin(apps::replicas::run::<ReplicationController>(kit)),
    },
    Entry {
        name: "endpoints-controller",
        account: "endpoint-controller",
        component: "endpoint-controller",
        start: |kit, _| Box::pin(discovery::endpoints::run(kit)),
    },
    Entry {
        name: "endpointslice-controller",
        account: "endpointslice-controller",
        component: "endpoint-slice-controller",
        start: |kit, _| Box::pin(discovery::slices::run(kit)),
    },
    Entry {
        name: "namespace-controller",
        account: "namespace-controller",
        component: "namespace-controller",
        start: |kit, _| Box::pin(core::namespace::run(kit)),
    },
    Entry {
        name: "serviceaccount-controller",
        account: "service-account-controller",
        component: "serviceaccount-controller",
        start: |kit, _| Box::pin(core::namespace_defaults::run_service_account(kit)),
    },
    Entry {
        name: "root-ca-certificate-publisher-controller",
        account: "root-ca-cert-publisher",
        component: "root-ca-cert-publisher",
        start: |kit, config| {
            Box::pin(core::namespace_defaults::run_root_ca(
                kit,
                config.root_ca_pem.clone(),
            ))
        },
    },
    Entry {
        name: "node-lifecycle-controller",
        account: "node-controller",
        component: "node-controller",
        start: |kit, _| Box::pin(node::lifecycle::run(kit)),
    },
    Entry {
        name: "taint-eviction-controller",
        account: "node-controller",
        component: "taint-eviction-controller",
        start: |kit, _| Box::pin(node::eviction::run(kit)),
    },
    Entry {
        name: "node-ipam-controller",
        account: "node-controller",
        component: "cidrAllocator",
        start: |kit, config| match config.cluster_cidr {
            Some(cluster) => Box::pin(node::ipam::run(kit, cluster, config.node_cidr_mask)),
            None => Box::pin(async move { kit.shutdown.cancelled().await }),
        },
    },
    Entry {
        name: "pod-garbage-collector-controller",
        account: "pod-garbage-collector",
        component: "pod-garbage-collector",
        start: |kit, _| Box::pin(core::pod_gc::run(kit)),
    },
    Entry {
        name: "garbage-collector-controller",
        account: "generic-garbage-collector",
        component: "garbage-collector-controller",
        start: |kit, _| Box::pin(gc::run(kit)),
    },
    Entry {
        name: "job-controller",
        account: "job-controller",
        component: "job-controller",
        start: |kit, _| Box::pin(batch::job::run(kit)),
    },
    Entry {
        name: "ttl-after-finished-controller",
        account: "ttl-after-finished-controller",
        component: "ttl-after-finished-controller",
        start: |kit, _| Box::pin(batch::ttl::run(kit)),
    },
    Entry {
        name: "daemonset-controller",
        account: "daemon-set-controller",
        component: "daemonset-controller",
        start: |kit, _| Box::pin(apps::daemonset::run(kit)),
    },
    Entry {
        name: "statefulset-controller",
        account: "statefulset-controller",
        component: "statefulset-controller",
        start: |kit, _| Box::pin(apps::statefulset::run(kit)),
    },
    Entry {
        name: "cronjob-controller",
        account: "cronjob-controller",
        component: "cronjob-controller",
        start: |kit, _| Box::pin(batch::cronjob::run(kit)),
    },
    Entry {
        name: "disruption-controller",
        account: "disruption-controller",
        component: "controllermanager",
        start: |kit, _| Box::pin(policy::disruption::run(kit)),
    },
    Entry {
        name: "resourcequota-controller",
        account: "resourcequota-controller",
        component: "resourcequota-controller",
        start: |kit, _| Box::pin(policy::quota::run(kit)),
    },
    Entry {
        name: "certificatesigningrequest-approving-controller",
        account: "certificate-controller",
        component: "csrapproving",
        start: |kit, _| Box::pin(certificates::approve::run(kit)),
    },
    Entry {
        name: "certificatesigningrequest-signing-controller",
        account: "certificate-controller",
        component: "csrsigning",
        start: |kit, config| match config.signer.clone() {
            Some(signer) => Box::pin(certificates::sign::run(kit, signer)),
            None => Box::pin(async move { kit.shutdown.cancelled().await }),
        },
    },
    Entry {
        name: "certificatesigningrequest-cleaner-controller",
        account: "certificate-controller",
        component: "csrcleaner",
        start: |kit, _| Box::pin(certificates::clean::run(kit)),
    },
    Entry {
        name: "clusterrole-aggregation-controller",
        account: "clusterrole-aggregation-controller",
        component: "clusterrole-aggregation-controller",
        start: |kit, _| Box::pin(rbac::run(kit)),
    },
    Entry {
        name: "persistentvolumeclaim-protection-controller",
        account: "pvc-protection-controller",
        component: "pvc-protection-controller",
        start: |kit, _| Box::pin(protection::run_claims(kit)),
    },
    Entry {
        name: "persistentvolume-protection-controller",
        account: "pv-protection-controller",
        component: "pv-protection-controller",
        start: |kit, _| Box::pin(protection::run_volumes(kit)),
    },
    Entry {
        name: "token-cleaner-controller",
        account: "token-cleaner",
        component: "token-cleaner",
        start: |kit, _| Box::pin(core::token_cleaner::run(kit)),
    },
];

/// The names of all controllers, for `disabled` and for help texts.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name)
}

/// Runs all controllers until `shutdown`; then waits for the reconciliations under way.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    if let Some(cluster) = config.cluster_cidr {
        let fits =
            (cluster.prefix_len()..=cluster.max_prefix_len()).contains(&config.node_cidr_mask);
        if !fits {
            return Err(RunError::Mask {
                mask: config.node_cidr_mask,
                cluster,
            });
        }
    }
    let config = Arc::new(config);
    let mut running = JoinSet::new();
    for entry in ENTRIES
        .iter()
        .filter(|entry| !config.disabled.iter().any(|name| name == entry.name))
    {
        let kit = Kit {
            name: entry.name,
            client: (config.clients)(entry.account),
            informers: config.context.informers.clone(),
            recorder: config.context.recorder.with_component(entry.component),
            clock: config.context.clock.clone(),
            random: config.context.random.clone(),
            metrics: config.context.metrics.clone(),
            workers: config.workers.max(1),
            shutdown: shutdown.clone(),
        };
        let start = (entry.start)(kit, &config);
        running.spawn(async move {
            start.await;
            entry.name
        });
    }
    info!(controllers = running.len(), "controllers started");
    while let Some(ended) = running.join_next().await {
        if shutdown.is_cancelled() {
            continue;
        }
        let name = match ended {
            Ok(name) => name.to_owned(),
            Err(panic) => panic.to_string(),
        };
        error!(name, "controller ended unexpectedly");
        shutdown.cancel();
        while running.join_next().await.is_some() {}
        return Err(RunError::Ended(name));
    }
    Ok(())
}
