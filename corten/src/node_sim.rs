//! `corten node-sim`: simulated nodes for any cluster (crate `node-sim`).

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::quantity::Quantity;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{parts, settings::node_sim::NodeSimSettings};

/// Simulates until SIGTERM. The nodes stay registered; without heartbeats they become NotReady.
pub async fn run(settings: NodeSimSettings) -> Result<()> {
    for (name, amount) in &settings.capacity {
        if amount.parse::<Quantity>().is_err() {
            bail!("--capacity {name}={amount}: {amount:?} is not a quantity, such as 32 or 256Gi");
        }
    }
    let client = connect(&settings).await?;
    let config = node_sim::Config {
        nodes: settings.nodes,
        prefix: settings.prefix,
        capacity: settings.capacity.into_iter().collect(),
        labels: settings.labels.into_iter().collect(),
        zones: settings.zones,
        heartbeat: Duration::from_secs(settings.heartbeat),
        stop: Duration::from_secs(settings.stop),
        writes: usize::from(settings.writes),
    };
    let shutdown = CancellationToken::new();
    parts::cancel_on_signal(&shutdown)?;
    println!("node-sim: {} nodes", config.nodes);
    Ok(node_sim::run(client, config, shutdown).await?)
}

async fn connect(settings: &NodeSimSettings) -> Result<kube::Client> {
    if let Some(path) = &settings.kubeconfig {
        return client::from_kubeconfig(path)
            .await
            .with_context(|| format!("--kubeconfig {}", path.display()));
    }
    // The same path as a file's: one place reads certificates and tokens.
    let file = json!({
        "clusters": [{"name": "sim", "cluster": {"server": settings.server, "certificate-authority": settings.certificate_authority}}],
        "users": [{"name": "sim", "user": {"token": settings.token}}],
        "contexts": [{"name": "sim", "context": {"cluster": "sim", "user": "sim"}}],
        "current-context": "sim",
    });
    let config =
        kube::Config::from_custom_kubeconfig(serde_json::from_value(file)?, &Default::default())
            .await
            .context("--server")?;
    kube::Client::try_from(config).context("--server")
}
