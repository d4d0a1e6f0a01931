//! Endpoints, and the addresses that may be behind a Service.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    meta, names,
    object::Object,
    validation::{
        addresses,
        checks::{one_of, required, wrongs},
    },
};

/// Addresses that endpoints and external addresses may not be.
pub fn endpoint_ip(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(ip) = addresses::sloppy(text) else {
        errors.push(FieldError::invalid(
            path,
            text,
            "must be a valid IP address",
        ));
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
    let unspecified = format!("unspecified ({text})");
    let checks = [
        (ip.is_unspecified(), unspecified.as_str()),
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

/// The subsets of Endpoints that were others before: what did not change is not judged again.
pub fn endpoints_after(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if object.at("subsets") != old.at("subsets") {
        endpoints(object, errors);
    }
}

/// What Endpoints are warned of, but those that the controller makes.
pub fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if meta::label(object, "endpoints.kubernetes.io/managed-by") == Some("endpoint-controller") {
        return warnings;
    }
    for (at, subset) in object.list("subsets").iter().enumerate() {
        for field in ["addresses", "notReadyAddresses"] {
            for (index, address) in subset.list(field).iter().enumerate() {
                let path = format!("subsets[{at}].{field}[{index}].ip");
                addresses::ip_warnings(address.text("ip"), &path, &mut warnings);
            }
        }
    }
    warnings
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
                let field = path.field("ip");
                addresses::ip(ip, &field, errors);
                let node = address.text("nodeName");
                if address.has("nodeName") {
                    let field = path.field("nodeName");
                    wrongs(node, names::dns1123_subdomain(node), &field, errors);
                }
                endpoint_ip(ip, &field, errors);
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
            if port.has("appProtocol") {
                let app = port.text("appProtocol");
                let field = path.field("appProtocol");
                wrongs(app, names::qualified_name(app), &field, errors);
            }
        }
    }
}
