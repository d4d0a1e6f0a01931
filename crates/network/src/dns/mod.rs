//! The cluster's DNS: one server per node, on an address only that node's pods and processes reach.
//!
//! The flow: informers feed [`zone`], which knows names and answers purely; [`server`] reads
//! requests, [`resolver`] asks the zone and, for names outside the cluster, [`forward`] the node's
//! own name servers, with a cache; [`reply`] writes messages. [`publish`] makes the Service through
//! which pods find it.

mod cache;
mod forward;
mod metrics;
mod publish;
mod reply;
mod resolver;
mod server;
#[cfg(test)]
mod tests;
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use client::Informers;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::services::{Objects, Sources};
use forward::Forwarder;
pub use forward::Upstreams;
pub use metrics::Metrics;
pub use publish::{Publication, ensure_service};
use reply::Origin;
use resolver::Resolver;
use server::Sockets;
use zone::Zone;

/// What the server is told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where to listen, UDP and TCP; an address that no interface has yet is fine.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain, `cluster.local`.
    pub cluster_domain: String,
    /// Who answers for other names.
    pub upstreams: Upstreams,
    /// Address of the service `kube-system/kube-dns`; none leaves the service alone.
    pub service_ip: Option<IpAddr>,
    /// This node's name, for its part of that service.
    pub node_name: String,
    /// What to count with.
    pub metrics: Metrics,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is none.
    #[error("dns: cluster domain {domain:?}: {reason}")]
    Domain {
        /// The domain.
        domain: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("dns: listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error.
        source: std::io::Error,
    },
}

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct Server {
    config: Config,
    sockets: Vec<Sockets>,
    resolver: Arc<Resolver>,
}

impl Server {
    /// Binds the addresses. Must be called within a tokio runtime.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let origin = Origin::new(&config.cluster_domain).map_err(|error| Error::Domain {
            domain: config.cluster_domain.clone(),
            reason: error.to_string(),
        })?;
        let bind = |address: &SocketAddr| {
            Sockets::bind(*address).map_err(|source| Error::Listen {
                address: *address,
                source,
            })
        };
        let sockets = config
            .listen
            .iter()
            .map(bind)
            .collect::<Result<Vec<_>, _>>()?;
        let mut own: Vec<IpAddr> = sockets
            .iter()
            .filter(|s| s.address.port() == 53)
            .map(|s| s.address.ip())
            .collect();
        own.extend(config.service_ip);
        let resolver = Arc::new(Resolver {
            origin,
            zone: RwLock::new(Zone::new(config.service_ip)),
            ready: AtomicBool::new(false),
            serial: AtomicU32::new(1),
            forwarder: Forwarder::new(config.upstreams.clone(), own),
        });
        Ok(Self {
            config,
            sockets,
            resolver,
        })
    }

    /// The addresses it is bound to, with the ports the kernel chose where none were given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|sockets| sockets.address).collect()
    }

    /// Serves until shutdown. Names of the cluster are answered once the informers are in step;
    /// others at once.
    pub async fn serve(
        self,
        informers: &Informers,
        client: Option<kube::Client>,
        shutdown: CancellationToken,
    ) {
        let mut tasks = tokio::task::JoinSet::new();
        let addresses = self.addresses();
        if let (Some(client), Some(service_ip), Some(listen)) =
            (client, self.config.service_ip, addresses.first())
        {
            let publication = Publication {
                service_ip,
                node_name: self.config.node_name.clone(),
                listen: *listen,
            };
            tasks.spawn(publish::keep_trying(client, publication));
        }
        for sockets in self.sockets {
            let metrics = self.config.metrics.clone();
            tasks.spawn(sockets.serve(self.resolver.clone(), metrics, shutdown.clone()));
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow(&self.resolver, Sources::new(informers), &addresses) => {}
        }
        tasks.shutdown().await;
    }
}

/// Keeps the zone in step with the objects.
async fn follow(resolver: &Resolver, mut sources: Sources, addresses: &[SocketAddr]) {
    sources.synced().await;
    let mut objects = Objects::default();
    sources.take(&mut objects);
    loop {
        {
            let mut zone = resolver.zone.write();
            for key in objects.take_changed() {
                zone.update(
                    &key,
                    objects.service(&key).map(AsRef::as_ref),
                    objects.slices(&key),
                );
            }
        }
        resolver.serial.fetch_add(1, Ordering::Relaxed);
        if !resolver.ready.swap(true, Ordering::Release) {
            tracing::info!(services = resolver.zone.read().services(), listen = ?addresses, "dns ready");
        }
        sources.next(&mut objects).await;
    }
}

/// Binds and serves with informers of its own until shutdown.
pub async fn run(
    config: Config,
    client: kube::Client,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let informers = Informers::new(client.clone());
    run_with(config, &informers, client, shutdown).await
}

/// Binds and serves on shared informers until shutdown.
pub fn run_with(
    config: Config,
    informers: &Informers,
    client: kube::Client,
    shutdown: CancellationToken,
) -> BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        Server::bind(config)?
            .serve(informers, Some(client), shutdown)
            .await;
        Ok(())
    })
}
