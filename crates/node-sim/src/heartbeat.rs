//! Nodes register, and renew their Leases: one after the other, spread over the period, so that the
//! server sees a steady trickle instead of a burst.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::{Config, SimError, object};

/// Registers every node, or takes over the one of its name, with its Lease.
pub async fn register(client: &Client, config: &Config) -> Result<(), SimError> {
    stream::iter((0..config.nodes).map(Ok))
        .try_for_each_concurrent(config.writes.max(1), |index| {
            register_one(client, config, index)
        })
        .await
}

async fn register_one(client: &Client, config: &Config, index: u32) -> Result<(), SimError> {
    let name = object::name(config, index);
    let failed = |source| SimError::Register {
        node: object::name(config, index),
        source,
    };
    let now = micro_time();
    let typed = |value| serde_json::from_value(value).map_err(kube::Error::SerdeError);
    let leases: Api<Lease> = Api::namespaced(client.clone(), object::LEASES);
    let lease = typed(object::lease(config, index, &now)).map_err(failed)?;
    match leases.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(status)) if status.code == 409 => renew(client, &name).await,
        Err(source) => Err(source),
        Ok(_) => Ok(()),
    }
    .map_err(failed)?;
    let nodes: Api<Node> = Api::all(client.clone());
    let seconds = api::clock::rfc3339(jiff::Timestamp::now());
    let node = serde_json::from_value(object::node(config, index, &seconds))
        .map_err(kube::Error::SerdeError);
    let made = nodes
        .create(&PostParams::default(), &node.map_err(failed)?)
        .await;
    match made {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(source) => return Err(failed(source)),
        Ok(node) => {
            let status = node.status.as_ref();
            if status.is_some_and(|s| s.conditions.as_ref().is_some_and(|c| !c.is_empty())) {
                return Ok(());
            }
        }
    }
    // It was there, or the server takes no status at creation.
    let patch = serde_json::json!({"status": object::status(config, index, &seconds)});
    nodes
        .patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch))
        .await
        .map(drop)
        .map_err(failed)
}

async fn renew(client: &Client, name: &str) -> Result<(), kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), object::LEASES);
    let patch = object::renewal(&micro_time());
    leases
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(drop)
}

fn micro_time() -> String {
    let now = jiff::Timestamp::now();
    format!("{}", now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ"))
}

/// Renews every node's Lease once in each period until `shutdown`. A renewal that fails is made up
/// for by the next: four may be missed.
pub async fn renew_all(client: Client, config: Config, shutdown: CancellationToken) {
    let step = config.heartbeat / config.nodes.max(1);
    // Timers have a millisecond's grain: faster than that, several at once.
    let tick = step.max(Duration::from_millis(1));
    let mut ticks = interval_at(Instant::now() + tick, tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let at_once =
        (tick.as_nanos() / step.as_nanos().max(1)).clamp(1, u128::from(config.nodes.max(1)));
    let mut next = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let due = (0..u32::try_from(at_once).unwrap_or(u32::MAX))
            .map(|n| object::name(&config, (next + n) % config.nodes.max(1)));
        let renewals = due.map(|name| {
            let client = client.clone();
            async move {
                if let Err(error) = renew(&client, &name).await {
                    tracing::debug!(node = name, %error, "heartbeat failed");
                }
            }
        });
        stream::iter(renewals)
            .for_each_concurrent(config.writes.max(1), |renewal| renewal)
            .await;
        next = (next + u32::try_from(at_once).unwrap_or(u32::MAX)) % config.nodes.max(1);
    }
}
