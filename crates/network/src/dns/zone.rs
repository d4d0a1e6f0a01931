//! The cluster's zone: what is known of services, and the answer to a name. Pure.
//!
//! Follows the DNS specification for Kubernetes 1.1.0: services by name, headless services by endpoint,
//! `_port._protocol` for SRV, addresses spelt out under `pod`, reverse names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Service;

use crate::services::{Key, Slices};

/// What is told of the zone's version.
pub const SCHEMA_VERSION: &str = "1.1.0";

/// A port of a service or endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Its name, lower case; may be empty.
    pub name: String,
    /// Its protocol, lower case.
    pub protocol: String,
    /// Its number.
    pub number: u16,
}

/// An endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its host name, or its address with dashes.
    pub host: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// What a service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Addresses(Vec<IpAddr>),
    Headless,
    Alias(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    target: Target,
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
}

/// One fact of an answer. Names are relative to the zone unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The name asked for has this address.
    Address(IpAddr),
    /// The name asked for is another name for this absolute one.
    Alias(String),
    /// A server at a name in the zone, with its addresses.
    Server {
        /// Labels of the name, relative to the zone.
        target: Vec<String>,
        /// Its port.
        port: u16,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// A text.
    Text(String),
    /// The absolute name of an address.
    Pointer(Vec<String>),
    /// The zone's own authority record.
    Authority,
    /// The zone's name server.
    NameServer,
}

/// What the zone says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name exists; what there is of the type asked for, perhaps nothing.
    Exists(Vec<Fact>),
    /// There is no such name.
    NoSuchName,
}

/// The type asked for, as far as the zone tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Servers.
    Srv,
    /// Texts.
    Txt,
    /// The authority record.
    Soa,
    /// Name servers.
    Ns,
    /// The alias itself.
    Cname,
    /// Everything.
    Any,
    /// Something the zone has none of.
    Other,
}

/// The content of the zone.
#[derive(Debug, Default)]
pub struct Zone {
    services: HashMap<Key, Entry>,
    namespaces: HashMap<String, usize>,
    /// Address → services that have it, as their own or as an endpoint's.
    reverse: HashMap<IpAddr, BTreeSet<Key>>,
    /// Address of the name server.
    server: Option<IpAddr>,
}

fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

/// An address spelt with dashes.
fn undashed(label: &str) -> Option<IpAddr> {
    if let Ok(v4) = label.replace('-', ".").parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(v4));
    }
    label
        .replace('-', ":")
        .parse::<Ipv6Addr>()
        .ok()
        .map(IpAddr::V6)
}

fn port(name: Option<&str>, protocol: Option<&str>, number: i32) -> Option<Port> {
    Some(Port {
        name: name.unwrap_or_default().to_ascii_lowercase(),
        protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
        number: u16::try_from(number).ok()?,
    })
}

fn endpoints(slices: Option<&Slices>, unready_too: bool) -> Vec<Endpoint> {
    let mut found: BTreeMap<(IpAddr, String), BTreeSet<Port>> = BTreeMap::new();
    for slice in slices.into_iter().flat_map(BTreeMap::values) {
        let ports: Vec<_> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port?))
            .collect();
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint
                .conditions
                .as_ref()
                .and_then(|c| c.ready)
                .unwrap_or(true);
            if !(ready || unready_too) {
                continue;
            }
            for ip in endpoint
                .addresses
                .iter()
                .filter_map(|text| text.parse::<IpAddr>().ok())
            {
                let host = match &endpoint.hostname {
                    Some(name) if !name.is_empty() => name.to_ascii_lowercase(),
                    _ => dashed(ip),
                };
                found
                    .entry((ip, host))
                    .or_default()
                    .extend(ports.iter().cloned());
            }
        }
    }
    found
        .into_iter()
        .map(|((ip, host), ports)| Endpoint {
            host,
            ip,
            ports: ports.into_iter().collect(),
        })
        .collect()
}

