//! NetworkPolicies, and the addresses of Services: ServiceCIDRs, IPAddresses.

use api::object::Object;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Events, Layout,
    page::{Cell, Page, Row, Table, or_none, selector, shown},
};

/// How NetworkPolicies are described.
pub const POLICY: Layout = Layout {
    events: Events::None,
    ..Layout::new(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Part(|policy, page| {
                let time = policy
                    .text("metadata.creationTimestamp")
                    .parse::<Timestamp>();
                let text = time.map_or_else(
                    |_| "0001-01-01 00:00:00 +0000 UTC".into(),
                    |t| {
                        let zoned = t.to_zoned(page.moment.zone.clone());
                        zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
                    },
                );
                page.field(0, "Created on", text);
            }),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Words("Spec:\n"),
            Row::Part(policy),
        ],
    )
};

/// What a direction's rules are called.
struct Direction {
    kind: &'static str,
    name: &'static str,
    rules: &'static str,
    peers: &'static str,
    peer: &'static str,
    other: &'static str,
}

const DIRECTIONS: [Direction; 2] = [
    Direction {
        kind: "Ingress",
        name: "ingress",
        rules: "spec.ingress",
        peers: "from",
        peer: "From",
        other: "source",
    },
    Direction {
        kind: "Egress",
        name: "egress",
        rules: "spec.egress",
        peers: "to",
        peer: "To",
        other: "destination",
    },
];

fn policy(policy: &Value, page: &mut Page) {
    page.put(1, "PodSelector: ");
    match selector(policy.at("spec.podSelector")) {
        all if all == "<none>" => page.line(
            2,
            "<none> (Allowing the specific traffic to all pods in this namespace)",
        ),
        some => page.line(2, some),
    }
    let types: Vec<&str> = policy.texts("spec.policyTypes").collect();
    for direction in &DIRECTIONS {
        if types.contains(&direction.kind) {
            page.line(1, format!("Allowing {} traffic:", direction.name));
            rules(policy.list(direction.rules), direction, page);
        } else {
            page.line(1, format!("Not affecting {} traffic", direction.name));
        }
    }
    page.line(1, format!("Policy Types: {}", or_none(types.join(", "))));
}

fn rules(rules: &[Value], direction: &Direction, page: &mut Page) {
    if rules.is_empty() {
        page.line(
            2,
            format!(
                "<none> (Selected pods are isolated for {} connectivity)",
                direction.name
            ),
        );
    }
    for (at, rule) in rules.iter().enumerate() {
        let ports = rule.list("ports");
        if ports.is_empty() {
            page.line(2, "To Port: <any> (traffic allowed to all ports)");
        }
        for port in ports {
            let protocol = match port.text("protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            let number = match port.at("port") {
                Value::Null => "<nil>".into(),
                number => shown(number),
            };
            page.line(
                2,
                match port.int("endPort") {
                    None => format!("To Port: {number}/{protocol}"),
                    Some(end) => format!("To Port Range: {number}-{end}/{protocol}"),
                },
            );
        }
        let peers = rule.list(direction.peers);
        if peers.is_empty() {
            page.line(
                2,
                format!(
                    "{}: <any> (traffic not restricted by {})",
                    direction.peer, direction.other
                ),
            );
        }
        for peer in peers {
            page.line(2, format!("{}:", direction.peer));
            self::peer(peer, page);
        }
        if at + 1 < rules.len() {
            page.line(2, "----------");
        }
    }
}

fn peer(peer: &Value, page: &mut Page) {
    let mut selected = false;
    for (title, field) in [
        ("NamespaceSelector", "namespaceSelector"),
        ("PodSelector", "podSelector"),
    ] {
        if peer.has(field) {
            page.line(3, format!("{title}: {}", selector(peer.at(field))));
            selected = true;
        }
    }
    if !selected && peer.has("ipBlock") {
        let except: Vec<&str> = peer.texts("ipBlock.except").collect();
        page.line(3, "IPBlock:");
        page.line(4, format!("CIDR: {}", peer.text("ipBlock.cidr")));
        page.line(4, format!("Except: {}", except.join(", ")));
    }
}

/// How ServiceCIDRs are described.
pub const SERVICE_CIDR: Layout = Layout::new(
    "networking.k8s.io/v1",
    "ServiceCIDR",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Joined("CIDRs", "spec.cidrs", ", ", ""),
        Row::Table(&Table {
            title: "Status:\nConditions:",
            ..CONDITIONS
        }),
    ],
);

/// Conditions with the time of their last change.
pub const CONDITIONS: Table = Table {
    title: "Conditions:",
    head: "Type\tStatus\tLastTransitionTime\tReason\tMessage",
    under: "----\t------\t------------------\t------\t-------",
    list: "status.conditions",
    cells: &[
        Cell::Text("type"),
        Cell::Text("status"),
        Cell::Time("lastTransitionTime"),
        Cell::Text("reason"),
        Cell::Text("message"),
    ],
};

/// How IPAddresses are described.
pub const IP_ADDRESS: Layout = Layout::new(
    "networking.k8s.io/v1",
    "IPAddress",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Part(|address, page| {
            if address.has("spec.parentRef") {
                page.line(0, "Parent Reference:");
                page.rows(
                    1,
                    address.at("spec.parentRef"),
                    &[
                        Row::Field("Group", "group"),
                        Row::Field("Resource", "resource"),
                        Row::Field("Namespace", "namespace"),
                        Row::Field("Name", "name"),
                    ],
                );
            }
        }),
    ],
);
