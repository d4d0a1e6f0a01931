//! The way to other nodes' pods: a route for each node's pod range through that node's address.
//!
//! It serves nodes that share a layer-2 network. A node behind a router is told of in the log, and
//! pods there are not reached until the network knows the way itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use client::{Change, Informers, Scope};
use futures::future::BoxFuture;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use tokio_util::sync::CancellationToken;

use crate::netlink::{self, route::Route};

/// Keeps the routes what they should be until shutdown. They stay then: pods go on.
pub fn run(
    own_name: String,
    informers: &Informers,
    shutdown: CancellationToken,
) -> BoxFuture<'_, Result<(), netlink::Error>> {
    Box::pin(async move {
        let nodes = informers.get::<Node>(Scope::All);
        let mut changes = nodes.subscribe();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = nodes.synced() => {}
        }
        let mut standing = BTreeMap::new();
        loop {
            let wanted = plan(nodes.store().list().iter().map(AsRef::as_ref), &own_name);
            if wanted != standing {
                let outcome = netlink::blocking(|| apply(&standing, &wanted));
                standing = outcome?;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                change = changes.next() => {
                    // Whatever changed, the whole is planned anew.
                    let (Change::Applied { .. } | Change::Deleted(_)) = change;
                }
            }
        }
    })
}

/// Pod ranges of the other nodes, and the address each is reached by.
fn plan<'n>(nodes: impl Iterator<Item = &'n Node>, own_name: &str) -> BTreeMap<IpNet, IpAddr> {
    let mut routes = BTreeMap::new();
    for node in nodes {
        if node.metadata.name.as_deref() == Some(own_name) {
            continue;
        }
        let addresses = node
            .status
            .iter()
            .flat_map(|s| s.addresses.iter().flatten());
        let address = addresses
            .filter(|a| a.type_ == "InternalIP")
            .find_map(|a| a.address.parse::<IpAddr>().ok());
        let ranges = node.spec.iter().flat_map(|s| s.pod_cidrs.iter().flatten());
        for range in ranges.filter_map(|r| r.parse::<IpNet>().ok()) {
            if let Some(address) = address
                && address.is_ipv4() == range.addr().is_ipv4()
            {
                routes.insert(range.trunc(), address);
            }
        }
    }
    routes
}

/// Sets what is wanted and takes away what is not any more; answers what stands.
fn apply(
    standing: &BTreeMap<IpNet, IpAddr>,
    wanted: &BTreeMap<IpNet, IpAddr>,
) -> Result<BTreeMap<IpNet, IpAddr>, netlink::Error> {
    let mut route = Route::open()?;
    let kept: BTreeSet<&IpNet> = wanted.keys().collect();
    for gone in standing.keys().filter(|range| !kept.contains(range)) {
        route.delete_route(*gone)?;
    }
    for (range, address) in wanted {
        if standing.get(range) == Some(address) {
            continue;
        }
        if let Err(error) = route.set_gateway(*range, *address) {
            tracing::warn!(
                %range, %address, %error,
                "no way to a node's pods: nodes have to share a network, or its routers have to know the range"
            );
        }
    }
    // A route that was refused is not tried again until its node changes.
    Ok(wanted.clone())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::plan;

    #[test]
    fn other_nodes_ranges_go_through_their_addresses() {
        let node = |name: &str, addresses: &[&str], ranges: &[&str]| -> Node {
            let addresses: Vec<_> = addresses
                .iter()
                .map(|a| json!({"type": "InternalIP", "address": a}))
                .collect();
            serde_json::from_value(json!({
                "metadata": {"name": name}, "spec": {"podCIDRs": ranges}, "status": {"addresses": addresses},
            }))
            .unwrap()
        };
        let nodes = [
            node("own", &["192.0.2.2"], &["10.244.0.0/24"]),
            node("b", &["192.0.2.3"], &["10.244.1.0/24", "fd00::/64"]),
            node("new", &["192.0.2.4"], &[]),
            node("dumb", &[], &["10.244.3.0/24"]),
            node("odd", &["192.0.2.5"], &["nonsense", "10.244.4.7/24"]),
        ];
        let got: Vec<(String, IpAddr)> = plan(nodes.iter(), "own")
            .into_iter()
            .map(|(range, address)| (range.to_string(), address))
            .collect();
        assert_eq!(
            got,
            [
                ("10.244.1.0/24".to_string(), IpAddr::from([192, 0, 2, 3])),
                ("10.244.4.0/24".to_string(), IpAddr::from([192, 0, 2, 5])),
            ]
        );
    }
}
