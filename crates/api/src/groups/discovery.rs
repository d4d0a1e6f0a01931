//! The group discovery.k8s.io.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    core::endpoints::endpoint_ip,
    meta, names,
    object::Object,
    validation::{
        addresses,
        checks::{immutable, one_of, supported, wrongs},
    },
};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;
/// Who makes EndpointSlices out of addresses that are right.
const MAKERS: [&str; 2] = [
    "endpointslice-controller.k8s.io",
    "endpointslicemirroring-controller.k8s.io",
];

/// Defaults of an EndpointSlice.
pub fn endpoint_slice(object: &mut Value) {
    for port in object.list_mut("ports") {
        port.set_default("name", "");
        port.set_default("protocol", "TCP");
    }
}

/// Before an EndpointSlice is written: where an endpoint is its node and zone tell.
pub fn prepare(object: &mut Value, old: &Value) {
    if object.at("endpoints") == old.at("endpoints") {
        return;
    }
    for endpoint in object.list_mut("endpoints") {
        endpoint.remove("deprecatedTopology");
    }
}

/// What an EndpointSlice is warned of, but those that the controllers make.
pub fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if object.text("addressType") == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let maker = meta::label(object, "endpointslice.kubernetes.io/managed-by");
    if maker.is_some_and(|maker| MAKERS.contains(&maker)) {
        return warnings;
    }
    for (at, endpoint) in object.list("endpoints").iter().enumerate() {
        for (index, address) in endpoint.texts("addresses").enumerate() {
            let path = format!("endpoints[{at}].addresses[{index}]");
            addresses::ip_warnings(address, &path, &mut warnings);
        }
    }
    warnings
}

/// Everything wrong with an EndpointSlice that was another before: endpoints that did not change are not
/// judged again.
pub fn validate_after(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if object.at("endpoints") == old.at("endpoints") {
        let mut rest = object.clone();
        rest.remove("endpoints");
        validate(&rest, errors);
    } else {
        validate(object, errors);
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
        endpoint_addresses(endpoint, kind, &path, errors);
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
        let protocols = ["SCTP", "TCP", "UDP"];
        supported(port, "protocol", &protocols, &path, errors);
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

fn endpoint_addresses(endpoint: &Value, kind: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("addresses");
    let count = endpoint.list("addresses").len();
    if count == 0 {
        errors.push(FieldError::required(
            list,
            "must contain at least 1 address",
        ));
    } else if count > ADDRESSES_MAX {
        errors.push(FieldError::too_many(list, count, ADDRESSES_MAX));
    }
    for (index, address) in endpoint.texts("addresses").enumerate() {
        let path = list.index(index);
        match kind {
            "IPv4" | "IPv6" => {
                let before = errors.len();
                if kind == "IPv4" {
                    addresses::ip(address, &path, errors);
                } else {
                    addresses::strict_ip(address, &path, errors);
                }
                if errors.len() > before {
                    continue;
                }
                if addresses::is_v6(address) != (kind == "IPv6") {
                    let wrong = format!("must be an {kind} address");
                    errors.push(FieldError::invalid(list, address, wrong));
                }
                endpoint_ip(address, &path, errors);
            }
            "FQDN" => domain(address, &path, errors),
            _ => {}
        }
    }
}

/// A name with a domain, without an alias.
fn domain(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let mut bad = |text: &str, wrongs: Vec<String>| {
        if !wrongs.is_empty() {
            errors.push(FieldError::invalid(path, text, wrongs.join(",")));
        }
        !wrongs.is_empty()
    };
    if bad(name, names::dns1123_subdomain(name)) {
        return;
    }
    if !name.contains('.') {
        let wrong = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, name, wrong));
        return;
    }
    let _ = name
        .split('.')
        .any(|label| bad(label, names::dns1123_label(label)));
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
