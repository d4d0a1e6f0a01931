//! Gives every node its share of the pod network: of each of the cluster's networks (one per address
//! family at the most) a free network of the configured size.

use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Informer, Key, Scope};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use parking_lot::Mutex;
use serde_json::json;

use crate::error::Error;
use crate::kit::Kit;
use crate::node::shares::{NodeNetwork, Share, Shares};
use crate::write;

struct Controller {
    kit: Kit,
    nodes: Informer<Node>,
    shares: Mutex<Shares>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit, networks: Vec<NodeNetwork>) {
    let nodes = kit.informers.get::<Node>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&nodes).await {
        return;
    }
    // What nodes have is known before the first is given something.
    let all = nodes.store().list();
    let taken = all.iter().filter_map(|node| {
        let name = node.metadata.name.as_deref()?.into();
        Some((name, share_of(node)?))
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        shares: Mutex::new(Shares::new(networks, taken)),
        nodes: nodes.clone(),
    });
    kit.follow_own(&nodes, &queue);
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

/// What a node holds; none if that is nothing yet.
fn share_of(node: &Node) -> Option<Share> {
    let spec = node.spec.as_ref()?;
    let all = spec.pod_cidrs.as_deref().unwrap_or_default();
    let first = spec.pod_cidr.as_ref().filter(|_| all.is_empty());
    let networks: Vec<IpNet> = all
        .iter()
        .chain(first)
        .filter_map(|network| network.parse().ok())
        .collect();
    (!networks.is_empty()).then(|| Share {
        uid: node.metadata.uid.as_deref().unwrap_or_default().into(),
        created: created(node),
        networks,
    })
}

fn created(node: &Node) -> Option<Timestamp> {
    node.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.store().get_key(key) else {
            self.shares.lock().release(&key.name);
            return Ok(Requeue::OnChange);
        };
        let chosen = {
            // Chosen and noted under one lock, so that two nodes at once get two networks.
            let mut shares = self.shares.lock();
            if let Some(share) = share_of(&node) {
                shares.note(&key.name, share);
                return Ok(Requeue::OnChange);
            }
            if node.metadata.deletion_timestamp.is_some() {
                return Ok(Requeue::OnChange);
            }
            let uid = node.metadata.uid.as_deref().unwrap_or_default();
            shares.give(&key.name, uid, created(&node))
        };
        let Some(chosen) = chosen else {
            let message = format!("Node {key} status is now: CIDRNotAvailable");
            self.kit
                .recorder
                .on(&*node, EventType::Normal, "CIDRNotAvailable", message);
            return Ok(Requeue::Backoff);
        };
        let api: Api<Node> = Api::all(self.kit.client.clone());
        let texts: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        let patch = json!({"spec": {"podCIDR": texts.first(), "podCIDRs": texts}});
        match write::merge(&api, &node, patch).await {
            Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
            result => result.map(|_| Requeue::OnChange),
        }
    }
}
