//! The part of the table that does not depend on any service: base chains, maps, and the rules that
//! look them up.

use ipnet::IpNet;

use super::plan::Surroundings;
use super::table::{SetName, Step};
use crate::netlink::nft::expression::{Expression, Verdict};
use crate::netlink::nft::{
    Batch, Chain, Element, Family, Hook, MapsTo, Rule, Set, Value, matches, types,
};

/// Address, protocol, port → the chain that serves it.
pub(crate) const SERVICES: SetName = "services";
/// Protocol, port → the chain that serves it on the node's addresses.
pub(crate) const NODE_PORTS: SetName = "node-ports";
/// Address, protocol, port → what happens where nothing serves it.
pub(crate) const UNSERVED: SetName = "unserved";
/// Protocol, port → what happens where nothing serves it on the node's addresses.
pub(crate) const UNSERVED_NODE_PORTS: SetName = "unserved-node-ports";
/// All cluster addresses: what reaches the filter untranslated has no such port.
pub(crate) const CLUSTER_IPS: SetName = "cluster-ips";
/// Source and destination that are the same pod.
pub(crate) const HAIRPIN: SetName = "hairpin";
/// The chain that refuses.
pub(crate) const REJECT: &str = "reject";
/// Carries the decision to masquerade from the destination's translation to the source's.
pub(crate) const MASQUERADE_MARK: u32 = 0x4000;

const DISPATCH: &str = "dispatch";
const REFUSE: &str = "refuse";

fn sets() -> Vec<Set> {
    let set = |name: SetName, key: &[u32], maps_to| Set {
        name: name.to_owned(),
        key: key.to_vec(),
        key_length: 4 * key.len() as u32,
        maps_to,
        timeout: None,
    };
    let (address, port) = (types::IPV4, [types::PROTOCOL, types::PORT]);
    vec![
        set(SERVICES, &[address, port[0], port[1]], MapsTo::Verdicts),
        set(NODE_PORTS, &port, MapsTo::Verdicts),
        set(UNSERVED, &[address, port[0], port[1]], MapsTo::Verdicts),
        set(UNSERVED_NODE_PORTS, &port, MapsTo::Verdicts),
        set(CLUSTER_IPS, &[address], MapsTo::Nothing),
        set(HAIRPIN, &[address, address], MapsTo::Nothing),
    ]
}

fn rule(comment: &str, parts: Vec<Vec<Expression>>) -> Rule {
    Rule {
        expressions: parts.concat(),
        comment: comment.to_owned(),
    }
}

/// Rules that look an address up, then a node port.
fn look_up(
    first: Vec<Expression>,
    addresses: &str,
    ports: &str,
    node_port_addresses: &[IpNet],
) -> Vec<Rule> {
    let by_address = vec![
        first.clone(),
        vec![matches::load_address(Family::V4, false, 0)],
        matches::load_port(1).to_vec(),
        vec![Expression::VerdictMap {
            map: addresses.to_owned(),
            slot: 0,
        }],
    ];
    let mut rules = vec![rule("service addresses", by_address)];
    let by_port = |within: Vec<Expression>| {
        let parts = vec![
            first.clone(),
            matches::local(false),
            within,
            matches::load_port(0).to_vec(),
            vec![Expression::VerdictMap {
                map: ports.to_owned(),
                slot: 0,
            }],
        ];
        rule("node ports", parts)
    };
    if node_port_addresses.is_empty() {
        rules.push(by_port(Vec::new()));
    }
    for net in ipv4(node_port_addresses) {
        rules.push(by_port(matches::in_network(net, false, true)));
    }
    rules
}

fn jump(name: &str) -> Rule {
    rule(
        "",
        vec![vec![Expression::Verdict(Verdict::Jump(name.to_owned()))]],
    )
}

fn ipv4(nets: &[IpNet]) -> impl Iterator<Item = &IpNet> {
    nets.iter().filter(|net| matches!(net, IpNet::V4(_)))
}

/// What comes from elsewhere than a pod to a service's cluster address is masqueraded, as the reply
/// might not come back through this node.
fn outsiders(cluster: &[IpNet]) -> Option<Rule> {
    let mut parts: Vec<_> = ipv4(cluster)
        .map(|net| matches::in_network(net, true, false))
        .collect();
    if parts.is_empty() {
        return None;
    }
    let member = Expression::Member {
        set: CLUSTER_IPS.to_owned(),
        slot: 0,
        inverted: false,
    };
    parts.push(vec![matches::load_address(Family::V4, false, 0), member]);
    parts.push(matches::set_mark(MASQUERADE_MARK, true));
    Some(rule("not from a pod", parts))
}

