//! What is wrong with Services.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use super::{is_external, is_headless, needs_health_check};
use crate::{
    core::endpoints::endpoint_ip,
    meta, names,
    object::Object,
    validation::{
        addresses,
        checks::{labels, one_of, one_of_if_set, port_or_name, wrongs},
    },
};

const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const BALANCED_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

/// Everything wrong with a Service; what `old` has may stay as it is.
pub fn service(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let hints = meta::annotation(object, TOPOLOGY_HINTS);
    let mode = meta::annotation(object, TOPOLOGY_MODE);
    if let (Some(hints), Some(mode)) = (hints, mode)
        && hints != mode
    {
        let wrong = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        let path = format!("metadata.annotations[{TOPOLOGY_MODE}]");
        errors.push(FieldError::invalid(path, mode, wrong));
    }
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
            let list = path.field("clusterIPs");
            errors.push(FieldError::invalid(list.index(0), "None", wrong));
        }
        "ExternalName" => external_name(spec, &path, errors),
        _ => {}
    }
    let list = path.field("ports");
    for (index, item) in ports.iter().enumerate() {
        let path = list.index(index);
        port(item, &ports[..index], ports.len() > 1, kind, &path, errors);
    }
    labels(spec.at("selector"), &path.field("selector"), errors);
    affinity(spec, &path, errors);
    if kind != "ExternalName" {
        cluster_ips(object, old, &path, errors);
    }
    let list = path.field("externalIPs");
    for (index, ip) in spec.texts("externalIPs").enumerate() {
        let path = list.index(index);
        let before = errors.len();
        if !old.texts("spec.externalIPs").any(|known| known == ip) {
            addresses::ip(ip, &path, errors);
        }
        if errors.len() == before {
            endpoint_ip(ip, &path, errors);
        }
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(spec, "type", &types, &path, errors);
    balanced(object, old, &path, errors);
    policies(object, &path, errors);
}

fn external_name(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
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
    let field = path.field("externalName");
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else {
        wrongs(name, names::dns1123_subdomain(name), &field, errors);
    }
}

fn affinity(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], path, errors);
    let config = path.field("sessionAffinityConfig");
    match spec.text("sessionAffinity") {
        "ClientIP" => {
            let client = config.field("clientIP");
            let value = spec.at("sessionAffinityConfig.clientIP.timeoutSeconds");
            let seconds = value.as_i64().unwrap_or(0);
            if !(1..=86400).contains(&seconds) {
                let wrong = "must be greater than 0 and less than 86400";
                let field = client.field("timeoutSeconds");
                errors.push(FieldError::invalid(field, seconds, wrong));
            }
        }
        "None" if spec.has("sessionAffinityConfig") => {
            let wrong = "must not be set when session affinity is None";
            errors.push(FieldError::forbidden(config, wrong));
        }
        _ => {}
    }
}

/// Addresses and families, which belong together.
fn cluster_ips(object: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = object.at("spec");
    let field = path.field("clusterIPs");
    let shown = || spec.at("clusterIPs").clone();
    let primary = spec.text("clusterIP");
    let ips: Vec<&str> = spec.texts("clusterIPs").collect();
    match (primary, ips.first()) {
        ("", Some(_)) => {
            let wrong = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(field, shown(), wrong));
        }
        ("", None) => {}
        (_, None) => errors.push(FieldError::required(field, "")),
        (primary, Some(first)) if *first != primary => {
            let wrong = "first value must match `clusterIP`";
            errors.push(FieldError::invalid(field, shown(), wrong));
        }
        _ => {}
    }
    let list = path.field("ipFamilies");
    let families: Vec<&str> = spec.texts("ipFamilies").collect();
    for (index, family) in families.iter().enumerate() {
        let known = ["IPv4", "IPv6"];
        if !known.contains(family) {
            errors.push(FieldError::not_supported(
                list.index(index),
                *family,
                &known,
            ));
        }
        if families[..index].contains(family) {
            errors.push(FieldError::duplicate(list.index(index), *family));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of_if_set(spec, "ipFamilyPolicy", &policies, path, errors);
    let before = errors.len();
    for (index, ip) in ips.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if ips.len() > 1 {
                let wrong = "'None' must be the first and only value";
                errors.push(FieldError::invalid(field, shown(), wrong));
            }
        } else if !old.texts("spec.clusterIPs").any(|known| known == *ip) {
            addresses::ip(ip, &field.index(index), errors);
        }
    }
    let bad = errors.len() > before;
    if ips.len() > 2 {
        let wrong = "may only hold up to 2 values";
        errors.push(FieldError::invalid(field, shown(), wrong));
    }
    if bad {
        return;
    }
    let six = ips.iter().filter(|ip| addresses::is_v6(ip)).count();
    if ips.len() > 1 && (six == 0 || six == ips.len()) {
        let wrong = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(field, shown(), wrong));
    }
    if is_headless(object) {
        return;
    }
    for (index, (ip, family)) in ips.iter().zip(&families).enumerate() {
        let is = if addresses::is_v6(ip) { "IPv6" } else { "IPv4" };
        if matches!(*family, "IPv4" | "IPv6") && *family != is {
            let wrong = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(field.index(index), *ip, wrong));
        }
    }
}

