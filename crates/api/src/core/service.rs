//! Services.

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{labels, one_of, port_or_name, required, wrongs},
};

/// What Services do specially.
pub struct Service;

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        defaults(object);
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _now: Timestamp) {
        if part == Part::Main {
            drop_of_other_types(object, old);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        service(object, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part == Part::Main {
            addresses_kept(object, old, errors);
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        let name = if prefix {
            name.trim_end_matches('-')
        } else {
            name
        };
        if prefix && name.is_empty() {
            Vec::new()
        } else {
            names::dns1035_label(name)
        }
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

fn is_headless(object: &Value) -> bool {
    object
        .texts("spec.clusterIPs")
        .next()
        .unwrap_or_else(|| object.text("spec.clusterIP"))
        == "None"
}

fn is_external(object: &Value) -> bool {
    let kind = object.text("spec.type");
    matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !object.list("spec.externalIPs").is_empty())
}

/// A change of type takes away what only the old type has, unless the writer changed it as well.
fn drop_of_other_types(object: &mut Value, old: &Value) {
    let (now, before) = (
        object.text("spec.type").to_owned(),
        old.text("spec.type").to_owned(),
    );
    if now == before {
        return;
    }
    let has_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    let ports = |object: &Value| {
        object
            .list("spec.ports")
            .iter()
            .map(|port| port.int("nodePort").unwrap_or(0))
            .collect::<Vec<_>>()
    };
    if has_ports(&before) && !has_ports(&now) && ports(object) == ports(old) {
        for port in object
            .at_mut("spec")
            .map_or(&mut [][..], |spec| spec.list_mut("ports"))
        {
            port.remove("nodePort");
        }
    }
    let mut drop_same = |fields: &[&str]| {
        for field in fields {
            let path = format!("spec.{field}");
            if object.at(&path) == old.at(&path) {
                object.remove(&path);
            }
        }
    };
    if now == "ExternalName" {
        drop_same(&[
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ]);
    }
    if before == "ExternalName" {
        drop_same(&["externalName"]);
    }
    if before == "LoadBalancer" {
        drop_same(&[
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
            "healthCheckNodePort",
        ]);
    }
    if !is_external(object) {
        object.remove("spec.externalTrafficPolicy");
    }
}

fn service(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let kind = spec.text("type");
    let headless = is_headless(object);
    let ports = spec.list("ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(path.field("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let wrong = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(
                path.field("clusterIPs").index(0),
                "None",
                wrong,
            ));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if spec.has(field) && !spec.at(field).as_array().is_some_and(Vec::is_empty) {
                    errors.push(FieldError::forbidden(
                        path.field(field),
                        "may not be set for ExternalName services",
                    ));
                }
            }
            let name = spec.text("externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.push(FieldError::required(path.field("externalName"), ""));
            } else {
                wrongs(
                    name,
                    names::dns1123_subdomain(name),
                    &path.field("externalName"),
                    errors,
                );
            }
        }
        _ => {}
    }
    let list = path.field("ports");
    for (index, item) in ports.iter().enumerate() {
        port(
            item,
            &ports[..index],
            ports.len() > 1,
            kind,
            &list.index(index),
            errors,
        );
    }
    labels(spec.at("selector"), &path.field("selector"), errors);
    one_of(
        spec,
        "sessionAffinity",
        &["ClientIP", "None"],
        &path,
        errors,
    );
    if spec.text("sessionAffinity") == "ClientIP" {
        let seconds = spec
            .int("sessionAffinityConfig.clientIP.timeoutSeconds")
            .unwrap_or(0);
        if !(1..=86400).contains(&seconds) {
            let config = path.field("sessionAffinityConfig");
            let client = config.field("clientIP");
            let wrong = "must be greater than 0 and less than 86400";
            errors.push(FieldError::invalid(
                client.field("timeoutSeconds"),
                seconds,
                wrong,
            ));
        }
    }
    one_of(
        spec,
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        &path,
        errors,
    );
    for (index, ip) in spec.texts("clusterIPs").enumerate() {
        if ip != "None" && !names::ip(ip).is_empty() {
            wrongs(
                ip,
                names::ip(ip),
                &path.field("clusterIPs").index(index),
                errors,
            );
        }
    }
    for (index, ip) in spec.texts("externalIPs").enumerate() {
        let path = path.field("externalIPs");
        let path = path.index(index);
        wrongs(ip, names::ip(ip), &path, errors);
        endpoint_ip(ip, &path, errors);
    }
    if kind != "LoadBalancer" {
        for (field, shown) in [
            ("loadBalancerSourceRanges", "LoadBalancerSourceRanges"),
            (
                "allocateLoadBalancerNodePorts",
                "allocateLoadBalancerNodePorts",
            ),
            ("loadBalancerClass", "loadBalancerClass"),
        ] {
            if spec.has(field) && !spec.at(field).as_array().is_some_and(Vec::is_empty) {
                let wrong = "may only be used when `type` is 'LoadBalancer'";
                errors.push(FieldError::forbidden(path.field(shown), wrong));
            }
        }
    }
    for (index, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
        let list = path.field("LoadBalancerSourceRanges");
        wrongs(range, names::cidr(range.trim()), &list.index(index), errors);
    }
    policies(object, &path, errors);
}

