//! What a pod contributes to a Service: addresses, ports, readiness. Shared by both kinds of endpoints.

use k8s_openapi::api::core::v1::{ContainerPort, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pods::{is_ready, is_terminal, is_terminating};

/// IPv4 or IPv6, as EndpointSlices name it.
pub(crate) fn families(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let families = spec
        .and_then(|spec| spec.ip_families.clone())
        .unwrap_or_default();
    let mut types: Vec<_> = families
        .iter()
        .map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" })
        .collect();
    if types.is_empty() {
        let address = spec
            .and_then(|spec| spec.cluster_ip.as_deref())
            .unwrap_or_default();
        types.push(if address.contains(':') {
            "IPv6"
        } else {
            "IPv4"
        });
    }
    types.dedup();
    types
}

pub(crate) fn is_headless(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        == Some("None")
}

pub(crate) fn is_external_name(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
}

pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.publish_not_ready_addresses)
        .unwrap_or_default()
}

/// The pod's address of a family.
pub(crate) fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    all.chain(status.pod_ip.as_deref())
        .find(|ip| !ip.is_empty() && ip.contains(':') == (family == "IPv6"))
}

/// May the pod be behind a Service at all?
pub(crate) fn is_candidate(pod: &Pod, terminating_too: bool) -> bool {
    !is_terminal(pod) && (terminating_too || !is_terminating(pod))
}

/// Is nothing changed that endpoints show?
pub(crate) fn same(a: &Pod, b: &Pod) -> bool {
    let spec = |pod: &Pod| {
        let spec = pod.spec.clone().unwrap_or_default();
        (spec.node_name, spec.hostname, spec.subdomain)
    };
    let ips = |pod: &Pod| {
        pod.status
            .as_ref()
            .map(|status| (status.pod_ip.clone(), status.pod_ips.clone()))
    };
    a.metadata.labels == b.metadata.labels
        && is_ready(a) == is_ready(b)
        && is_terminal(a) == is_terminal(b)
        && is_terminating(a) == is_terminating(b)
        && ips(a) == ips(b)
        && spec(a) == spec(b)
}

/// The pod's host name, if it belongs to this Service's domain.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    (spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace)
        .then(|| spec.hostname.clone())?
        .filter(|hostname| !hostname.is_empty())
}

pub(crate) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// A port of the Service as this pod serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub name: Option<String>,
    pub port: i32,
    pub protocol: String,
    pub app_protocol: Option<String>,
}

/// The Service's ports as this pod serves them; a named port that the pod lacks is left out.
pub(crate) fn ports(pod: &Pod, service: &Service) -> Vec<Port> {
    let wanted = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default();
    let mut ports: Vec<_> = wanted
        .iter()
        .filter_map(|port| {
            Some(Port {
                name: port.name.clone(),
                port: resolve(pod, port)?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

fn resolve(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.as_deref().unwrap_or_default())
        .find(|candidate: &&ContainerPort| {
            candidate.name.as_ref() == Some(name)
                && protocol(&candidate.protocol) == protocol(&port.protocol)
        })
        .map(|found| found.container_port)
}
