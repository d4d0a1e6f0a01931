//! Services and what stands behind them: Endpoints, EndpointSlices, Ingresses.

use api::object::Object;
use serde_json::Value;

use super::{
    Ask, Layout,
    page::{Page, Row, joined, or_none, shown},
};
use crate::session::escape;

/// So many addresses are named; the others are counted.
const NAMED: usize = 3;

fn slices(key: String, namespace: &str, service: &str) -> Ask {
    let labels = escape(&format!("kubernetes.io/service-name={service}"));
    Ask::new(
        key,
        format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={labels}"
        ),
    )
    .optional()
}

/// How Services are described.
pub const SERVICE: Layout = Layout {
    asks: |service| {
        vec![slices(
            "slices".into(),
            service.text("metadata.namespace"),
            service.text("metadata.name"),
        )]
    },
    ..Layout::new(
        "v1",
        "Service",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Line("Selector", |s| joined(s.at("spec.selector"))),
            Row::Field("Type", "spec.type"),
            Row::Given("IP Family Policy", "spec.ipFamilyPolicy"),
            Row::Joined("IP Families", "spec.ipFamilies", ",", "<none>"),
            Row::Field("IP", "spec.clusterIP"),
            Row::Joined("IPs", "spec.clusterIPs", ",", "<none>"),
            Row::GivenLine("External IPs", |s| list(s, "spec.externalIPs")),
            Row::Given("Desired LoadBalancer IP", "spec.loadBalancerIP"),
            Row::Given("External Name", "spec.externalName"),
            Row::GivenLine("LoadBalancer Ingress", balancer),
            Row::Part(ports),
            Row::Field("Session Affinity", "spec.sessionAffinity"),
            Row::Given("External Traffic Policy", "spec.externalTrafficPolicy"),
            Row::Given("Internal Traffic Policy", "spec.internalTrafficPolicy"),
            Row::Given("HealthCheck NodePort", "spec.healthCheckNodePort"),
            Row::GivenLine("LoadBalancer Source Ranges", |s| {
                list(s, "spec.loadBalancerSourceRanges")
            }),
            Row::Given("Traffic Distribution", "spec.trafficDistribution"),
        ],
    )
};

fn list(object: &Value, path: &str) -> Option<String> {
    let items: Vec<&str> = object.texts(path).collect();
    (!items.is_empty()).then(|| items.join(","))
}

