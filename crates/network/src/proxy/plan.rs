//! From a service to its part of the table. Pure.
//!
//! A port gets a chain that picks among all its endpoints (`all/…`) and, where a policy says Local,
//! one that picks among this node's (`local/…`); traffic from outside passes `ext/…` first, which
//! decides what is masqueraded. With session affinity each endpoint has a chain (`ep/…`) and a set
//! of the clients bound to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::IpNet;

use super::frame::{self, MASQUERADE_MARK};
use super::service::{Endpoint, Port, Protocol, Service, cluster_endpoints, local_endpoints};
use super::table::{Contribution, SetName};
use crate::netlink::nft::expression::{Compare, Expression, Verdict, concat};
use crate::netlink::nft::{Family, MapsTo, Rule, Set, Value, matches, types};

/// What the plan depends on beside the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// Ranges of the cluster's pods; traffic from elsewhere to a service address is masqueraded.
    pub cluster: Vec<IpNet>,
    /// Where node ports answer; empty means on every address of the node.
    pub node_ports: Vec<IpNet>,
}

/// A UDP address that is served, for finding connections that point at endpoints that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Frontend {
    /// The service's address; none for a node port.
    pub ip: Option<Ipv4Addr>,
    pub port: u16,
}

fn rule(parts: Vec<Vec<Expression>>) -> Rule {
    Rule {
        expressions: parts.concat(),
        comment: String::new(),
    }
}

fn go_to(chain: &str) -> Vec<Expression> {
    vec![Expression::Verdict(Verdict::Goto(chain.to_owned()))]
}

fn backend(endpoint: &Endpoint) -> Vec<u8> {
    concat(&[&endpoint.ip.octets(), &endpoint.port.to_be_bytes()])
}

/// Up to so many endpoints are told apart by a rule each. More get a map of their own, which costs the
/// same for any number; but the kernel looks through all sets of a table for every new one, and
/// thousands of them take it seconds.
const FEW: usize = 8;

/// Rules of which one, drawn at random, does its part: the first of n with a chance of 1 in n, the next
/// with 1 in n − 1, the last with certainty.
fn one_of(goals: Vec<Vec<Expression>>) -> Vec<Rule> {
    let count = goals.len() as u32;
    let with_chance = |(n, goal): (u32, Vec<Expression>)| {
        let left = count - n;
        if left == 1 {
            return rule(vec![goal]);
        }
        let drawn = Expression::Random {
            below: left,
            slot: 0,
        };
        let first = Expression::Compare {
            how: Compare::Equal,
            slot: 0,
            value: vec![0; 4],
        };
        rule(vec![vec![drawn, first], goal])
    };
    (0..count).zip(goals).map(with_chance).collect()
}

struct Builder<'a> {
    out: Contribution,
    base: String,
    affinity: Option<Duration>,
    surroundings: &'a Surroundings,
}

