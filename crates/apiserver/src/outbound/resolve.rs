//! From a Service to addresses: its cluster address, the name an `ExternalName` service stands for, or,
//! where a service has no address of its own, its ready endpoints.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::meta;
use api::object::Object;
use serde_json::Value;

use super::config::ServiceTarget;
use super::error::OutboundError;
use crate::objects::Objects;

/// Addresses tried for one connection.
const MAX_TRIED: usize = 8;

/// Where something can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// At these addresses.
    Known(Vec<SocketAddr>),
    /// Wherever the name leads.
    Name(String, u16),
}

impl Addresses {
    pub(super) async fn look_up(self) -> Result<Vec<SocketAddr>, OutboundError> {
        match self {
            Addresses::Known(addresses) => Ok(addresses),
            Addresses::Name(host, port) => match host.parse::<IpAddr>() {
                Ok(ip) => Ok(vec![SocketAddr::new(ip, port)]),
                Err(_) => match tokio::net::lookup_host((host.as_str(), port)).await {
                    Ok(found) => Ok(found.take(MAX_TRIED).collect()),
                    Err(_) => Err(OutboundError::Dial(format!(
                        "dial tcp: lookup {host}: no such host"
                    ))),
                },
            },
        }
    }
}

/// The addresses of a service's port.
pub(super) fn service(
    objects: &Objects,
    target: &ServiceTarget,
) -> Result<Addresses, OutboundError> {
    let ServiceTarget {
        namespace, name, ..
    } = target;
    let service = objects
        .value("", "services", namespace, name)
        .ok_or_else(|| OutboundError::Service(format!("service {name:?} not found")))?;
    plan(&service, target, || {
        objects.values("discovery.k8s.io", "endpointslices", Some(namespace))
    })
}

fn plan(
    service: &Value,
    target: &ServiceTarget,
    slices: impl FnOnce() -> Vec<Arc<Value>>,
) -> Result<Addresses, OutboundError> {
    let name = &target.name;
    if service.text("spec.type") == "ExternalName" {
        let host = service.text("spec.externalName").to_owned();
        return Ok(Addresses::Name(host, target.port));
    }
    let port = service
        .list("spec.ports")
        .iter()
        .find(|p| p.int("port") == Some(i64::from(target.port)))
        .ok_or_else(|| {
            OutboundError::Service(format!(
                "no service port {} found for service {name:?}",
                target.port
            ))
        })?;
    if let Ok(ip) = service.text("spec.clusterIP").parse::<IpAddr>() {
        return Ok(Addresses::Known(vec![SocketAddr::new(ip, target.port)]));
    }
    let mut found = Vec::new();
    for slice in slices() {
        if meta::label(&slice, "kubernetes.io/service-name") == Some(name) {
            found.extend(ready(&slice, port.text("name")));
        }
    }
    if found.is_empty() {
        return Err(OutboundError::Service(format!(
            "no endpoints available for service {name:?}"
        )));
    }
    found.truncate(MAX_TRIED);
    Ok(Addresses::Known(found))
}

/// The ready addresses of a slice, at its port of this name.
fn ready(slice: &Value, port: &str) -> Vec<SocketAddr> {
    let number = slice
        .list("ports")
        .iter()
        .find(|p| p.text("name") == port)
        .and_then(|p| p.int("port"))
        .and_then(|p| u16::try_from(p).ok());
    let Some(number) = number else {
        return Vec::new();
    };
    slice
        .list("endpoints")
        .iter()
        .filter(|endpoint| endpoint.at("conditions.ready").as_bool().unwrap_or(true))
        .flat_map(|endpoint| endpoint.texts("addresses"))
        .filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, number)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolved(service: &Value, port: u16) -> Result<Addresses, String> {
        let target = ServiceTarget {
            namespace: "n".to_owned(),
            name: "s".to_owned(),
            port,
            path: "/".to_owned(),
        };
        let slice = json!({"metadata": {"labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "https", "port": 8443}], "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.3"]}]});
        plan(service, &target, || vec![slice.into()]).map_err(|e| e.to_string())
    }

    #[test]
    fn services_are_reached_where_they_have_an_address() {
        let known = |list: &[&str]| {
            let parse = |a: &&str| a.parse().unwrap();
            Ok(Addresses::Known(list.iter().map(parse).collect()))
        };
        let refused = |text: &str| Err(text.to_owned());
        let ports = json!([{"name": "https", "port": 443, "targetPort": 8443}]);
        let cases = [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.9", "ports": ports}),
                443,
                known(&["10.96.0.9:443"]),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.9", "ports": ports}),
                80,
                refused("no service port 80 found for service \"s\""),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "ports": ports}),
                443,
                known(&["10.0.0.2:8443", "10.0.0.3:8443"]),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "ports": [{"name": "other", "port": 1}]}),
                1,
                refused("no endpoints available for service \"s\""),
            ),
            (
                json!({"type": "ExternalName", "externalName": "example.org"}),
                8080,
                Ok(Addresses::Name("example.org".to_owned(), 8080)),
            ),
        ];
        for (spec, port, expected) in cases {
            assert_eq!(resolved(&json!({"spec": spec}), port), expected, "{spec}");
        }
    }
}