/// What only load balancers have.
fn balanced(object: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = object.at("spec");
    let is_balanced = spec.text("type") == "LoadBalancer";
    let ranges: Vec<&str> = spec.texts("loadBalancerSourceRanges").collect();
    if !ranges.is_empty() {
        let field = path.field("LoadBalancerSourceRanges");
        if !is_balanced {
            errors.push(FieldError::forbidden(field, BALANCED_ONLY));
        }
        for (index, range) in ranges.iter().enumerate() {
            let range = range.trim();
            let mut known = old.texts("spec.loadBalancerSourceRanges");
            if !known.any(|known| known.trim() == range) {
                addresses::cidr(range, &field.index(index), errors);
            }
        }
    } else if let Some(value) = meta::annotation(object, SOURCE_RANGES) {
        let metadata = Path::ROOT.field("metadata");
        let annotations = metadata.field("annotations");
        let field = annotations.key(SOURCE_RANGES);
        if !is_balanced {
            errors.push(FieldError::forbidden(field, BALANCED_ONLY));
        }
        if meta::annotation(old, SOURCE_RANGES) != Some(value) && !value.trim().is_empty() {
            for range in value.trim().split(',') {
                addresses::cidr(range.trim(), &field, errors);
            }
        }
    }
    let allocate = "allocateLoadBalancerNodePorts";
    if !is_balanced && spec.has(allocate) {
        errors.push(FieldError::forbidden(path.field(allocate), BALANCED_ONLY));
    }
    if is_balanced && !spec.has(allocate) {
        errors.push(FieldError::required(allocate, ""));
    }
    let class = path.field("loadBalancerClass");
    if spec.has("loadBalancerClass") {
        if is_balanced {
            let name = spec.text("loadBalancerClass");
            wrongs(name, names::qualified_name(name), &class, errors);
        } else {
            errors.push(FieldError::forbidden(class, BALANCED_ONLY));
        }
    }
}

fn policies(object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = object.at("spec");
    let policy = spec.text("externalTrafficPolicy");
    let known = ["Cluster", "Local"];
    if is_external(object) {
        one_of(spec, "externalTrafficPolicy", &known, path, errors);
    } else if !policy.is_empty() {
        let wrong = "may only be set for externally-accessible services";
        let field = path.field("externalTrafficPolicy");
        errors.push(FieldError::invalid(field, policy, wrong));
    }
    let health = spec.int("healthCheckNodePort").unwrap_or(0);
    let field = path.field("healthCheckNodePort");
    if !needs_health_check(object) {
        if health != 0 {
            let wrong = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(field, health, wrong));
        }
    } else if health == 0 {
        errors.push(FieldError::required(field, ""));
    } else {
        for wrong in names::port_number(health) {
            errors.push(FieldError::invalid(field, health, wrong));
        }
    }
    let internal = "internalTrafficPolicy";
    let routed = matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer");
    if routed && !spec.has(internal) {
        errors.push(FieldError::required(path.field(internal), ""));
    }
    one_of_if_set(spec, internal, &known, path, errors);
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    one_of_if_set(spec, "trafficDistribution", &known, path, errors);
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
    let field = path.field("name");
    if name.is_empty() {
        if named {
            errors.push(FieldError::required(field, ""));
        }
    } else {
        wrongs(name, names::dns1123_label(name), &field, errors);
        if before.iter().any(|other| other.text("name") == name) {
            errors.push(FieldError::duplicate(field, name));
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
        let field = path.field("appProtocol");
        wrongs(app, names::qualified_name(app), &field, errors);
    }
    let node = item.int("nodePort").unwrap_or(0);
    let field = path.field("nodePort");
    let same = |other: &Value| other.text("protocol") == item.text("protocol");
    if node != 0 {
        if kind == "ClusterIP" {
            let wrong = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(field, wrong));
        }
        let mut before = before.iter();
        if before.any(|other| same(other) && other.int("nodePort") == Some(node)) {
            errors.push(FieldError::duplicate(field, node));
        }
    }
    let mut before = before.iter();
    if before.any(|other| same(other) && other.int("port") == Some(number)) {
        let shown = json!({"protocol": item.at("protocol"), "port": number});
        errors.push(FieldError::duplicate(path, shown));
    }
}

/// What a load balancer's status may say; Ingresses have the same.
pub fn load_balancer(object: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("ingress");
    let places = object.list("status.loadBalancer.ingress");
    if object.text("spec.type") != "LoadBalancer" && !places.is_empty() {
        let wrong = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(list, wrong));
        return;
    }
    for (index, place) in places.iter().enumerate() {
        let path = list.index(index);
        let ip = place.text("ip");
        let mut known = old.list("status.loadBalancer.ingress").iter();
        if !ip.is_empty() && !known.any(|other| other.text("ip") == ip) {
            addresses::ip(ip, &path.field("ip"), errors);
        }
        let field = path.field("ipMode");
        let modes = ["Proxy", "VIP"];
        match (place.has("ipMode"), ip.is_empty()) {
            (false, false) => {
                let wrong = "must be specified when `ip` is set";
                errors.push(FieldError::required(field, wrong));
            }
            (true, true) => {
                let wrong = "may not be specified when `ip` is not set";
                errors.push(FieldError::forbidden(field, wrong));
            }
            _ => one_of_if_set(place, "ipMode", &modes, &path, errors),
        }
        host_name(place, &path, errors);
    }
}

/// The name at which a load balancer is reached.
pub fn host_name(place: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let name = place.text("hostname");
    if name.is_empty() {
        return;
    }
    let field = path.field("hostname");
    wrongs(name, names::dns1123_subdomain(name), &field, errors);
    if addresses::sloppy(name).is_some() {
        let wrong = "must be a DNS name, not an IP address";
        errors.push(FieldError::invalid(field, name, wrong));
    }
}