impl Builder<'_> {
    fn endpoint_chain(&mut self, endpoint: &Endpoint, timeout: Duration) -> (String, String) {
        let tail = format!("{}/{}/{}", self.base, endpoint.ip, endpoint.port);
        let (chain, set) = (
            format!("ep/{tail}"),
            format!("aff/{}/{tail}", timeout.as_secs()),
        );
        self.out.sets.insert(
            set.clone(),
            Set {
                name: set.clone(),
                key: vec![types::IPV4],
                key_length: 4,
                maps_to: MapsTo::Nothing,
                timeout: Some(timeout),
            },
        );
        let steps = vec![
            matches::load_address(Family::V4, true, 0),
            Expression::Remember {
                set: set.clone(),
                slot: 0,
            },
            Expression::Immediate {
                slot: 0,
                value: endpoint.ip.octets().to_vec(),
            },
            Expression::Immediate {
                slot: 1,
                value: endpoint.port.to_be_bytes().to_vec(),
            },
            Expression::TranslateDestination {
                slot: 0,
                port_slot: 1,
            },
        ];
        self.out
            .chains
            .insert(chain.clone(), vec![rule(vec![steps])]);
        (chain, set)
    }

    /// Rules that pick one of the endpoints, at random or as bound before.
    fn balance(&mut self, endpoints: &[&Endpoint]) -> Vec<Rule> {
        let translate = Expression::TranslateDestination {
            slot: 0,
            port_slot: 1,
        };
        if let Some(timeout) = self.affinity {
            let ends: Vec<_> = endpoints
                .iter()
                .map(|e| self.endpoint_chain(e, timeout))
                .collect();
            let mut rules: Vec<_> = ends
                .iter()
                .map(|(chain, set)| {
                    let bound = Expression::Member {
                        set: set.clone(),
                        slot: 0,
                        inverted: false,
                    };
                    rule(vec![
                        vec![matches::load_address(Family::V4, true, 0), bound],
                        go_to(chain),
                    ])
                })
                .collect();
            let goals = ends.iter().map(|(chain, _)| go_to(chain)).collect();
            rules.extend(one_of(goals));
            return rules;
        }
        if endpoints.len() <= FEW {
            let goals = endpoints.iter().map(|endpoint| {
                vec![
                    Expression::Immediate {
                        slot: 0,
                        value: endpoint.ip.octets().to_vec(),
                    },
                    Expression::Immediate {
                        slot: 1,
                        value: endpoint.port.to_be_bytes().to_vec(),
                    },
                    translate.clone(),
                ]
            });
            return one_of(goals.collect());
        }
        let values = endpoints.iter().map(|e| backend(e)).collect();
        vec![rule(vec![vec![
            Expression::Pick { values, slot: 0 },
            translate,
        ]])]
    }

    fn chain(&mut self, prefix: &str, rules: Vec<Rule>) -> String {
        let name = format!("{prefix}/{}", self.base);
        self.out.chains.insert(name.clone(), rules);
        name
    }

    fn element(&mut self, set: SetName, fields: &[&[u8]], value: Value) {
        self.out.elements.insert((set, concat(fields)), value);
    }
}

