//! The group networking.k8s.io.

use ipnet::IpNet;
use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    names,
    object::Object,
    validation::checks::{immutable, label_selector, required, wrongs},
};

/// Defaults of a NetworkPolicy.
pub fn network_policy(object: &mut Value) {
    let spec = object.place("spec");
    for direction in ["ingress", "egress"] {
        for rule in spec.list_mut(direction) {
            for port in rule.list_mut("ports") {
                port.set_default("protocol", "TCP");
            }
        }
    }
    if spec.list("policyTypes").is_empty() {
        let egress = !spec.list("egress").is_empty();
        spec.set(
            "policyTypes",
            if egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            },
        );
    }
}

/// Defaults of an IngressClass.
pub fn ingress_class(object: &mut Value) {
    if let Some(parameters) = object.at_mut("spec.parameters") {
        parameters.set_default("scope", "Cluster");
    }
}

/// Everything wrong with a NetworkPolicy.
pub fn validate_policy(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    label_selector(spec.at("podSelector"), &path.field("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let list = path.field(direction);
        for (index, rule) in spec.list(direction).iter().enumerate() {
            let path = list.index(index);
            let list = path.field("ports");
            for (index, port) in rule.list("ports").iter().enumerate() {
                policy_port(port, &list.index(index), errors);
            }
            let list = path.field(peers);
            for (index, peer) in rule.list(peers).iter().enumerate() {
                policy_peer(peer, &list.index(index), errors);
            }
        }
    }
    let types = spec.list("policyTypes");
    let list = path.field("policyTypes");
    if types.len() > 2 {
        let wrong = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(
            list,
            spec.at("policyTypes").clone(),
            wrong,
        ));
        return;
    }
    for (index, kind) in spec.texts("policyTypes").enumerate() {
        let known = ["Ingress", "Egress"];
        if !known.contains(&kind) {
            errors.push(FieldError::not_supported(list.index(index), kind, &known));
        }
    }
}

fn policy_port(port: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let protocol = port.text("protocol");
    let known = ["TCP", "UDP", "SCTP"];
    if port.has("protocol") && !known.contains(&protocol) {
        errors.push(FieldError::not_supported(
            path.field("protocol"),
            protocol,
            &known,
        ));
    }
    let end = port.int("endPort");
    let number = port.at("port");
    if !number.is_null() {
        crate::validation::checks::port_or_name(number, &path.field("port"), errors);
    }
    let Some(end) = end else { return };
    let field = path.field("endPort");
    match number {
        Value::Null => {
            errors.push(FieldError::invalid(
                field,
                end,
                "may not be specified when `port` is not specified",
            ));
        }
        Value::String(_) => {
            errors.push(FieldError::invalid(
                field,
                end,
                "may not be specified when `port` is non-numeric",
            ));
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            if end < number {
                errors.push(FieldError::invalid(
                    field,
                    number,
                    "must be greater than or equal to `port`",
                ));
            }
            for wrong in names::port_number(end) {
                errors.push(FieldError::invalid(field, end, wrong));
            }
        }
    }
}

fn policy_peer(peer: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut selectors = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if peer.has(field) {
            selectors += 1;
            label_selector(peer.at(field), &path.field(field), errors);
        }
    }
    let block = peer.at("ipBlock");
    if block.is_null() {
        if selectors == 0 {
            errors.push(FieldError::required(path, "must specify a peer"));
        }
        return;
    }
    if selectors > 0 {
        errors.push(FieldError::forbidden(
            path,
            "may not specify both ipBlock and another peer",
        ));
    }
    let path = path.field("ipBlock");
    let cidr = required(block, "cidr", &path, errors);
    if cidr.is_empty() {
        return;
    }
    wrongs(cidr, names::cidr(cidr), &path.field("cidr"), errors);
    let Ok(whole) = cidr.parse::<IpNet>() else {
        return;
    };
    let list = path.field("except");
    for (index, text) in block.texts("except").enumerate() {
        let path = list.index(index);
        match text.parse::<IpNet>() {
            Err(_) => wrongs(text, names::cidr(text), &path, errors),
            Ok(part) if !whole.contains(&part) || whole.prefix_len() >= part.prefix_len() => {
                errors.push(FieldError::invalid(
                    path,
                    text,
                    "must be a strict subset of `cidr`",
                ));
            }
            Ok(_) => {}
        }
    }
}

/// Everything wrong with an Ingress.
pub fn validate_ingress(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let rules = spec.list("rules");
    if rules.is_empty() && !spec.has("defaultBackend") {
        let wrong = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(path, spec.at("rules").clone(), wrong));
    }
    if spec.has("defaultBackend") {
        backend(
            spec.at("defaultBackend"),
            &path.field("defaultBackend"),
            errors,
        );
    }
    let list = path.field("rules");
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        let name = rule.text("host");
        if !name.is_empty() {
            host(name, &path.field("host"), errors);
        }
        if rule.has("http") {
            let http = path.field("http");
            let list = http.field("paths");
            let paths = rule.list("http.paths");
            if paths.is_empty() {
                errors.push(FieldError::required(list, ""));
            }
            for (index, item) in paths.iter().enumerate() {
                http_path(item, &list.index(index), errors);
            }
        }
    }
    let list = path.field("tls");
    for (index, tls) in spec.list("tls").iter().enumerate() {
        let path = list.index(index);
        let hosts = path.field("hosts");
        for (index, name) in tls.texts("hosts").enumerate() {
            wrongs(name, dns_name(name), &hosts.index(index), errors);
        }
        let secret = tls.text("secretName");
        if !secret.is_empty() {
            wrongs(
                secret,
                names::dns1123_subdomain(secret),
                &path.field("secretName"),
                errors,
            );
        }
    }
    let class = spec.text("ingressClassName");
    if spec.has("ingressClassName") {
        wrongs(
            class,
            names::dns1123_subdomain(class),
            &path.field("ingressClassName"),
            errors,
        );
    }
}