fn policies(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = object.at("spec");
    let policy = spec.text("externalTrafficPolicy");
    if is_external(object) {
        one_of(
            spec,
            "externalTrafficPolicy",
            &["Cluster", "Local"],
            path,
            errors,
        );
    } else if !policy.is_empty() {
        let wrong = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(
            path.field("externalTrafficPolicy"),
            policy,
            wrong,
        ));
    }
    let health = spec.int("healthCheckNodePort").unwrap_or(0);
    if health != 0 && !(spec.text("type") == "LoadBalancer" && policy == "Local") {
        let wrong =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(
            path.field("healthCheckNodePort"),
            health,
            wrong,
        ));
    }
    let kind = spec.text("type");
    if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
        one_of(
            spec,
            "internalTrafficPolicy",
            &["Cluster", "Local"],
            path,
            errors,
        );
    }
    if spec.has("trafficDistribution") {
        let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        one_of(spec, "trafficDistribution", &known, path, errors);
    }
}

fn port(
    item: &Value,
    before: &[Value],
    named: bool,
    kind: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let name = item.text("name");
    if name.is_empty() {
        if named {
            errors.push(FieldError::required(path.field("name"), ""));
        }
    } else {
        wrongs(
            name,
            names::dns1123_label(name),
            &path.field("name"),
            errors,
        );
        if before.iter().any(|other| other.text("name") == name) {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
    }
    let number = item.int("port").unwrap_or(0);
    for wrong in names::port_number(number) {
        errors.push(FieldError::invalid(path.field("port"), number, wrong));
    }
    one_of(item, "protocol", &["SCTP", "TCP", "UDP"], path, errors);
    port_or_name(item.at("targetPort"), &path.field("targetPort"), errors);
    let app = item.text("appProtocol");
    if item.has("appProtocol") {
        wrongs(
            app,
            names::qualified_name(app),
            &path.field("appProtocol"),
            errors,
        );
    }
    let node = item.int("nodePort").unwrap_or(0);
    let same = |other: &Value| other.text("protocol") == item.text("protocol");
    if node != 0 {
        if kind == "ClusterIP" {
            let wrong = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(path.field("nodePort"), wrong));
        }
        if before
            .iter()
            .any(|other| same(other) && other.int("nodePort") == Some(node))
        {
            errors.push(FieldError::duplicate(path.field("nodePort"), node));
        }
    }
    if before
        .iter()
        .any(|other| same(other) && other.int("port") == Some(number))
    {
        let shown = json!({"protocol": item.at("protocol"), "port": number});
        errors.push(FieldError::duplicate(path, shown));
    }
}

