//! Services and what belongs to them.

use jiff::Timestamp;
use schema::Value;

use super::{
    AGE, NAME, NAME_AGE, Printer, age, joined, label_map, name, or, selector, some, text, wide,
};
use crate::object::Object;

/// How the kind is shown, if it belongs here.
pub fn printer(group: &str, kind: &str) -> Option<Printer> {
    Some(match (group, kind) {
        ("", "Service") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Type"),
                    text("Cluster-IP"),
                    text("External-IP"),
                    text("Port(s)"),
                    AGE,
                    wide("Selector"),
                ]
            },
            row: service,
        },
        ("", "Endpoints") => Printer {
            columns: const { &[NAME, text("Endpoints"), AGE] },
            row: |object, now| vec![name(object), endpoints(object).into(), age(object, now)],
        },
        ("discovery.k8s.io", "EndpointSlice") => Printer {
            columns: const {
                &[
                    NAME,
                    text("AddressType"),
                    text("Ports"),
                    text("Endpoints"),
                    AGE,
                ]
            },
            row: |object, now| {
                vec![
                    name(object),
                    object.text("addressType").into(),
                    slice_ports(object).into(),
                    slice_addresses(object).into(),
                    age(object, now),
                ]
            },
        },
        ("networking.k8s.io", "Ingress") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Class"),
                    text("Hosts"),
                    text("Address"),
                    text("Ports"),
                    AGE,
                ]
            },
            row: ingress,
        },
        ("networking.k8s.io", "IngressClass") => Printer {
            columns: const { &[NAME, text("Controller"), text("Parameters"), AGE] },
            row: |object, now| {
                let parameters = object.at("spec.parameters");
                let text = if parameters.is_null() {
                    "<none>".to_owned()
                } else {
                    let kind = crate::resource::qualify(
                        parameters.text("kind"),
                        parameters.text("apiGroup"),
                    );
                    format!("{kind}/{}", parameters.text("name"))
                };
                vec![
                    name(object),
                    object.text("spec.controller").into(),
                    text.into(),
                    age(object, now),
                ]
            },
        },
        ("networking.k8s.io", "NetworkPolicy") => Printer {
            columns: const { &[NAME, text("Pod-Selector"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    selector(object.at("spec.podSelector")).into(),
                    age(object, now),
                ]
            },
        },
        ("networking.k8s.io", "ServiceCIDR") => Printer {
            columns: const { &[NAME, text("CIDRs"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    joined(object.texts("spec.cidrs")).into(),
                    age(object, now),
                ]
            },
        },
        ("networking.k8s.io", "IPAddress") => Printer {
            columns: const { &[NAME, text("ParentRef")] },
            row: |object, _| {
                let parent = object.at("spec.parentRef");
                if parent.is_null() {
                    return vec![name(object), "<none>".into()];
                }
                let kind = crate::resource::qualify(parent.text("resource"), parent.text("group"));
                let mut text = kind.to_lowercase();
                for field in ["namespace", "name"] {
                    if field == "name" || !parent.text(field).is_empty() {
                        text = format!("{text}/{}", parent.text(field));
                    }
                }
                vec![name(object), text.into()]
            },
        },
        ("networking.k8s.io", _) => NAME_AGE,
        _ => return None,
    })
}

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = object.at("spec");
    let ports: Vec<String> = spec
        .list("ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (port.int("port").unwrap_or(0), port.text("protocol"));
            match port.int("nodePort").unwrap_or(0) {
                0 => format!("{number}/{protocol}"),
                node => format!("{number}:{node}/{protocol}"),
            }
        })
        .collect();
    vec![
        name(object),
        spec.text("type").into(),
        spec.texts("clusterIPs").next().unwrap_or("<none>").into(),
        external(object).into(),
        or(&ports.join(","), "<none>").into(),
        age(object, now),
        label_map(spec.at("selector")).into(),
    ]
}

fn external(object: &Value) -> String {
    let spec = object.at("spec");
    let own = joined(spec.texts("externalIPs"));
    match spec.text("type") {
        "ClusterIP" | "NodePort" => or(&own, "<none>").to_owned(),
        "LoadBalancer" => {
            let balanced = load_balancer(object);
            match (balanced.is_empty(), own.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (false, true) => balanced,
                (true, false) => own,
                (false, false) => format!("{balanced},{own}"),
            }
        }
        "ExternalName" => spec.text("externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn load_balancer(object: &Value) -> String {
    let mut all: Vec<&str> = Vec::new();
    for ingress in object.list("status.loadBalancer.ingress") {
        let address = or(ingress.text("ip"), ingress.text("hostname"));
        if !address.is_empty() && !all.contains(&address) {
            all.push(address);
        }
    }
    all.join(",")
}

/// An address with a port, in brackets where it needs them.
fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

fn endpoints(object: &Value) -> String {
    let subsets = object.list("subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = || {
            subset
                .list("addresses")
                .iter()
                .map(|address| address.text("ip"))
        };
        if subset.list("ports").is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in subset.list("ports") {
            let number = port.int("port").unwrap_or(0);
            all.extend(addresses().map(|ip| host_port(ip, number)));
        }
    }
    if all.is_empty() {
        return String::new();
    }
    some(all)
}

fn slice_ports(object: &Value) -> String {
    let ports = object.list("ports");
    some(
        ports
            .iter()
            .map(|port| {
                let name = port.at("name").as_str().unwrap_or("*");
                port.int("port")
                    .map_or(name.to_owned(), |number| number.to_string())
            })
            .collect(),
    )
}

fn slice_addresses(object: &Value) -> String {
    let endpoints = object.list("endpoints");
    some(
        endpoints
            .iter()
            .flat_map(|endpoint| endpoint.texts("addresses").map(str::to_owned))
            .collect(),
    )
}

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = object.at("spec");
    let hosts: Vec<String> = spec
        .list("rules")
        .iter()
        .map(|rule| rule.text("host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = if hosts.is_empty() {
        "*".to_owned()
    } else {
        some(hosts)
    };
    vec![
        name(object),
        or(spec.text("ingressClassName"), "<none>").into(),
        hosts.into(),
        load_balancer(object).into(),
        if spec.list("tls").is_empty() {
            "80"
        } else {
            "80, 443"
        }
        .into(),
        age(object, now),
    ]
}