fn entry(service: &Service, slices: Option<&Slices>) -> Option<Entry> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let name = spec.external_name.as_deref().unwrap_or_default();
        let target = Target::Alias(name.trim_end_matches('.').to_owned());
        return Some(Entry {
            target,
            ports: Vec::new(),
            endpoints: Vec::new(),
        });
    }
    let ips = match &spec.cluster_ips {
        Some(ips) if !ips.is_empty() => ips.clone(),
        _ => spec.cluster_ip.iter().cloned().collect(),
    };
    let headless = ips.first().is_some_and(|ip| ip == "None");
    let addresses: Vec<_> = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    if !headless && addresses.is_empty() {
        return None;
    }
    let ports = spec.ports.iter().flatten();
    Some(Entry {
        target: if headless {
            Target::Headless
        } else {
            Target::Addresses(addresses)
        },
        ports: ports
            .filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port))
            .collect(),
        endpoints: endpoints(slices, spec.publish_not_ready_addresses.unwrap_or(false)),
    })
}

impl Entry {
    fn addresses(&self) -> Vec<IpAddr> {
        match &self.target {
            Target::Addresses(ips) => ips.clone(),
            Target::Headless => {
                let ips: BTreeSet<_> = self.endpoints.iter().map(|e| e.ip).collect();
                ips.into_iter().collect()
            }
            Target::Alias(_) => Vec::new(),
        }
    }

    fn all_ips(&self) -> BTreeSet<IpAddr> {
        self.addresses()
            .into_iter()
            .chain(self.endpoints.iter().map(|e| e.ip))
            .collect()
    }
}

fn of_type(ips: &[IpAddr], kind: Type) -> Vec<Fact> {
    let wanted = |ip: &&IpAddr| match kind {
        Type::A => ip.is_ipv4(),
        Type::Aaaa => ip.is_ipv6(),
        Type::Any => true,
        _ => false,
    };
    ips.iter()
        .filter(wanted)
        .map(|ip| Fact::Address(*ip))
        .collect()
}

impl Zone {
    /// A zone without services whose name server has this address.
    #[must_use]
    pub fn new(server: Option<IpAddr>) -> Self {
        Self {
            server,
            ..Self::default()
        }
    }

    /// Takes a service's present state; none when it is gone.
    pub fn update(&mut self, key: &Key, service: Option<&Service>, slices: Option<&Slices>) {
        if let Some(old) = self.services.remove(key) {
            for ip in old.all_ips() {
                if let Some(keys) = self.reverse.get_mut(&ip) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.reverse.remove(&ip);
                    }
                }
            }
            if let Some(count) = self.namespaces.get_mut(&key.namespace) {
                *count -= 1;
                if *count == 0 {
                    self.namespaces.remove(&key.namespace);
                }
            }
        }
        if let Some(new) = service.and_then(|service| entry(service, slices)) {
            for ip in new.all_ips() {
                self.reverse.entry(ip).or_default().insert(key.clone());
            }
            *self.namespaces.entry(key.namespace.clone()).or_default() += 1;
            self.services.insert(key.clone(), new);
        }
    }

    /// Number of services with a name.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// The answer to a name in the zone, given as its lower-case labels without the zone's own.
    #[must_use]
    pub fn answer(&self, labels: &[&str], kind: Type) -> Answer {
        let exists = Answer::Exists;
        match labels {
            [] => exists(match kind {
                Type::Soa => vec![Fact::Authority],
                Type::Ns => vec![Fact::NameServer],
                Type::Any => vec![Fact::Authority, Fact::NameServer],
                _ => Vec::new(),
            }),
            ["dns-version"] => exists(match kind {
                Type::Txt | Type::Any => vec![Fact::Text(SCHEMA_VERSION.to_owned())],
                _ => Vec::new(),
            }),
            ["dns" | "svc" | "pod"] => exists(Vec::new()),
            ["ns", "dns"] => exists(self.server.map_or_else(Vec::new, |ip| of_type(&[ip], kind))),
            [ip, _, "pod"] => match undashed(ip) {
                Some(ip) => exists(of_type(&[ip], kind)),
                None => Answer::NoSuchName,
            },
            [_, "pod"] => exists(Vec::new()),
            [namespace, "svc"] if self.namespaces.contains_key(*namespace) => exists(Vec::new()),
            [inner @ .., service, namespace, "svc"] => {
                let key = Key {
                    namespace: (*namespace).to_owned(),
                    name: (*service).to_owned(),
                };
                self.services
                    .get(&key)
                    .map_or(Answer::NoSuchName, |e| answer_service(e, &key, inner, kind))
            }
            _ => Answer::NoSuchName,
        }
    }

    /// The names of an address; none when the zone does not know it.
    #[must_use]
    pub fn reverse(&self, ip: IpAddr) -> Option<Vec<Fact>> {
        let mut names = Vec::new();
        for key in self.reverse.get(&ip)? {
            let Some(entry) = self.services.get(key) else {
                continue;
            };
            if matches!(&entry.target, Target::Addresses(ips) if ips.contains(&ip)) {
                // A service's own address has that one name.
                return Some(vec![Fact::Pointer(service_labels(key, &[]))]);
            }
            let ends = entry.endpoints.iter().filter(|e| e.ip == ip);
            names.extend(ends.map(|e| Fact::Pointer(service_labels(key, &[&e.host]))));
        }
        Some(names)
    }
}