fn host(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if name.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid(
            path,
            name,
            "must be a DNS name, not an IP address",
        ));
    }
    wrongs(name, dns_name(name), path, errors);
}

/// What is wrong with a name of a host, or of every host of a domain.
fn dns_name(name: &str) -> Vec<String> {
    if name.contains('*') {
        names::wildcard_subdomain(name)
    } else {
        names::dns1123_subdomain(name)
    }
}

fn http_path(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let text = item.text("path");
    match item.text("pathType") {
        "" if !item.has("pathType") => {
            errors.push(FieldError::required(
                path.field("pathType"),
                "pathType must be specified",
            ));
            return;
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(FieldError::invalid(
                    path.field("path"),
                    text,
                    "must be an absolute path",
                ));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(part) {
                    errors.push(FieldError::invalid(
                        path.field("path"),
                        text,
                        format!("must not contain '{part}'"),
                    ));
                }
            }
            for end in ["/..", "/."] {
                if text.ends_with(end) {
                    errors.push(FieldError::invalid(
                        path.field("path"),
                        text,
                        format!("cannot end with '{end}'"),
                    ));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(FieldError::invalid(
                    path.field("path"),
                    text,
                    "must be an absolute path",
                ));
            }
        }
        other => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(
                path.field("pathType"),
                other,
                &known,
            ));
        }
    }
    backend(item.at("backend"), &path.field("backend"), errors);
}

fn backend(backend: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let service = backend.at("service");
    match (backend.has("resource"), !service.is_null()) {
        (true, true) => {
            errors.push(FieldError::invalid(
                path,
                "",
                "cannot set both resource and service backends",
            ));
        }
        (true, false) => {
            let path = path.field("resource");
            required(backend.at("resource"), "kind", &path, errors);
            required(backend.at("resource"), "name", &path, errors);
        }
        (false, true) => {
            let own = path.field("service");
            let name = required(service, "name", &own, errors);
            if !name.is_empty() {
                wrongs(name, names::dns1123_label(name), &own.field("name"), errors);
            }
            let (port, number) = (
                service.text("port.name"),
                service.int("port.number").unwrap_or(0),
            );
            let field = own.field("port");
            match (port.is_empty(), number) {
                (true, 0) => errors.push(FieldError::required(
                    path,
                    "port name or number is required",
                )),
                (true, number) => {
                    for wrong in names::port_number(number) {
                        errors.push(FieldError::invalid(field.field("number"), number, wrong));
                    }
                }
                (false, 0) => wrongs(port, names::port_name(port), &field.field("name"), errors),
                (false, _) => {
                    errors.push(FieldError::invalid(
                        path,
                        "",
                        "cannot set both port name & port number",
                    ));
                }
            }
        }
        (false, false) => {
            errors.push(FieldError::invalid(
                path,
                "",
                "resource or service backend is required",
            ));
        }
    }
}

/// Everything wrong with an IngressClass.
pub fn validate_class(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let controller = object.text("spec.controller");
    if controller.len() > 250 {
        errors.push(FieldError::too_long(path.field("controller"), 250));
    }
    let parts = controller.split_once('/');
    match parts {
        None => {
            if controller.is_empty() {
                errors.push(FieldError::required(path.field("controller"), ""));
            } else {
                let wrong = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                errors.push(FieldError::invalid(
                    path.field("controller"),
                    controller,
                    wrong,
                ));
            }
        }
        Some((domain, _)) => wrongs(
            domain,
            names::dns1123_subdomain(domain),
            &path.field("controller"),
            errors,
        ),
    }
}

/// What of an IngressClass may not change.
pub fn update_class(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(
        object.at("spec"),
        old.at("spec"),
        "controller",
        &Path::ROOT.field("spec"),
        errors,
    );
}

/// Everything wrong with a ServiceCIDR.
pub fn validate_cidr(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let list = path.field("cidrs");
    let cidrs = object.list("spec.cidrs");
    if cidrs.is_empty() {
        errors.push(FieldError::required(list, "at least one CIDR required"));
    } else if cidrs.len() > 2 {
        let wrong = "may only hold up to 2 values";
        errors.push(FieldError::invalid(
            list,
            object.at("spec.cidrs").clone(),
            wrong,
        ));
    }
    for (index, cidr) in object.texts("spec.cidrs").enumerate() {
        wrongs(cidr, names::cidr(cidr), &list.index(index), errors);
    }
}

/// What of an IPAddress and of a ServiceCIDR may not change.
pub fn update_fixed_spec(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(object, old, "spec", &Path::ROOT, errors);
}

/// The name of an IPAddress is the address.
pub fn ip_name(name: &str, _prefix: bool) -> Vec<String> {
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.to_string() == name => Vec::new(),
        Ok(_) => vec!["must be a canonical format IP address".to_owned()],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// Everything wrong with an IPAddress.
pub fn validate_address(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = Path::ROOT.field("spec");
    let path = spec.field("parentRef");
    let parent = object.at("spec.parentRef");
    if parent.is_null() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    required(parent, "resource", &path, errors);
    required(parent, "name", &path, errors);
}
