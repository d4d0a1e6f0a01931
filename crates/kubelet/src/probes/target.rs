//! Where a probe or hook goes: ports by number or name, hosts, headers.

use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// A port that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(String);

/// One HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether over TLS.
    pub tls: bool,
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Path with its query.
    pub path: String,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// As a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        format!("{scheme}://{host}:{}{}", self.port, self.path)
    }
}

/// A port by number, or by its name in the container.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, TargetError> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref() == Some(name))
            .map(|p| p.container_port)
            .or_else(|| name.parse().ok())
            .ok_or_else(|| TargetError(format!("couldn't find port: {name} in container ports")))?,
    };
    u16::try_from(number)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| TargetError(format!("invalid port number: {number}")))
}

/// The request of an httpGet.
pub fn http(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
) -> Result<Request, TargetError> {
    let path = action.path.as_deref().unwrap_or_default();
    Ok(Request {
        tls: action
            .scheme
            .as_deref()
            .is_some_and(|s| s.eq_ignore_ascii_case("https")),
        host: action
            .host
            .clone()
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| pod_ip.to_owned()),
        port: port(&action.port, container)?,
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        },
        headers: action
            .http_headers
            .iter()
            .flatten()
            .map(|h| (h.name.clone(), h.value.clone()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_paths() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "ports": [{"name": "web", "containerPort": 8080}]
        }))
        .expect("a container");
        let named = |name: &str| port(&IntOrString::String(name.into()), &container);
        assert_eq!(named("web"), Ok(8080));
        assert_eq!(named("81"), Ok(81));
        assert!(named("none").is_err());
        assert!(port(&IntOrString::Int(70_000), &container).is_err());
        let action = HTTPGetAction {
            path: Some("healthz?x=1".into()),
            port: IntOrString::Int(80),
            ..Default::default()
        };
        let request = http(&action, &container, "fd00::1").expect("a request");
        assert_eq!(request.url(), "http://[fd00::1]:80/healthz?x=1");
    }
}
