//! The service proxy: Services and EndpointSlices into nftables.
//!
//! The flow: informers mark services dirty; [`service`] makes a view of each, [`plan`] its part of the table, [`table`] the difference to what
//! stands, [`frame`] writes that into one atomic transaction. The first change after a rest is applied at once; under load changes are
//! collected for some tens of milliseconds, as each transaction costs the kernel about ten.
//!
//! The rules serve without this process: killed, it leaves them standing, and its successor puts a whole new table in their place in
//! one transaction, so that no connection meets a gap.

mod engine;
mod frame;
mod health;
mod plan;
mod service;
mod stale;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::backoff::Backoff;
use client::random::Seeded;
use client::{Change, Informers, Scope};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::netlink;
pub use engine::{Engine, Objects};
use service::{Key, SERVICE_NAME_LABEL};

/// Changes that come within this time after a transaction go into the next one together.
const COLLECT: Duration = Duration::from_millis(50);
/// So much of the time may go into transactions that follow each other: half.
const COLLECT_MAX: Duration = Duration::from_millis(1000);

/// What the proxy is told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Short id from which the table is named.
    pub instance: String,
    /// This node's name, by which its own endpoints are known.
    pub node_name: String,
    /// This node's zone, for endpoints hinted for zones.
    pub zone: Option<String>,
    /// The cluster's pod ranges.
    pub cluster_cidrs: Vec<IpNet>,
    /// Where node ports answer; empty means on every address of the node.
    pub node_port_addresses: Vec<IpNet>,
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not do what the proxy needs.
    #[error("service proxy: {0}")]
    Netlink(#[from] netlink::Error),
}

/// Runs the proxy with informers of its own until shutdown. The rules stay.
pub async fn run(
    config: Config,
    client: kube::Client,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    run_with(config, &Informers::new(client), shutdown).await
}

/// Runs the proxy on shared informers until shutdown. The rules stay.
pub async fn run_with(
    config: Config,
    informers: &Informers,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // Opened first: a kernel without nftables is found before anything else happens.
    let engine = Engine::open(config)?;
    let services = informers.get::<Service>(Scope::All);
    let slices = informers.get::<EndpointSlice>(Scope::All);
    let health = health::Health::new(shutdown.clone());
    let mut sources = Sources {
        services: services.subscribe(),
        slices: slices.subscribe(),
    };
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = async { services.synced().await; slices.synced().await } => {}
    }
    drive(engine, &mut sources, health, shutdown).await;
    Ok(())
}

struct Sources {
    services: client::Subscription<Service>,
    slices: client::Subscription<EndpointSlice>,
}

impl Sources {
    async fn next(&mut self, objects: &mut Objects) {
        tokio::select! {
            change = self.services.next() => service_changed(objects, change),
            change = self.slices.next() => slice_changed(objects, change),
        }
        while let Some(change) = self.services.try_next() {
            service_changed(objects, change);
        }
        while let Some(change) = self.slices.try_next() {
            slice_changed(objects, change);
        }
    }
}

fn service_changed(objects: &mut Objects, change: Change<Service>) {
    match change {
        Change::Applied { new, .. } => objects.put_service(new),
        Change::Deleted(old) => objects.remove_service(&old),
    }
}

fn slice_changed(objects: &mut Objects, change: Change<EndpointSlice>) {
    match change {
        Change::Applied { old, new } => {
            // A slice may change the service it is of.
            if let Some(old) = old.filter(|old| owner(old) != owner(&new)) {
                objects.remove_slice(&old);
            }
            objects.put_slice(new);
        }
        Change::Deleted(old) => objects.remove_slice(&old),
    }
}

fn owner(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(Key {
        namespace: slice.metadata.namespace.clone()?,
        name: name.clone(),
    })
}

/// A service's slices, by name.
type Slices = BTreeMap<String, Arc<EndpointSlice>>;

async fn drive(
    mut engine: Engine,
    sources: &mut Sources,
    mut health: health::Health,
    shutdown: CancellationToken,
) {
    let random = Seeded::from_system();
    let mut objects = Objects::default();
    let (mut failures, mut first) = (0, true);
    let mut earliest = Instant::now();
    loop {
        // Everything the informers hold at the start is one change, and so is an empty cluster: old rules must go.
        if !first && objects.is_clean() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sources.next(&mut objects) => {}
            }
        }
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(earliest) => break,
                () = sources.next(&mut objects) => {}
            }
        }
        let begun = Instant::now();
        let result = netlink::blocking(|| engine.apply(&mut objects));
        let took = begun.elapsed();
        match result {
            Ok(()) => {
                failures = 0;
                earliest = Instant::now() + COLLECT.max(took.min(COLLECT_MAX));
                health.update(engine.health_checks()).await;
                if first {
                    first = false;
                    tracing::info!(
                        services = engine.services(),
                        ms = took.as_millis() as u64,
                        "service proxy ready"
                    );
                }
            }
            Err(error) => {
                let wait = Backoff::CONNECTION.delay(failures, &random);
                tracing::error!(%error, ?wait, "service rules not changed; the whole table is written anew");
                failures = failures.saturating_add(1);
                first = true;
                earliest = Instant::now() + wait;
            }
        }
    }
}