/// What becomes of traffic to an address: served by a chain, refused, or dropped.
fn settle(
    builder: &mut Builder<'_>,
    address: Option<Ipv4Addr>,
    port: (Protocol, u16),
    chain: Option<&str>,
    refuse: Refusal,
) {
    let (protocol, number) = ([port.0.number()], port.1.to_be_bytes());
    let ip = address.map(|ip| ip.octets());
    let mut fields: Vec<&[u8]> = Vec::with_capacity(3);
    fields.extend(ip.as_ref().map(|ip| &ip[..]));
    fields.extend([&protocol[..], &number[..]]);
    let (served, unserved) = if ip.is_some() {
        (frame::SERVICES, frame::UNSERVED)
    } else {
        (frame::NODE_PORTS, frame::UNSERVED_NODE_PORTS)
    };
    if let Some(chain) = chain {
        builder.element(
            served,
            &fields,
            Value::Verdict(Verdict::Goto(chain.to_owned())),
        );
    }
    match refuse {
        Refusal::No => {}
        Refusal::Reject => {
            builder.element(
                unserved,
                &fields,
                Value::Verdict(Verdict::Goto(frame::REJECT.to_owned())),
            );
        }
        Refusal::Drop => builder.element(unserved, &fields, Value::Verdict(Verdict::Drop)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    No,
    Reject,
    Drop,
}

fn plan_port(builder: &mut Builder<'_>, service: &Service, port: &Port) {
    let all = cluster_endpoints(&port.endpoints);
    let local = local_endpoints(&port.endpoints);
    for endpoint in all.iter().chain(&local).filter(|e| e.local) {
        let ip = endpoint.ip.octets();
        builder.element(frame::HAIRPIN, &[&ip, &ip], Value::None);
    }
    let external = port.node_port.is_some()
        || !service.external_ips.is_empty()
        || !service.load_balancer_ips.is_empty();
    let target = (port.protocol, port.port);

    let needs_all = !all.is_empty() && (!service.internal_local || external);
    let all_chain = needs_all.then(|| {
        let rules = builder.balance(&all);
        builder.chain("all", rules)
    });
    let needs_local =
        !local.is_empty() && (service.internal_local || (external && service.external_local));
    let local_chain = needs_local.then(|| {
        let rules = builder.balance(&local);
        builder.chain("local", rules)
    });

    // Inside: the cluster addresses.
    let inside = if service.internal_local {
        local_chain.clone()
    } else {
        all_chain.clone()
    };
    let refuse = match (&inside, service.internal_local && !all.is_empty()) {
        (Some(_), _) => Refusal::No,
        (None, false) => Refusal::Reject,
        (None, true) => Refusal::Drop,
    };
    for ip in &service.cluster_ips {
        builder.element(frame::CLUSTER_IPS, &[&ip.octets()], Value::None);
        settle(builder, Some(*ip), target, inside.as_deref(), refuse);
    }
    if !external {
        return;
    }

    // Outside: node ports, external addresses, load balancers' addresses.
    let mut rules = Vec::new();
    let mut refuse = Refusal::No;
    match (&all_chain, service.external_local) {
        (None, _) => refuse = Refusal::Reject,
        (Some(all_chain), false) => {
            rules.push(rule(vec![matches::set_mark(MASQUERADE_MARK, true)]));
            rules.push(rule(vec![go_to(all_chain)]));
        }
        (Some(all_chain), true) => {
            // Pods and the node itself would not be served better by a detour over the outside.
            for net in builder
                .surroundings
                .cluster
                .iter()
                .filter(|net| matches!(net, IpNet::V4(_)))
            {
                rules.push(rule(vec![
                    matches::in_network(net, true, true),
                    go_to(all_chain),
                ]));
            }
            rules.push(rule(vec![
                matches::local(true),
                matches::set_mark(MASQUERADE_MARK, true),
            ]));
            rules.push(rule(vec![matches::local(true), go_to(all_chain)]));
            match &local_chain {
                Some(local_chain) => rules.push(rule(vec![go_to(local_chain)])),
                None => refuse = Refusal::Drop,
            }
        }
    }
    let ext = (!rules.is_empty()).then(|| builder.chain("ext", rules));
    if let Some(node_port) = port.node_port {
        settle(
            builder,
            None,
            (port.protocol, node_port),
            ext.as_deref(),
            refuse,
        );
    }
    for ip in &service.external_ips {
        settle(builder, Some(*ip), target, ext.as_deref(), refuse);
    }
    let balanced = match &ext {
        Some(ext) if !service.source_ranges.is_empty() => {
            let mut rules: Vec<_> = service
                .source_ranges
                .iter()
                .filter(|net| matches!(net, IpNet::V4(_)))
                .map(|net| rule(vec![matches::in_network(net, true, true), go_to(ext)]))
                .collect();
            rules.push(rule(vec![vec![Expression::Verdict(Verdict::Drop)]]));
            Some(builder.chain("lb", rules))
        }
        other => other.clone(),
    };
    for ip in &service.load_balancer_ips {
        settle(builder, Some(*ip), target, balanced.as_deref(), refuse);
    }
}

/// A service's part of the table.
pub(crate) fn contribution(service: &Service, surroundings: &Surroundings) -> Contribution {
    let mut out = Contribution::default();
    for port in &service.ports {
        let label = if port.name.is_empty() {
            port.port.to_string()
        } else {
            port.name.clone()
        };
        let base = format!("{}/{}/{}", service.key, port.protocol.name(), label);
        let mut builder = Builder {
            out,
            base,
            affinity: service.affinity,
            surroundings,
        };
        plan_port(&mut builder, service, port);
        out = builder.out;
    }
    out
}

/// UDP addresses and the endpoints behind each.
pub(crate) type Frontends = BTreeMap<Frontend, BTreeSet<(Ipv4Addr, u16)>>;

/// A service's UDP addresses and the endpoints behind each.
pub(crate) fn udp(service: &Service) -> Frontends {
    let mut found = Frontends::new();
    for port in service.ports.iter().filter(|p| p.protocol == Protocol::Udp) {
        let backends: BTreeSet<_> = cluster_endpoints(&port.endpoints)
            .into_iter()
            .chain(local_endpoints(&port.endpoints))
            .map(|e| (e.ip, e.port))
            .collect();
        let ips = service
            .cluster_ips
            .iter()
            .chain(&service.external_ips)
            .chain(&service.load_balancer_ips);
        for ip in ips {
            found.insert(
                Frontend {
                    ip: Some(*ip),
                    port: port.port,
                },
                backends.clone(),
            );
        }
        if let Some(node_port) = port.node_port {
            found.insert(
                Frontend {
                    ip: None,
                    port: node_port,
                },
                backends,
            );
        }
    }
    found
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