fn chains(surroundings: &Surroundings) -> Vec<(Chain, Vec<Rule>)> {
    let node_port_addresses = &surroundings.node_ports[..];
    let plain = |name: &str| Chain {
        name: name.to_owned(),
        base: None,
    };
    let base = |name: &str, hook, priority, nat| Chain {
        name: name.to_owned(),
        base: Some((hook, priority, nat)),
    };
    let mut refuse = look_up(
        matches::new_connection(),
        UNSERVED,
        UNSERVED_NODE_PORTS,
        node_port_addresses,
    );
    refuse.push(rule(
        "no such port",
        vec![
            matches::new_connection(),
            vec![
                matches::load_address(Family::V4, false, 0),
                Expression::Member {
                    set: CLUSTER_IPS.to_owned(),
                    slot: 0,
                    inverted: false,
                },
                Expression::Reject,
            ],
        ],
    ));
    let masquerade = vec![
        rule(
            "a pod that reaches itself through a service",
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
            "from outside to a service",
            vec![
                matches::marked(MASQUERADE_MARK),
                matches::set_mark(MASQUERADE_MARK, false),
                vec![Expression::Masquerade],
            ],
        ),
    ];
    let mut dispatch: Vec<_> = outsiders(&surroundings.cluster).into_iter().collect();
    dispatch.extend(look_up(
        Vec::new(),
        SERVICES,
        NODE_PORTS,
        node_port_addresses,
    ));
    // Such a packet is of a connection the translation has lost, and would leave untranslated: the peer
    // would answer a packet it cannot make sense of with a reset.
    let lost = ipv4(&surroundings.cluster).map(|net| {
        let drop = vec![Expression::Verdict(Verdict::Drop)];
        rule(
            "from a pod, of no known connection",
            vec![
                matches::invalid(),
                matches::in_network(net, true, true),
                drop,
            ],
        )
    });
    let mut forward: Vec<_> = lost.collect();
    forward.push(jump(REFUSE));
    vec![
        (plain(DISPATCH), dispatch),
        (
            plain(REJECT),
            vec![rule("", vec![vec![Expression::Reject]])],
        ),
        (plain(REFUSE), refuse),
        (
            base("prerouting", Hook::Prerouting, -100, true),
            vec![jump(DISPATCH)],
        ),
        (
            base("output", Hook::Output, -100, true),
            vec![jump(DISPATCH)],
        ),
        (
            base("postrouting", Hook::Postrouting, 100, true),
            masquerade,
        ),
        (
            base("filter-input", Hook::Input, -110, false),
            vec![jump(REFUSE)],
        ),
        (base("filter-forward", Hook::Forward, -110, false), forward),
        // After the translation of what local processes send, which comes before for everyone else.
        (
            base("filter-output", Hook::Output, -90, false),
            vec![jump(REFUSE)],
        ),
    ]
}

/// A batch that puts an empty frame in place of the table, whatever was there.
pub(crate) fn fresh(table: &str, surroundings: &Surroundings) -> Batch {
    let mut batch = Batch::new(Family::V4, table);
    batch.reset_table();
    for set in &sets() {
        batch.add_set(set);
    }
    let chains = chains(surroundings);
    for (chain, _) in &chains {
        batch.add_chain(chain);
    }
    for (chain, rules) in &chains {
        for rule in rules {
            batch.add_rule(&chain.name, rule);
        }
    }
    batch
}

/// Writes steps into a batch.
pub(crate) fn write(batch: &mut Batch, steps: Vec<Step>) {
    let element = |(key, value): (Vec<u8>, Value)| Element { key, value };
    for step in steps {
        match step {
            Step::AddSet(set) => batch.add_set(&set),
            Step::AddChain(name) => batch.add_chain(&Chain { name, base: None }),
            Step::DeleteElements(set, keys) => {
                let elements: Vec<_> = keys
                    .into_iter()
                    .map(|key| element((key, Value::None)))
                    .collect();
                batch.delete_elements(set, &elements);
            }
            Step::FlushChain(name) => batch.flush_chain(&name),
            Step::AddRule(chain, rule) => batch.add_rule(&chain, &rule),
            Step::AddElements(set, elements) => {
                batch.add_elements(set, &elements.into_iter().map(element).collect::<Vec<_>>());
            }
            Step::DeleteChain(name) => batch.delete_chain(&name),
            Step::DeleteSet(name) => batch.delete_set(&name),
        }
    }
}