fn service_labels(key: &Key, before: &[&str]) -> Vec<String> {
    let all = before
        .iter()
        .copied()
        .chain([key.name.as_str(), key.namespace.as_str(), "svc"]);
    all.map(str::to_owned).collect()
}

fn answer_service(entry: &Entry, key: &Key, inner: &[&str], kind: Type) -> Answer {
    if let Target::Alias(name) = &entry.target {
        return match inner {
            [] if !name.is_empty() => Answer::Exists(vec![Fact::Alias(name.clone())]),
            [] => Answer::Exists(Vec::new()),
            _ => Answer::NoSuchName,
        };
    }
    match inner {
        [] => match kind {
            Type::Srv => Answer::Exists(servers(entry, key, |_| true)),
            _ => Answer::Exists(of_type(&entry.addresses(), kind)),
        },
        [protocol] if protocol.starts_with('_') => {
            let known = entry.ports.iter().any(|p| p.protocol == protocol[1..]);
            if known {
                Answer::Exists(Vec::new())
            } else {
                Answer::NoSuchName
            }
        }
        [host] => {
            let ips: Vec<_> = entry
                .endpoints
                .iter()
                .filter(|e| e.host == *host)
                .map(|e| e.ip)
                .collect();
            match (ips.is_empty(), kind) {
                (true, _) => Answer::NoSuchName,
                (false, Type::Srv) => {
                    let all = servers_at(entry, key, |e| e.host == *host, |_| true);
                    Answer::Exists(all)
                }
                (false, _) => Answer::Exists(of_type(&ips, kind)),
            }
        }
        [name, protocol] => {
            let (Some(name), Some(protocol)) = (name.strip_prefix('_'), protocol.strip_prefix('_'))
            else {
                return Answer::NoSuchName;
            };
            let found = servers(entry, key, |p| p.name == name && p.protocol == protocol);
            let declared = entry
                .ports
                .iter()
                .any(|p| p.name == name && p.protocol == protocol);
            match (found.is_empty() && !declared, kind) {
                (true, _) => Answer::NoSuchName,
                (false, Type::Srv | Type::Any) => Answer::Exists(found),
                (false, _) => Answer::Exists(Vec::new()),
            }
        }
        _ => Answer::NoSuchName,
    }
}

fn servers(entry: &Entry, key: &Key, wanted: impl Fn(&Port) -> bool) -> Vec<Fact> {
    match &entry.target {
        Target::Addresses(ips) => entry
            .ports
            .iter()
            .filter(|p| wanted(p))
            .map(|p| Fact::Server {
                target: service_labels(key, &[]),
                port: p.number,
                addresses: ips.clone(),
            })
            .collect(),
        _ => servers_at(entry, key, |_| true, wanted),
    }
}

fn servers_at(
    entry: &Entry,
    key: &Key,
    at: impl Fn(&Endpoint) -> bool,
    wanted: impl Fn(&Port) -> bool,
) -> Vec<Fact> {
    let mut found: BTreeMap<(&str, u16), Vec<IpAddr>> = BTreeMap::new();
    for endpoint in entry.endpoints.iter().filter(|e| at(e)) {
        for port in endpoint.ports.iter().filter(|p| wanted(p)) {
            found
                .entry((&endpoint.host, port.number))
                .or_default()
                .push(endpoint.ip);
        }
    }
    found
        .into_iter()
        .map(|((host, port), addresses)| Fact::Server {
            target: service_labels(key, &[host]),
            port,
            addresses,
        })
        .collect()
}
