//! The group discovery.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    core::endpoints::endpoint_ip,
    names,
    object::Object,
    validation::checks::{immutable, one_of, wrongs},
};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;

/// Defaults of an EndpointSlice.
pub fn endpoint_slice(object: &mut Value) {
    for port in object.list_mut("ports") {
        port.set_default("name", "");
        port.set_default("protocol", "TCP");
    }
}

/// Everything wrong with a new EndpointSlice.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let root = Path::ROOT;
    one_of(
        object,
        "addressType",
        &["FQDN", "IPv4", "IPv6"],
        &root,
        errors,
    );
    ports(object.list("ports"), &root.field("ports"), errors);
    let list = root.field("endpoints");
    let endpoints = object.list("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many(list, endpoints.len(), ENDPOINTS_MAX));
        return;
    }
    let kind = object.text("addressType");
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = list.index(index);
        addresses(endpoint, kind, &path, errors);
        let node = endpoint.text("nodeName");
        if endpoint.has("nodeName") {
            wrongs(
                node,
                names::dns1123_subdomain(node),
                &path.field("nodeName"),
                errors,
            );
        }
        let host = endpoint.text("hostname");
        if endpoint.has("hostname") {
            wrongs(
                host,
                names::dns1123_label(host),
                &path.field("hostname"),
                errors,
            );
        }
        hints(endpoint.at("hints"), &path.field("hints"), errors);
    }
}

fn ports(ports: &[Value], list: &Path<'_>, errors: &mut Vec<FieldError>) {
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many(list, ports.len(), PORTS_MAX));
        return;
    }
    for (index, port) in ports.iter().enumerate() {
        let path = list.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            wrongs(
                name,
                names::dns1123_label(name),
                &path.field("name"),
                errors,
            );
        }
        if ports[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(path.field("name"), name));
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        let app = port.text("appProtocol");
        if port.has("appProtocol") {
            wrongs(
                app,
                names::qualified_name(app),
                &path.field("appProtocol"),
                errors,
            );
        }
    }
}

fn addresses(endpoint: &Value, kind: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("addresses");
    let addresses = endpoint.list("addresses");
    if addresses.is_empty() {
        errors.push(FieldError::required(
            list,
            "must contain at least 1 address",
        ));
    } else if addresses.len() > ADDRESSES_MAX {
        errors.push(FieldError::too_many(list, addresses.len(), ADDRESSES_MAX));
    }
    for (index, address) in endpoint.texts("addresses").enumerate() {
        let path = list.index(index);
        match kind {
            "IPv4" | "IPv6" => {
                match address.parse::<std::net::IpAddr>() {
                    Err(_) => wrongs(address, names::ip(address), &path, errors),
                    Ok(ip) if ip.is_ipv4() != (kind == "IPv4") => {
                        let wrong = format!("must be an {kind} address");
                        errors.push(FieldError::invalid(list, address, wrong));
                    }
                    Ok(_) => {}
                }
                endpoint_ip(address, &path, errors);
            }
            "FQDN" => {
                let name = address.strip_suffix('.').unwrap_or(address);
                let bad = names::dns1123_subdomain(name);
                if !bad.is_empty() {
                    errors.push(FieldError::invalid(path, address, bad.join(",")));
                } else if !name.contains('.') {
                    let wrong = "should be a domain with at least two segments separated by dots";
                    errors.push(FieldError::invalid(path, address, wrong));
                }
            }
            _ => {}
        }
    }
}

fn hints(hints: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for field in ["forZones", "forNodes"] {
        let list = path.field(field);
        let entries = hints.list(field);
        if entries.len() > HINTS_MAX {
            errors.push(FieldError::too_many(list, entries.len(), HINTS_MAX));
            continue;
        }
        for (index, entry) in entries.iter().enumerate() {
            let path = list.index(index);
            let name = entry.text("name");
            if entries[..index]
                .iter()
                .any(|other| other.text("name") == name)
            {
                errors.push(FieldError::duplicate(path.field("name"), name));
            }
            let bad = if field == "forZones" {
                names::label_value(name)
            } else {
                names::dns1123_subdomain(name)
            };
            wrongs(name, bad, &path.field("name"), errors);
        }
    }
}

/// What of an EndpointSlice may not change.
pub fn update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(object, old, "addressType", &Path::ROOT, errors);
}
