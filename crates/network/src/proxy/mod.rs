//! The service proxy: Services and EndpointSlices into nftables.
//!
//! The flow: informers mark services dirty; [`service`] makes a view of each, [`plan`] its part of
//! the table, [`table`] the difference to what stands, [`frame`] writes that into one atomic
//! transaction. The first change after a rest is applied at once; under load changes are collected
//! for some tens of milliseconds, as each transaction costs the kernel about ten.
//!
//! The rules serve without this process: killed, it leaves them standing, and its successor puts a
//! whole new table in their place in one transaction, so that no connection meets a gap.

mod engine;
mod frame;
mod health;
mod metrics;
mod plan;
mod service;
mod stale;
mod table;

use std::time::Duration;

use client::Informers;
use client::backoff::Backoff;
use client::random::Seeded;
use futures::future::BoxFuture;
use ipnet::IpNet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::netlink;
use crate::services::{Objects, Sources};
pub use engine::Engine;
pub use metrics::Metrics;

/// Changes that come within this time after a transaction go into the next one together.
const COLLECT: Duration = Duration::from_millis(50);
/// So much of the time may go into transactions that follow each other: half.
const COLLECT_MAX: Duration = Duration::from_millis(1000);

/// How often an idle proxy looks whether its table still stands: some flush all rules of a machine.
const LOOK: Duration = Duration::from_secs(30);

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
    /// What to count with.
    pub metrics: Metrics,
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
pub fn run_with(
    config: Config,
    informers: &Informers,
    shutdown: CancellationToken,
) -> BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        // Opened first: a kernel without nftables is found before anything else happens.
        let metrics = config.metrics.clone();
        let engine = Engine::open(config)?;
        let health = health::Health::new(shutdown.clone());
        let mut sources = Sources::new(informers);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = sources.synced() => {}
        }
        drive(engine, &mut sources, health, metrics, shutdown).await;
        Ok(())
    })
}

async fn drive(
    mut engine: Engine,
    sources: &mut Sources,
    mut health: health::Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let random = Seeded::from_system();
    let mut objects = Objects::default();
    sources.take(&mut objects);
    let (mut failures, mut first) = (0, true);
    let mut earliest = Instant::now();
    loop {
        // Everything the informers hold at the start is one change, and so is an empty cluster: old
        // rules must go.
        if !first && objects.is_unchanged() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sources.next(&mut objects) => {}
                () = tokio::time::sleep(LOOK) => if netlink::blocking(|| engine.is_intact()) {
                    continue;
                }
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
        metrics.synced(took, result.is_ok(), engine.services());
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
