//! The pod network's nftables table, as a plan.
//!
//! It masquerades what leaves the cluster, serves host ports, and keeps what comes from pods away
//! from the node's loopback, which `route_localnet` on the bridge would open. Packets between pods
//! are not touched.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::ipam::{HostPort, Lease};
use crate::netlink::nft::expression::{Expression, Meta, Verdict, concat};
use crate::netlink::nft::{
    Batch, Chain, Element, Family, Hook, MapsTo, Rule, Set, Value, matches, types,
};

const HOST_PORTS: &str = "host-ports";
const HOST_PORTS_AT: &str = "host-ports-at-address";
const HAIRPIN: &str = "hairpin";
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// What the table depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs<'a> {
    pub bridge: &'a str,
    pub range: Ipv4Net,
    pub cluster: &'a [IpNet],
}

fn rule(comment: &str, parts: Vec<Vec<Expression>>) -> Rule {
    Rule {
        expressions: parts.concat(),
        comment: comment.to_owned(),
    }
}

fn verdict(verdict: Verdict) -> Vec<Expression> {
    vec![Expression::Verdict(verdict)]
}

fn sets() -> [Set; 3] {
    let data = MapsTo::Data {
        types: vec![types::IPV4, types::PORT],
        length: 8,
    };
    let set = |name: &str, key: &[u32], maps_to: MapsTo| Set {
        name: name.to_owned(),
        key: key.to_vec(),
        key_length: 4 * key.len() as u32,
        maps_to,
        timeout: None,
    };
    [
        set(HOST_PORTS, &[types::PROTOCOL, types::PORT], data.clone()),
        set(
            HOST_PORTS_AT,
            &[types::IPV4, types::PROTOCOL, types::PORT],
            data,
        ),
        set(HAIRPIN, &[types::IPV4, types::IPV4], MapsTo::Nothing),
    ]
}

fn chains(inputs: Inputs<'_>) -> Vec<(Chain, Vec<Rule>)> {
    let base = |name: &str, hook, priority, nat| Chain {
        name: name.to_owned(),
        base: Some((hook, priority, nat)),
    };
    let translate = vec![Expression::TranslateDestination {
        slot: 0,
        port_slot: 1,
    }];
    let dispatch = vec![
        rule(
            "host ports at one address",
            vec![
                vec![matches::load_address(Family::V4, false, 0)],
                matches::load_port(1).to_vec(),
                vec![Expression::Map {
                    map: HOST_PORTS_AT.to_owned(),
                    slot: 0,
                    to: 0,
                }],
                translate.clone(),
            ],
        ),
        rule(
            "host ports at every address",
            vec![
                matches::local(false),
                matches::load_port(0).to_vec(),
                vec![Expression::Map {
                    map: HOST_PORTS.to_owned(),
                    slot: 0,
                    to: 0,
                }],
                translate,
            ],
        ),
    ];
    let range = IpNet::V4(inputs.range);
    let mut outgoing = vec![
        rule(
            "a pod that reaches itself by its host port",
            vec![
                matches::translated(),
                vec![
                    matches::load_address(Family::V4, true, 0),
                    matches::load_address(Family::V4, false, 1),
                    Expression::Member {
                        set: HAIRPIN.to_owned(),
                        slot: 0,
                        inverted: false,
                    },
                    Expression::Masquerade,
                ],
            ],
        ),
        rule(
            "the node's loopback to a pod",
            vec![
                matches::interface(Meta::InterfaceOut, inputs.bridge),
                matches::in_network(&IpNet::V4(LOOPBACK), true, true),
                vec![Expression::Masquerade],
            ],
        ),
    ];
    for net in inputs
        .cluster
        .iter()
        .chain([&range])
        .filter(|net| matches!(net, IpNet::V4(_)))
    {
        outgoing.push(rule(
            "stays in the cluster",
            vec![
                matches::in_network(&range, true, true),
                matches::in_network(net, false, true),
                verdict(Verdict::Return),
            ],
        ));
    }
    outgoing.push(rule(
        "leaves the cluster",
        vec![
            matches::in_network(&range, true, true),
            vec![Expression::Masquerade],
        ],
    ));
    vec![
        (
            base("guard", Hook::Prerouting, -300, false),
            vec![rule(
                "pods have no business on the node's loopback",
                vec![
                    matches::interface(Meta::InterfaceIn, inputs.bridge),
                    matches::in_network(&IpNet::V4(LOOPBACK), false, true),
                    verdict(Verdict::Drop),
                ],
            )],
        ),
        (
            base("prerouting", Hook::Prerouting, -100, true),
            dispatch.clone(),
        ),
        (base("output", Hook::Output, -100, true), dispatch),
        (base("postrouting", Hook::Postrouting, 100, true), outgoing),
    ]
}

