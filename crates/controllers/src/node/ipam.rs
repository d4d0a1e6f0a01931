//! Gives every node its share of the pod network: of each of the cluster's networks (one per address
//! family at the most) the lowest free network of the configured size.

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

/// A network nodes take their shares of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeNetwork {
    /// All of it.
    pub cluster: IpNet,
    /// Prefix length of a share.
    pub mask: u8,
}

struct Controller {
    kit: Kit,
    nodes: Informer<Node>,
    networks: Vec<NodeNetwork>,
    /// What each node has, seen in the cache or given out by this process.
    taken: Mutex<HashMap<Box<str>, Vec<IpNet>>>,
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
        Some((name, networks_of(node)))
    });
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        networks,
        taken: Mutex::new(taken.collect()),
        nodes: nodes.clone(),
    });
    kit.follow_own(&nodes, &queue);
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

fn networks_of(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let all = spec
        .and_then(|spec| spec.pod_cidrs.as_deref())
        .unwrap_or_default();
    let first = spec.and_then(|spec| spec.pod_cidr.as_ref());
    let mut networks: Vec<IpNet> = all
        .iter()
        .chain(first.filter(|_| all.is_empty()))
        .filter_map(|network| network.parse().ok())
        .collect();
    networks.dedup();
    networks
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.store().get_key(key) else {
            self.taken.lock().remove(&key.name);
            return Ok(Requeue::OnChange);
        };
        let seen = networks_of(&node);
        let chosen = {
            // Chosen and noted under one lock, so that two nodes at once get two networks.
            let mut taken = self.taken.lock();
            if !seen.is_empty() {
                taken.insert(key.name.clone(), seen);
                return Ok(Requeue::OnChange);
            }
            let had = taken.get(&key.name).filter(|had| !had.is_empty());
            let chosen = had.cloned().or_else(|| {
                let free = self.networks.iter();
                free.map(|network| lowest_free(network, taken.values().flatten()))
                    .collect()
            });
            if let Some(chosen) = &chosen {
                taken.insert(key.name.clone(), chosen.clone());
            }
            chosen
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

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

/// The lowest network of this size within the cluster's that overlaps none in use: one pass over
/// those in order.
fn lowest_free<'n>(network: &NodeNetwork, used: impl Iterator<Item = &'n IpNet>) -> Option<IpNet> {
    let NodeNetwork { cluster, mask } = *network;
    let (first, bits) = number(cluster.network());
    let (last, _) = number(cluster.broadcast());
    if mask < cluster.prefix_len() || mask > bits {
        return None;
    }
    let size = 1_u128.checked_shl(u32::from(bits - mask))?;
    let mut used: Vec<(u128, u128)> = used
        .filter(|network| overlap(&cluster, network))
        .map(|network| (number(network.network()).0, number(network.broadcast()).0))
        .collect();
    used.sort_unstable();
    let mut candidate = first;
    for (from, to) in used {
        if from > candidate.saturating_add(size - 1) {
            break;
        }
        if to >= candidate {
            // The next one begins where a whole share fits behind this network.
            let behind = (to - first) / size + 1;
            candidate = first.checked_add(behind.checked_mul(size)?)?;
        }
    }
    if candidate.saturating_add(size - 1) > last {
        return None;
    }
    let address = match cluster.addr() {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(candidate).ok()?.into()),
        IpAddr::V6(_) => IpAddr::V6(candidate.into()),
    };
    IpNet::new(address, mask).ok()
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
            ("10.244.0.0/16", 24, vec!["10.0.0.0/8"], None),
            (
                "10.244.0.0/16",
                24,
                vec!["10.244.0.0/22", "10.244.1.0/24", "10.244.5.0/24"],
                Some("10.244.4.0/24"),
            ),
            (
                "255.255.255.0/24",
                25,
                vec!["255.255.255.0/25"],
                Some("255.255.255.128/25"),
            ),
            (
                "255.255.255.0/24",
                25,
                vec!["255.255.255.0/25", "255.255.255.128/25"],
                None,
            ),
        ];
        for (cluster, mask, used, expected) in cases {
            let used: Vec<IpNet> = used
                .iter()
                .map(|network| network.parse().unwrap())
                .collect();
            let cluster = cluster.parse().unwrap();
            let free = lowest_free(&NodeNetwork { cluster, mask }, used.iter());
            assert_eq!(
                free,
                expected.map(|network| network.parse().unwrap()),
                "{cluster} {used:?}"
            );
        }
    }
}
