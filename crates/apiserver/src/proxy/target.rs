//! Where a proxied request goes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::{About, Status};
use serde_json::Value;

use crate::registry::call::Call;
use crate::request::query::Query;

/// How a backend is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Without TLS.
    Plain,
    /// With TLS, this server's identity, and the kubelet's verified.
    Kubelet,
    /// With TLS that asks for no proof and shows none: what pods serve has certificates of their own.
    Unverified,
}

impl Channel {
    /// By the scheme in front of a proxied name.
    fn of_scheme(scheme: &str) -> Channel {
        if scheme == "https" {
            Channel::Unverified
        } else {
            Channel::Plain
        }
    }
}

/// Where a proxied request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The backend.
    pub address: SocketAddr,
    /// How it is called.
    pub channel: Channel,
    /// Links and redirects of its answers are made to lead through this server again.
    pub rewritten: bool,
    /// It is a kubelet's own answer, whose errors become a `Status`.
    pub kubelet: bool,
    /// Path and query there.
    pub path: String,
}

/// Finds the backend of a proxied request; none when the answer is known to be empty.
pub fn find(call: &Call, raw_query: &str) -> Result<Option<Target>, Status> {
    let info = &call.info;
    let path = rest(info.rest.as_deref().unwrap_or(""), raw_query);
    match (info.resource.as_str(), info.subresource.as_str()) {
        ("nodes", _) => node_proxy(call, path).map(Some),
        ("services", _) => service_proxy(call, path).map(Some),
        ("pods", "proxy") => pod_proxy(call, path).map(Some),
        _ => container(call),
    }
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn with_query(path: String, pairs: &[(String, String)]) -> String {
    let query: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
        .collect();
    if query.is_empty() {
        path
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

/// Logs and streams of a container: from the kubelet of the pod's node.
fn container(call: &Call) -> Result<Option<Target>, Status> {
    let info = &call.info;
    let pod = pod(call, &info.name)?;
    let node = pod.text("spec.nodeName");
    let container = match info.subresource.as_str() {
        "portforward" => String::new(),
        subresource => {
            container_name(&pod, call.query.get("container").unwrap_or(""), subresource)?
        }
    };
    if node.is_empty() && info.subresource == "log" {
        // Nothing has run, so nothing was logged.
        return Ok(None);
    }
    if node.is_empty() {
        let why = format!("pod {} does not have a host assigned", info.name);
        return Err(Status::bad_request(why));
    }
    let (namespace, name) = (&info.namespace, &info.name);
    let (path, pairs) = match info.subresource.as_str() {
        "log" => {
            let keep = [
                "follow",
                "previous",
                "sinceSeconds",
                "sinceTime",
                "timestamps",
                "tailLines",
                "limitBytes",
                "stream",
            ];
            let pairs = keep
                .iter()
                .filter_map(|k| call.query.get(k).map(|v| ((*k).to_owned(), v.to_owned())))
                .collect();
            (
                format!("/containerLogs/{namespace}/{name}/{container}"),
                pairs,
            )
        }
        "portforward" => {
            let pairs = call
                .query
                .all("ports")
                .map(|p| ("port".to_owned(), p.to_owned()))
                .collect();
            (format!("/portForward/{namespace}/{name}"), pairs)
        }
        subresource => (
            format!("/{subresource}/{namespace}/{name}/{container}"),
            stream_query(&call.query, subresource),
        ),
    };
    kubelet(call, node, with_query(path, &pairs)).map(Some)
}

/// The kubelet's names for the options of exec and attach.
fn stream_query(query: &Query, subresource: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    // What a client leaves out is as the options' defaults say: output on, input off.
    for (from, to, default) in [
        ("stdin", "input", false),
        (
            "stdout",
            "output",
            subresource == "attach" || subresource == "exec",
        ),
        (
            "stderr",
            "error",
            subresource == "attach" || subresource == "exec",
        ),
        ("tty", "tty", false),
    ] {
        let on = query.optional_flag(from).unwrap_or(default);
        let tty = query.flag("tty");
        if on && !(from == "stderr" && tty) {
            pairs.push((to.to_owned(), "1".to_owned()));
        }
    }
    pairs.extend(
        query
            .all("command")
            .map(|c| ("command".to_owned(), c.to_owned())),
    );
    pairs
}

fn pod(call: &Call, name: &str) -> Result<Arc<Value>, Status> {
    call.server
        .objects
        .value("", "pods", &call.info.namespace, name)
        .ok_or_else(|| Status::not_found(About::new("", "pods"), name))
}

fn container_name(pod: &Value, asked: &str, subresource: &str) -> Result<String, Status> {
    let names = |path: &str| -> Vec<String> {
        pod.list(path)
            .iter()
            .map(|c| c.text("name").to_owned())
            .collect()
    };
    let (all, init, ephemeral) = (
        names("spec.containers"),
        names("spec.initContainers"),
        names("spec.ephemeralContainers"),
    );
    let pod_name = meta::name(pod);
    if asked.is_empty() {
        if let [one] = all.as_slice() {
            return Ok(one.clone());
        }
        if let Some(name) = meta::annotation(pod, "kubectl.kubernetes.io/default-container")
            .filter(|name| all.iter().any(|c| c == name))
        {
            return Ok(name.to_owned());
        }
        let mut why = format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            all.join(" ")
        );
        if !init.is_empty() && subresource == "log" {
            why.push_str(&format!(
                " or one of the init containers: [{}]",
                init.join(" ")
            ));
        }
        return Err(Status::bad_request(why));
    }
    if [&all, &init, &ephemeral]
        .iter()
        .any(|list| list.iter().any(|c| c == asked))
    {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!(
        "container {asked} is not valid for pod {pod_name}"
    )))
}

/// The kubelet of a node.
fn kubelet(call: &Call, node: &str, path: String) -> Result<Target, Status> {
    let object = call
        .server
        .objects
        .value("", "nodes", "", node)
        .ok_or_else(|| Status::not_found(About::new("", "nodes"), node))?;
    let addresses = object.list("status.addresses");
    let address = ["InternalIP", "ExternalIP"]
        .into_iter()
        .find_map(|kind| addresses.iter().find(|a| a.text("type") == kind))
        .and_then(|a| a.text("address").parse::<IpAddr>().ok())
        .ok_or_else(|| {
            Status::internal(format!(
                "no preferred addresses found; known addresses of node {node}: none"
            ))
        })?;
    let port = object
        .int("status.daemonEndpoints.kubeletEndpoint.Port")
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0)
        .unwrap_or(10250);
    Ok(Target {
        address: SocketAddr::new(address, port),
        channel: Channel::Kubelet,
        rewritten: false,
        kubelet: true,
        path,
    })
}