/// The elements a lease needs, by set.
pub(super) fn elements(lease: &Lease) -> Vec<(&'static str, Element)> {
    let address = lease.address.octets();
    let mut all: Vec<_> = lease
        .host_ports
        .iter()
        .map(|port: &HostPort| {
            let (protocol, host) = ([port.protocol], port.host_port.to_be_bytes());
            let value = Value::Data(concat(&[&address, &port.container_port.to_be_bytes()]));
            match port.host_ip {
                Some(ip) => (
                    HOST_PORTS_AT,
                    Element {
                        key: concat(&[&ip.octets(), &protocol, &host]),
                        value,
                    },
                ),
                None => (
                    HOST_PORTS,
                    Element {
                        key: concat(&[&protocol, &host]),
                        value,
                    },
                ),
            }
        })
        .collect();
    if !all.is_empty() {
        all.push((
            HAIRPIN,
            Element {
                key: concat(&[&address, &address]),
                value: Value::None,
            },
        ));
    }
    all
}

/// The whole table, in place of what there is.
pub(super) fn whole<'a>(
    table: &str,
    inputs: Inputs<'_>,
    leases: impl Iterator<Item = &'a Lease>,
) -> Batch {
    let mut batch = Batch::new(Family::V4, table);
    batch.reset_table();
    for set in &sets() {
        batch.add_set(set);
    }
    for (chain, rules) in chains(inputs) {
        batch.add_chain(&chain);
        for rule in rules {
            batch.add_rule(&chain.name, &rule);
        }
    }
    for lease in leases {
        add(&mut batch, lease);
    }
    batch
}

/// Puts a lease's host ports into force.
pub(super) fn add(batch: &mut Batch, lease: &Lease) {
    for (set, element) in elements(lease) {
        batch.add_elements(set, &[element]);
    }
}

/// Takes a lease's host ports out of force.
pub(super) fn remove(batch: &mut Batch, lease: &Lease) {
    for (set, mut element) in elements(lease) {
        element.value = Value::None;
        batch.delete_elements(set, &[element]);
    }
}

/// Addresses as the trait speaks of them.
pub(super) fn address(lease: &Lease) -> IpAddr {
    IpAddr::V4(lease.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(host_ports: Vec<HostPort>) -> Lease {
        Lease {
            sandbox: "s".into(),
            address: Ipv4Addr::new(10, 1, 0, 2),
            gateway: Ipv4Addr::new(10, 1, 0, 1),
            veth: "v".into(),
            host_ports,
        }
    }

    #[test]
    fn a_lease_without_host_ports_needs_no_transaction() {
        assert!(elements(&lease(Vec::new())).is_empty());
    }

    #[test]
    fn host_ports_become_elements() {
        let port = |host_ip| HostPort {
            protocol: 6,
            host_port: 0x1f90,
            host_ip,
            container_port: 80,
        };
        let found = elements(&lease(vec![
            port(None),
            port(Some(Ipv4Addr::new(192, 0, 2, 1))),
        ]));
        let value = Value::Data(vec![10, 1, 0, 2, 0, 80, 0, 0]);
        assert_eq!(
            found,
            [
                (
                    HOST_PORTS,
                    Element {
                        key: vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0],
                        value: value.clone()
                    }
                ),
                (
                    HOST_PORTS_AT,
                    Element {
                        key: vec![192, 0, 2, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0],
                        value
                    }
                ),
                (
                    HAIRPIN,
                    Element {
                        key: vec![10, 1, 0, 2, 10, 1, 0, 2],
                        value: Value::None
                    }
                ),
            ]
        );
    }
}
