//! Gives every node its share of the pod network: the lowest free network of the configured size.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use client::controller::Requeue;
use client::events::EventType;
use client::{Informer, Key, Scope};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use parking_lot::Mutex;
use serde_json::json;

use crate::error::Error;
use crate::kit::Kit;
use crate::write;

struct Controller {
    kit: Kit,
    nodes: Informer<Node>,
    cluster: IpNet,
    mask: u8,
    /// Given out by this process, whether the cache shows it yet or not; one entry per node.
    given: Mutex<HashMap<Box<str>, IpNet>>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit, cluster: IpNet, mask: u8) {
    let nodes = kit.informers.get::<Node>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&nodes).await {
        return;
    }
    kit.follow_own(&nodes, &queue);
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        nodes,
        cluster,
        mask,
        given: Mutex::default(),
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

fn has_network(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|spec| spec.pod_cidr.as_ref())
        .is_some_and(|network| !network.is_empty())
}

fn networks(node: &Node) -> impl Iterator<Item = IpNet> {
    let spec = node.spec.as_ref();
    let all = spec
        .and_then(|spec| spec.pod_cidrs.as_deref())
        .unwrap_or_default();
    let first = spec.and_then(|spec| spec.pod_cidr.as_ref());
    all.iter()
        .chain(first)
        .filter_map(|network| network.parse().ok())
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.store().get_key(key) else {
            self.given.lock().remove(&key.name);
            return Ok(Requeue::OnChange);
        };
        if has_network(&node) {
            self.given.lock().remove(&key.name);
            return Ok(Requeue::OnChange);
        }
        let chosen = {
            // Chosen and noted under one lock, so that two nodes at once get two networks.
            let mut given = self.given.lock();
            let chosen = given.get(&key.name).copied().or_else(|| {
                let nodes = self.nodes.store().list();
                let mut used: Vec<IpNet> = nodes.iter().flat_map(|node| networks(node)).collect();
                used.extend(given.values());
                lowest_free(self.cluster, self.mask, &used)
            });
            if let Some(network) = chosen {
                given.insert(key.name.clone(), network);
            }
            chosen
        };
        let Some(network) = chosen else {
            let message = format!("Node {key} status is now: CIDRNotAvailable");
            self.kit
                .recorder
                .on(&*node, EventType::Normal, "CIDRNotAvailable", message);
            return Ok(Requeue::Backoff);
        };
        let api: Api<Node> = Api::all(self.kit.client.clone());
        let patch =
            json!({"spec": {"podCIDR": network.to_string(), "podCIDRs": [network.to_string()]}});
        match write::merge(&api, &node, patch).await {
            Err(error) if error.is_not_found() => Ok(Requeue::OnChange),
            result => result.map(|_| Requeue::OnChange),
        }
    }
}

/// The lowest network of this size within the cluster's that overlaps none in use.
fn lowest_free(cluster: IpNet, mask: u8, used: &[IpNet]) -> Option<IpNet> {
    let mut used: Vec<_> = used
        .iter()
        .filter(|network| overlap(&cluster, network))
        .copied()
        .collect();
    used.sort_by_key(|network| network.network());
    let mut subnets = cluster.subnets(mask).ok()?;
    // Sorted, so that each is passed once; a subnet may still overlap a larger one further up.
    subnets.find(|candidate| !used.iter().any(|network| overlap(candidate, network)))
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    let same_family = matches!(
        (a.addr(), b.addr()),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_))
    );
    same_family && (a.contains(&b.network()) || b.contains(&a.network()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_network_is_given() {
        let cases = [
            ("10.244.0.0/16", 24, vec![], Some("10.244.0.0/24")),
            (
                "10.244.0.0/16",
                24,
                vec!["10.244.0.0/24", "10.244.2.0/24"],
                Some("10.244.1.0/24"),
            ),
            (
                "10.244.0.0/16",
                24,
                vec!["10.244.0.0/22"],
                Some("10.244.4.0/24"),
            ),
            (
                "10.244.0.0/16",
                24,
                vec!["10.0.0.0/24", "fd00::/64"],
                Some("10.244.0.0/24"),
            ),
            (
                "10.244.0.0/23",
                24,
                vec!["10.244.0.0/24", "10.244.1.128/25"],
                None,
            ),
            ("fd00::/56", 64, vec!["fd00::/64"], Some("fd00:0:0:1::/64")),
        ];
        for (cluster, mask, used, expected) in cases {
            let used: Vec<IpNet> = used
                .iter()
                .map(|network| network.parse().unwrap())
                .collect();
            let free = lowest_free(cluster.parse().unwrap(), mask, &used);
            assert_eq!(
                free,
                expected.map(|network| network.parse().unwrap()),
                "{cluster} {used:?}"
            );
        }
    }
}
