//! What the proxy needs to know of a Service and its EndpointSlices, out of the API objects.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};

use crate::services::Key;

/// A service with this label is somebody else's to serve.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// Upstream's default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const DEFAULT_AFFINITY: Duration = Duration::from_secs(10_800);

/// A transport protocol, by its IP number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// The node as far as endpoint selection is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub name: String,
    pub zone: Option<String>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub ip: Ipv4Addr,
    pub port: u16,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub local: bool,
    /// Hinted for this node; none when it carries no node hints.
    pub for_node: Option<bool>,
    /// Hinted for this zone; none when it carries no zone hints.
    pub for_zone: Option<bool>,
}

/// A service that the proxy serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub key: Key,
    pub cluster_ips: Vec<Ipv4Addr>,
    pub external_ips: Vec<Ipv4Addr>,
    pub load_balancer_ips: Vec<Ipv4Addr>,
    pub source_ranges: Vec<IpNet>,
    pub internal_local: bool,
    pub external_local: bool,
    pub affinity: Option<Duration>,
    pub health_check_port: Option<u16>,
    pub ports: Vec<Port>,
}

fn ipv4s<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    for ip in texts.filter_map(|text| text.parse().ok()) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

fn port_number(value: i32) -> Option<u16> {
    u16::try_from(value).ok().filter(|port| *port != 0)
}

impl Service {
    /// The view of a service; none when the proxy has nothing to do for it: headless, external
    /// name, or another proxy's.
    pub fn view(
        object: &core::Service,
        slices: &BTreeMap<String, Arc<EndpointSlice>>,
        node: &Node,
    ) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        let labels = object.metadata.labels.as_ref();
        let labelled = |name| labels.is_some_and(|all| all.contains_key(name));
        if labelled(PROXY_NAME_LABEL)
            || labelled(HEADLESS_LABEL)
            || spec.type_.as_deref() == Some("ExternalName")
        {
            return None;
        }
        let cluster_ips = match &spec.cluster_ips {
            Some(ips) if !ips.is_empty() => ipv4s(ips.iter()),
            _ => ipv4s(spec.cluster_ip.iter()),
        };
        if cluster_ips.is_empty() {
            return None;
        }
        let ingress = object
            .status
            .as_ref()
            .and_then(|s| s.load_balancer.as_ref())
            .and_then(|l| l.ingress.as_ref());
        // In mode Proxy the balancer itself delivers to node ports: its address must not be short-cut.
        let vips = ingress
            .into_iter()
            .flatten()
            .filter(|i| i.ip_mode.as_deref() != Some("Proxy"));
        let balanced = spec.type_.as_deref() == Some("LoadBalancer");
        let external = balanced || spec.type_.as_deref() == Some("NodePort");
        let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let config = spec
                .session_affinity_config
                .as_ref()
                .and_then(|c| c.client_ip.as_ref());
            let seconds = config
                .and_then(|c| c.timeout_seconds)
                .and_then(|s| u64::try_from(s).ok());
            seconds
                .filter(|s| *s > 0)
                .map_or(DEFAULT_AFFINITY, Duration::from_secs)
        });
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            let name = port.name.clone().unwrap_or_default();
            let protocol = Protocol::parse(port.protocol.as_deref())?;
            Some(Port {
                port: port_number(port.port)?,
                node_port: port.node_port.filter(|_| external).and_then(port_number),
                endpoints: endpoints(slices, &name, protocol, node),
                name,
                protocol,
            })
        });
        Some(Self {
            key: Key {
                namespace: object.metadata.namespace.clone().unwrap_or_default(),
                name: object.metadata.name.clone().unwrap_or_default(),
            },
            external_ips: ipv4s(spec.external_ips.iter().flatten()),
            load_balancer_ips: if balanced {
                ipv4s(vips.filter_map(|i| i.ip.as_ref()))
            } else {
                Vec::new()
            },
            source_ranges: if balanced {
                spec.load_balancer_source_ranges
                    .iter()
                    .flatten()
                    .filter_map(|r| r.trim().parse().ok())
                    .collect()
            } else {
                Vec::new()
            },
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            affinity,
            health_check_port: spec
                .health_check_node_port
                .filter(|_| balanced && spec.external_traffic_policy.as_deref() == Some("Local"))
                .and_then(port_number),
            ports: ports.collect(),
            cluster_ips,
        })
    }
}

fn endpoints(
    slices: &BTreeMap<String, Arc<EndpointSlice>>,
    port_name: &str,
    protocol: Protocol,
    node: &Node,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<(Ipv4Addr, u16), Endpoint> = BTreeMap::new();
    for slice in slices.values().filter(|slice| slice.address_type == "IPv4") {
        let port = slice.ports.iter().flatten().find(|p| {
            p.name.as_deref().unwrap_or_default() == port_name
                && Protocol::parse(p.protocol.as_deref()) == Some(protocol)
        });
        let Some(port) = port.and_then(|p| p.port).and_then(port_number) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(view) = endpoint_view(endpoint, port, node) else {
                continue;
            };
            let slot = found
                .entry((view.ip, view.port))
                .or_insert_with(|| view.clone());
            // While an endpoint moves between slices it is in both: the more able state is the newer.
            if (view.ready, view.serving) > (slot.ready, slot.serving) {
                *slot = view;
            }
        }
    }
    found.into_values().collect()
}

fn endpoint_view(endpoint: &ApiEndpoint, port: u16, node: &Node) -> Option<Endpoint> {
    // Consumers take the first address only; the others are of the same endpoint.
    let ip: Ipv4Addr = endpoint.addresses.first()?.parse().ok()?;
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let hints = endpoint.hints.as_ref();
    let nodes = hints
        .and_then(|h| h.for_nodes.as_ref())
        .filter(|all| !all.is_empty());
    let zones = hints
        .and_then(|h| h.for_zones.as_ref())
        .filter(|all| !all.is_empty());
    Some(Endpoint {
        ip,
        port,
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        local: endpoint.node_name.as_deref() == Some(node.name.as_str()),
        for_node: nodes.map(|all| all.iter().any(|hint| hint.name == node.name)),
        for_zone: zones.map(|all| {
            all.iter()
                .any(|hint| Some(&hint.name) == node.zone.as_ref())
        }),
    })
}

/// Ready endpoints; when there are none, those that still serve while they terminate.
fn usable(endpoints: &[Endpoint], wanted: impl Fn(&Endpoint) -> bool) -> Vec<&Endpoint> {
    let ready: Vec<_> = endpoints.iter().filter(|e| wanted(e) && e.ready).collect();
    if ready.is_empty() {
        endpoints
            .iter()
            .filter(|e| wanted(e) && e.serving && e.terminating)
            .collect()
    } else {
        ready
    }
}

/// The endpoints that traffic of policy Cluster goes to: those hinted for this node or zone when
/// every ready endpoint carries such hints and some are for us, else all.
pub(crate) fn cluster_endpoints(endpoints: &[Endpoint]) -> Vec<&Endpoint> {
    let all = usable(endpoints, |_| true);
    for hint in [|e: &Endpoint| e.for_node, |e: &Endpoint| e.for_zone] {
        if all.iter().all(|e| e.ready && hint(e).is_some()) {
            let near: Vec<_> = all
                .iter()
                .filter(|e| hint(e) == Some(true))
                .copied()
                .collect();
            if !near.is_empty() {
                return near;
            }
        }
    }
    all
}

/// The endpoints that traffic of policy Local goes to.
pub(crate) fn local_endpoints(endpoints: &[Endpoint]) -> Vec<&Endpoint> {
    usable(endpoints, |e| e.local)
}