fn balancer(service: &Value) -> Option<String> {
    let ingress = service.list("status.loadBalancer.ingress");
    let texts: Vec<String> = ingress
        .iter()
        .map(|i| match (i.text("ip"), i.text("ipMode")) {
            ("", _) => i.text("hostname").to_string(),
            (ip, "") => ip.to_string(),
            (ip, mode) => format!("{ip} ({mode})"),
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn ports(service: &Value, page: &mut Page) {
    for port in service.list("spec.ports") {
        let protocol = port.text("protocol");
        let name = match port.text("name") {
            "" => "<unset>",
            name => name,
        };
        let number = shown(port.at("port"));
        page.field(0, "Port", format!("{name}\t{number}/{protocol}"));
        let target = match port.at("targetPort") {
            Value::Null => "0".into(),
            target => shown(target),
        };
        page.field(0, "TargetPort", format!("{target}/{protocol}"));
        page.rows(0, port, &[Row::Given("AppProtocol", "appProtocol")]);
        if let Some(node) = port.int("nodePort").filter(|p| *p != 0) {
            page.field(0, "NodePort", format!("{name}\t{node}/{protocol}"));
        }
        let behind = endpoints(page.answers.items("slices"), port.text("name"));
        page.field(0, "Endpoints", behind);
    }
}

/// The ready addresses of a port, the first few by name.
fn endpoints(slices: &[Value], port: &str) -> String {
    if slices.is_empty() {
        return or_none(String::new());
    }
    let mut all = Vec::new();
    for slice in slices {
        let ready = slice
            .list("endpoints")
            .iter()
            .filter(|e| e.at("conditions.ready") != &Value::Bool(false));
        let addresses: Vec<&str> = ready.filter_map(|e| e.texts("addresses").next()).collect();
        if slice.list("ports").is_empty() {
            all.extend(addresses.iter().map(|a| (*a).to_string()));
        }
        for number in slice
            .list("ports")
            .iter()
            .filter(|p| p.text("name") == port)
        {
            let number = shown(number.at("port"));
            all.extend(addresses.iter().map(|a| {
                if a.contains(':') {
                    format!("[{a}]:{number}")
                } else {
                    format!("{a}:{number}")
                }
            }));
        }
    }
    let named = all[..all.len().min(NAMED)].join(",");
    if all.len() > NAMED {
        format!("{named} + {} more...", all.len() - NAMED)
    } else {
        named
    }
}

/// How Endpoints are described.
pub const ENDPOINTS: Layout = Layout::new(
    "v1",
    "Endpoints",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Words("Subsets:\n"),
        Row::Part(subsets),
    ],
);

fn subsets(endpoints: &Value, page: &mut Page) {
    for subset in endpoints.list("subsets") {
        for (title, field) in [
            ("Addresses", "addresses"),
            ("NotReadyAddresses", "notReadyAddresses"),
        ] {
            let addresses: Vec<&str> = subset.list(field).iter().map(|a| a.text("ip")).collect();
            page.field(1, title, or_none(addresses.join(",")));
        }
        let ports = subset.list("ports");
        if !ports.is_empty() {
            page.line(1, "Ports:");
            port_table(ports, 2, page);
        }
        page.line(0, "");
    }
}

fn port_table(ports: &[Value], level: usize, page: &mut Page) {
    page.line(level, "Name\tPort\tProtocol");
    page.line(level, "----\t----\t--------");
    for port in ports {
        let or_unset = |field: &str| match shown(port.at(field)) {
            none if none.is_empty() => "<unset>".into(),
            text => text,
        };
        page.line(
            level,
            format!(
                "{}\t{}\t{}",
                or_unset("name"),
                or_unset("port"),
                port.text("protocol")
            ),
        );
    }
}

/// How EndpointSlices are described.
pub const SLICE: Layout = Layout::new(
    "discovery.k8s.io/v1",
    "EndpointSlice",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Field("AddressType", "addressType"),
        Row::Part(slice),
    ],
);

fn slice(slice: &Value, page: &mut Page) {
    let ports = slice.list("ports");
    if ports.is_empty() {
        page.line(0, "Ports: <unset>");
    } else {
        page.line(0, "Ports:");
        port_table(ports, 1, page);
    }
    let endpoints = slice.list("endpoints");
    if endpoints.is_empty() {
        page.line(0, "Endpoints: <none>");
        return;
    }
    page.line(0, "Endpoints:");
    for endpoint in endpoints {
        let addresses: Vec<&str> = endpoint.texts("addresses").collect();
        page.field(1, "- Addresses", or_none(addresses.join(", ")));
        page.line(2, "Conditions:");
        page.rows(
            3,
            endpoint,
            &[Row::Or("Ready", "conditions.ready", "<unset>")],
        );
        page.rows(
            2,
            endpoint,
            &[
                Row::Or("Hostname", "hostname", "<unset>"),
                Row::GivenLine("TargetRef", |e| {
                    let of = e.at("targetRef");
                    of.is_object()
                        .then(|| format!("{}/{}", of.text("kind"), of.text("name")))
                }),
                Row::Or("NodeName", "nodeName", "<unset>"),
                Row::Or("Zone", "zone", "<unset>"),
            ],
        );
    }
}

/// How Ingresses are described.
pub const INGRESS: Layout = Layout {
    asks: |ingress| {
        let namespace = ingress.text("metadata.namespace");
        let mut asks = Vec::new();
        for name in backends(ingress) {
            asks.push(slices(format!("slices/{name}"), namespace, name));
            let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
            asks.push(Ask::new(format!("service/{name}"), path).optional());
        }
        asks
    },
    ..Layout::new(
        "networking.k8s.io/v1",
        "Ingress",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Labels("Labels", "metadata.labels"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Line("Address", |i| {
                let ingress = i.list("status.loadBalancer.ingress").iter();
                let places = ingress.map(|i| match i.text("ip") {
                    "" => i.text("hostname"),
                    ip => ip,
                });
                let places: std::collections::BTreeSet<&str> =
                    places.filter(|p| !p.is_empty()).collect();
                places.into_iter().collect::<Vec<_>>().join(",")
            }),
            Row::Or("Ingress Class", "spec.ingressClassName", "<none>"),
            Row::Part(rules),
            Row::Annotations,
        ],
    )
};

/// The names of the Services behind it.
fn backends(ingress: &Value) -> Vec<&str> {
    let paths = ingress
        .list("spec.rules")
        .iter()
        .flat_map(|r| r.list("http.paths"));
    let mut names: Vec<&str> = paths
        .map(|p| p.text("backend.service.name"))
        .chain([ingress.text("spec.defaultBackend.service.name")])
        .filter(|n| !n.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn rules(ingress: &Value, page: &mut Page) {
    let default = match ingress.at("spec.defaultBackend") {
        Value::Null => "<default>".into(),
        default => backend(default, page),
    };
    page.field(0, "Default backend", &default);
    let tls = ingress.list("spec.tls");
    if !tls.is_empty() {
        page.line(0, "TLS:");
    }
    for secret in tls {
        let hosts: Vec<&str> = secret.texts("hosts").collect();
        let hosts = hosts.join(",");
        match secret.text("secretName") {
            "" => page.line(1, format!("SNI routes {hosts}")),
            name => page.line(1, format!("{name} terminates {hosts}")),
        }
    }
    page.line(0, "Rules:\n  Host\tPath\tBackends");
    page.line(1, "----\t----\t--------");
    let mut none = true;
    for rule in ingress.list("spec.rules").iter().filter(|r| r.has("http")) {
        none = false;
        let host = match rule.text("host") {
            "" => "*",
            host => host,
        };
        page.line(1, format!("{host}\t"));
        for path in rule.list("http.paths") {
            let behind = backend(path.at("backend"), page);
            page.line(2, format!("\t{} \t{behind}", path.text("path")));
        }
    }
    if none {
        page.line(1, format!("*\t*\t{default}"));
    }
}

fn backend(backend: &Value, page: &Page) -> String {
    let service = backend.at("service");
    if !service.is_null() {
        let name = service.text("name");
        let port = match service.int("port.number") {
            Some(number) if number != 0 => number.to_string(),
            _ => service.text("port.name").to_string(),
        };
        let title = format!("{name}:{port}");
        for key in [format!("slices/{name}"), format!("service/{name}")] {
            if let Some(error) = page.answers.error(&key) {
                return format!("{title} (<error: {error}>)");
            }
        }
        let mut port_name = "";
        for port in page
            .answers
            .object(&format!("service/{name}"))
            .list("spec.ports")
        {
            let wanted = service.at("port");
            let by_number = wanted.int("number").is_some_and(|n| n != 0)
                && wanted.at("number") == port.at("port");
            let by_name =
                !wanted.text("name").is_empty() && wanted.text("name") == port.text("name");
            if by_number || by_name {
                port_name = port.text("name");
            }
        }
        let behind = endpoints(page.answers.items(&format!("slices/{name}")), port_name);
        return format!("{title} ({behind})");
    }
    match backend.at("resource") {
        Value::Null => String::new(),
        resource => format!(
            "APIGroup: {}, Kind: {}, Name: {}",
            or_none(resource.text("apiGroup").to_string()),
            resource.text("kind"),
            resource.text("name")
        ),
    }
}

/// How IngressClasses are described.
pub const INGRESS_CLASS: Layout = Layout::new(
    "networking.k8s.io/v1",
    "IngressClass",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Field("Controller", "spec.controller"),
        Row::Part(|class, page| {
            let parameters = class.at("spec.parameters");
            if !parameters.is_null() {
                page.line(0, "Parameters:");
                page.rows(
                    1,
                    parameters,
                    &[
                        Row::Given("APIGroup", "apiGroup"),
                        Row::Field("Kind", "kind"),
                        Row::Field("Name", "name"),
                    ],
                );
            }
        }),
    ],
);
