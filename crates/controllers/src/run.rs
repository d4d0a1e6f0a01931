//! Starting them all: which controllers there are, under which names they sign in and report events.

use std::sync::Arc;

use client::Context;
use futures::future::BoxFuture;
use ipnet::IpNet;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::entries::ENTRIES;
use crate::kit::Kit;
use crate::node::NodeNetwork;

/// What the controllers are run with.
pub struct Config {
    /// The process's caches, clock, events; its client is used for reads, and where a
    /// controller works under the manager's own identity.
    pub context: Context,
    /// A client for each controller by its ServiceAccount's name (`deployment-controller`), so that
    /// each writes under its own identity and its own RBAC.
    pub clients: Arc<dyn Fn(&str) -> kube::Client + Send + Sync>,
    /// Nodes get their `podCIDRs` out of these, one of each; without any none are given out.
    pub node_networks: Vec<NodeNetwork>,
    /// The certificate authority clients in pods trust; published into every namespace.
    pub root_ca_pem: String,
    /// Signs kubelets' client certificates; without it requests wait for someone else.
    pub signer: Option<Signer>,
    /// Services of type LoadBalancer get the nodes' addresses, except on these ports, which the nodes
    /// listen on themselves; without it such Services wait for someone else.
    pub load_balancer_reserved_ports: Option<Vec<u16>>,
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

/// The names of all controllers, for `disabled` and for help texts.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name)
}

/// Runs all controllers until `shutdown`; then waits for the reconciliations under way.
pub fn run(
    config: Config,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), RunError>> {
    Box::pin(async move {
        for NodeNetwork { cluster, mask } in config.node_networks.iter().copied() {
            if !(cluster.prefix_len()..=cluster.max_prefix_len()).contains(&mask) {
                return Err(RunError::Mask { mask, cluster });
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
                queue: entry.queue,
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
    })
}