/// Addresses that endpoints and external addresses may not be.
pub fn endpoint_ip(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Ok(ip) = text.parse::<std::net::IpAddr>() else {
        return;
    };
    let link_local = |v4: bool| match ip {
        std::net::IpAddr::V4(ip) => v4 && ip.is_link_local(),
        std::net::IpAddr::V6(ip) => !v4 && ip.is_unicast_link_local(),
    };
    let link_local_multicast = match ip {
        std::net::IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        std::net::IpAddr::V6(ip) => ip.segments()[0] == 0xff02,
    };
    let checks = [
        (ip.is_unspecified(), "unspecified"),
        (
            ip.is_loopback(),
            "in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            link_local(true) || link_local(false),
            "in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            link_local_multicast,
            "in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ];
    for (bad, what) in checks {
        if bad {
            errors.push(FieldError::invalid(
                path,
                text,
                format!("may not be {what}"),
            ));
        }
    }
}

/// A Service keeps its addresses as long as it has any.
fn addresses_kept(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let external = |object: &Value| object.text("spec.type") == "ExternalName";
    if external(object) || external(old) || (is_headless(object) && is_headless(old)) {
        return;
    }
    let path = Path::ROOT.field("spec");
    let list = path.field("clusterIPs");
    let now: Vec<&str> = object.texts("spec.clusterIPs").collect();
    let before: Vec<&str> = old.texts("spec.clusterIPs").collect();
    if before.is_empty() {
        return;
    }
    if now.is_empty() {
        let wrong = "primary clusterIP can not be unset";
        errors.push(FieldError::invalid(
            list.index(0),
            object.at("spec.clusterIPs").clone(),
            wrong,
        ));
        return;
    }
    for (index, (now, before)) in now.iter().zip(&before).enumerate() {
        if now != before {
            let wrong = "may not change once set";
            errors.push(FieldError::invalid(
                list.index(index),
                object.at("spec.clusterIPs").clone(),
                wrong,
            ));
        }
    }
    if now.len() == 1 && before.len() > 1 && object.text("spec.ipFamilyPolicy") != "SingleStack" {
        let wrong = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        errors.push(FieldError::invalid(
            path.field("ipFamilyPolicy"),
            object.text("spec.ipFamilyPolicy"),
            wrong,
        ));
    }
    let class = path.field("loadBalancerClass");
    let balanced = |object: &Value| object.text("spec.type") == "LoadBalancer";
    if balanced(object)
        && balanced(old)
        && object.at("spec.loadBalancerClass") != old.at("spec.loadBalancerClass")
    {
        let wrong = "may not change once set";
        errors.push(FieldError::invalid(
            class,
            object.text("spec.loadBalancerClass"),
            wrong,
        ));
    }
}

/// The subsets of Endpoints.
pub fn endpoints(object: &Value, errors: &mut Vec<FieldError>) {
    let list = Path::ROOT.field("subsets");
    for (index, subset) in object.list("subsets").iter().enumerate() {
        let path = list.index(index);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            errors.push(FieldError::required(
                path,
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for field in ["addresses", "notReadyAddresses"] {
            let list = path.field(field);
            for (index, address) in subset.list(field).iter().enumerate() {
                let path = list.index(index);
                let ip = address.text("ip");
                wrongs(ip, names::ip(ip), &path.field("ip"), errors);
                endpoint_ip(ip, &path.field("ip"), errors);
                let host = address.text("hostname");
                if !host.is_empty() {
                    wrongs(
                        host,
                        names::dns1123_label(host),
                        &path.field("hostname"),
                        errors,
                    );
                }
            }
        }
        let ports = subset.list("ports");
        let list = path.field("ports");
        for (index, port) in ports.iter().enumerate() {
            let path = list.index(index);
            let name = port.text("name");
            if name.is_empty() && ports.len() > 1 {
                required(port, "name", &path, errors);
            } else if !name.is_empty() {
                wrongs(
                    name,
                    names::dns1123_label(name),
                    &path.field("name"),
                    errors,
                );
            }
            let number = port.int("port").unwrap_or(0);
            for wrong in names::port_number(number) {
                errors.push(FieldError::invalid(path.field("port"), number, wrong));
            }
            one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        }
    }
}

/// Defaults of a Service. Addresses, ports and address families are the allocator's part.
pub fn defaults(object: &mut Value) {
    object.set_default_text("spec.sessionAffinity", "None");
    let spec = object.place("spec");
    if spec.text("sessionAffinity") == "None" {
        spec.remove("sessionAffinityConfig");
    } else if spec.text("sessionAffinity") == "ClientIP"
        && !spec.has("sessionAffinityConfig.clientIP.timeoutSeconds")
    {
        spec.set(
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    spec.set_default_text("type", "ClusterIP");
    for port in spec.list_mut("ports") {
        port.set_default_text("protocol", "TCP");
        let target = port.at("targetPort");
        if target.is_null() || target.as_i64() == Some(0) || target.as_str() == Some("") {
            let number = port.at("port").clone();
            port.set("targetPort", number);
        }
    }
    let kind = spec.text("type").to_owned();
    let external = matches!(&*kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !spec.list("externalIPs").is_empty());
    if external {
        spec.set_default_text("externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        spec.set_default("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.set_default("allocateLoadBalancerNodePorts", true);
        for ingress in object.list_mut("status.loadBalancer.ingress") {
            if !ingress.text("ip").is_empty() {
                ingress.set_default("ipMode", "VIP");
            }
        }
    }
}