/// `scheme:name:port`, `name:port` or `name`.
fn split_name(name: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = name.split(':').collect();
    match parts[..] {
        [scheme, name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", name, ""),
    }
}

/// The path and query behind `/proxy`, as they were sent.
fn rest(rest: &str, raw_query: &str) -> String {
    if raw_query.is_empty() {
        format!("/{rest}")
    } else {
        format!("/{rest}?{raw_query}")
    }
}

/// Addresses that stand for this machine or its link must not be reached through the proxy, whatever
/// a Pod's status or an EndpointSlice says. As upstream's `IsProxyableIP`.
fn is_proxyable(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

fn node_proxy(call: &Call, path: String) -> Result<Target, Status> {
    let (scheme, name, port) = split_name(&call.info.name);
    let mut target = kubelet(call, name, path)?;
    target.kubelet = false;
    target.rewritten = true;
    if let Ok(port) = port.parse::<u16>()
        && port != target.address.port()
    {
        target.address.set_port(port);
        target.channel = Channel::of_scheme(scheme);
    }
    Ok(target)
}

fn pod_proxy(call: &Call, path: String) -> Result<Target, Status> {
    let (scheme, name, port) = split_name(&call.info.name);
    let pod = pod(call, name)?;
    let ip = pod.text("status.podIP").parse::<IpAddr>().ok();
    let ip = ip
        .filter(|ip| is_proxyable(*ip))
        .ok_or_else(|| Status::bad_request("address not allowed"))?;
    let first = || {
        pod.list("spec.containers")
            .iter()
            .flat_map(|c| c.list("ports"))
            .find_map(|p| p.int("containerPort"))
            .and_then(|p| u16::try_from(p).ok())
    };
    let port = match port.parse::<u16>() {
        Ok(port) => port,
        Err(_) => first().unwrap_or(80),
    };
    Ok(Target {
        address: SocketAddr::new(ip, port),
        channel: Channel::of_scheme(scheme),
        rewritten: true,
        kubelet: false,
        path,
    })
}

fn service_proxy(call: &Call, path: String) -> Result<Target, Status> {
    let (scheme, name, port) = split_name(&call.info.name);
    let namespace = &call.info.namespace;
    let about = About::new("", "services");
    let objects = &call.server.objects;
    let service = objects
        .value("", "services", namespace, name)
        .ok_or_else(|| Status::not_found(about, name))?;
    let wanted = service
        .list("spec.ports")
        .iter()
        .find(|p| {
            port.is_empty()
                || p.text("name") == port
                || p.int("port").is_some_and(|n| n.to_string() == port)
        })
        .map(|p| p.text("name").to_owned());
    let Some(wanted) = wanted else {
        return Err(Status::service_unavailable(format!(
            "no service port {port:?} found for service {name:?}"
        )));
    };
    let mut backends = Vec::new();
    for slice in objects.values("discovery.k8s.io", "endpointslices", Some(namespace)) {
        if meta::label(&slice, "kubernetes.io/service-name") != Some(name) {
            continue;
        }
        let number = slice
            .list("ports")
            .iter()
            .find(|p| p.text("name") == wanted)
            .and_then(|p| p.int("port"))
            .and_then(|p| u16::try_from(p).ok());
        let Some(number) = number else { continue };
        for endpoint in slice.list("endpoints") {
            if endpoint.at("conditions.ready").as_bool().unwrap_or(true) {
                let ips = endpoint
                    .texts("addresses")
                    .filter_map(|a| a.parse::<IpAddr>().ok())
                    .filter(|ip| is_proxyable(*ip));
                backends.extend(ips.map(|ip| SocketAddr::new(ip, number)));
            }
        }
    }
    let mut bytes = [0u8; 4];
    (call.server.config.random)(&mut bytes);
    let at = u32::from_le_bytes(bytes) as usize;
    let address = match backends.len() {
        0 => {
            return Err(Status::service_unavailable(format!(
                "no endpoints available for service {:?}",
                call.info.name
            )));
        }
        count => backends[at % count],
    };
    Ok(Target {
        address,
        channel: Channel::of_scheme(scheme),
        rewritten: true,
        kubelet: false,
        path,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exec_options_become_the_kubelets() {
        let query = Query::parse(
            "container=a&command=ls&command=-l+%2Fx&stdin=true&stdout=true&stderr=true&tty=true",
        );
        let path = with_query("/exec/n/p/a".to_owned(), &stream_query(&query, "exec"));
        assert_eq!(
            path,
            "/exec/n/p/a?input=1&output=1&tty=1&command=ls&command=-l%20%2Fx"
        );
    }

    #[test]
    fn a_container_is_named_or_the_only_one() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container_name(&pod, "b", "log").unwrap(), "b");
        assert_eq!(container_name(&pod, "i", "log").unwrap(), "i");
        let error = container_name(&pod, "", "log").unwrap_err();
        assert_eq!(
            error.message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert!(
            container_name(&pod, "c", "exec")
                .unwrap_err()
                .message
                .contains("container c is not valid")
        );
    }

    #[test]
    fn addresses_of_the_machine_itself_are_not_reached() {
        for (ip, allowed) in [
            ("10.0.0.1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_proxyable(ip.parse().unwrap()), allowed, "{ip}");
        }
        assert_eq!(rest("a%20b/", "x=%2F"), "/a%20b/?x=%2F");
    }

    #[test]
    fn proxy_names_have_up_to_three_parts() {
        assert_eq!(split_name("a"), ("", "a", ""));
        assert_eq!(split_name("a:80"), ("", "a", "80"));
        assert_eq!(split_name("https:a:443"), ("https", "a", "443"));
    }
}
