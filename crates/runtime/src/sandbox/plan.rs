//! From the kubelet's sandbox request to the pod the shim is told to make, and to the network's
//! attachment: pure.

use std::path::PathBuf;

use cri::v1;

use crate::{
    network::{Attachment, Bandwidth, PortMapping},
    shim::spec::PodSpec,
};

/// A sandbox that cannot be made as asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The request lacks what every pod has.
    #[error("sandbox config has no metadata")]
    NoMetadata,
    /// A user namespace was asked for.
    #[error("user namespaces are not supported by this runtime yet")]
    UserNamespace,
    /// A port that is none.
    #[error("port {0} is out of range")]
    Port(i32),
    /// Only the default handler exists.
    #[error("no runtime for {0:?} is configured")]
    Handler(String),
}

/// Namespace choices of a sandbox.
pub fn namespaces(config: &v1::PodSandboxConfig) -> v1::NamespaceOption {
    config
        .linux
        .as_ref()
        .and_then(|l| l.security_context.as_ref())
        .and_then(|s| s.namespace_options.clone())
        .unwrap_or_default()
}

/// Plans a sandbox.
pub fn plan(
    id: &str,
    config: &v1::PodSandboxConfig,
    handler: &str,
    netns: PathBuf,
    shm: PathBuf,
) -> Result<PodSpec, PlanError> {
    const NODE: i32 = v1::NamespaceMode::Node as i32;
    if config.metadata.is_none() {
        return Err(PlanError::NoMetadata);
    }
    if !handler.is_empty() {
        return Err(PlanError::Handler(handler.to_owned()));
    }
    let options = namespaces(config);
    if let Some(user) = &options.userns_options
        && user.mode == v1::NamespaceMode::Pod as i32
    {
        return Err(PlanError::UserNamespace);
    }
    let own_network = options.network != NODE;
    let own_ipc = options.ipc != NODE;
    let linux = config.linux.clone().unwrap_or_default();
    Ok(PodSpec {
        id: id.to_owned(),
        // A pod in the node's network is known by the node's name.
        hostname: own_network.then(|| {
            let name = if config.hostname.is_empty() {
                &id[..id.len().min(12)]
            } else {
                &config.hostname
            };
            name.to_owned()
        }),
        netns: own_network.then_some(netns),
        ipc: own_ipc,
        shm: own_ipc.then_some(shm),
        shared_pid: options.pid == v1::NamespaceMode::Pod as i32,
        sysctls: linux.sysctls.into_iter().collect(),
    })
}

/// What the network is told about a sandbox.
pub fn attachment(
    id: &str,
    config: &v1::PodSandboxConfig,
    netns: PathBuf,
) -> Result<Attachment, PlanError> {
    let metadata = config.metadata.clone().ok_or(PlanError::NoMetadata)?;
    let port = |port: i32| u16::try_from(port).map_err(|_| PlanError::Port(port));
    let mut port_mappings = Vec::new();
    for mapping in config.port_mappings.iter().filter(|m| m.host_port != 0) {
        port_mappings.push(PortMapping {
            protocol: v1::Protocol::try_from(mapping.protocol)
                .unwrap_or(v1::Protocol::Tcp)
                .as_str_name()
                .to_owned(),
            container_port: port(mapping.container_port)?,
            host_port: port(mapping.host_port)?,
            host_ip: mapping.host_ip.parse().ok(),
        });
    }
    let rate = |key: &str| {
        config
            .annotations
            .get(key)
            .and_then(|v| bits(v))
            .unwrap_or(0)
    };
    Ok(Attachment {
        sandbox_id: id.to_owned(),
        netns,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        port_mappings,
        bandwidth: Bandwidth {
            ingress: rate("kubernetes.io/ingress-bandwidth"),
            egress: rate("kubernetes.io/egress-bandwidth"),
        },
    })
}

/// A quantity such as `10M` in whole units.
fn bits(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = match suffix {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(network: v1::NamespaceMode, pid: v1::NamespaceMode) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "web".into(),
                namespace: "default".into(),
                uid: "u".into(),
                attempt: 0,
            }),
            hostname: "web".into(),
            linux: Some(v1::LinuxPodSandboxConfig {
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        network: network as i32,
                        pid: pid as i32,
                        ..v1::NamespaceOption::default()
                    }),
                    ..v1::LinuxSandboxSecurityContext::default()
                }),
                ..v1::LinuxPodSandboxConfig::default()
            }),
            ..v1::PodSandboxConfig::default()
        }
    }

    #[test]
    fn namespaces_follow_the_request() {
        use v1::NamespaceMode::{Container, Node, Pod};
        let of = |network, pid| {
            plan("abc", &config(network, pid), "", "/n".into(), "/s".into()).unwrap()
        };
        let own = of(Pod, Container);
        assert_eq!(
            (own.hostname.as_deref(), own.netns.is_some(), own.shared_pid),
            (Some("web"), true, false)
        );
        let host = of(Node, Pod);
        assert_eq!(
            (host.hostname, host.netns, host.shared_pid),
            (None, None, true)
        );
        assert!(host.ipc);
        let handler = plan("abc", &config(Pod, Pod), "gvisor", "/n".into(), "/s".into());
        assert_eq!(handler.unwrap_err(), PlanError::Handler("gvisor".into()));
    }

    #[test]
    fn ports_and_rates_reach_the_network() {
        use v1::NamespaceMode::Pod;
        let mut config = config(Pod, Pod);
        config
            .annotations
            .insert("kubernetes.io/egress-bandwidth".into(), "10M".into());
        config.port_mappings = vec![
            v1::PortMapping {
                protocol: 1,
                container_port: 53,
                host_port: 5353,
                host_ip: "127.0.0.1".into(),
            },
            v1::PortMapping {
                protocol: 0,
                container_port: 80,
                host_port: 0,
                host_ip: String::new(),
            },
        ];
        let attachment = attachment("abc", &config, "/n".into()).unwrap();
        assert_eq!(
            attachment.bandwidth,
            Bandwidth {
                ingress: 0,
                egress: 10_000_000
            }
        );
        assert_eq!(attachment.port_mappings.len(), 1);
        assert_eq!(attachment.port_mappings[0].protocol, "UDP");
        config.port_mappings[0].host_port = 70_000;
        assert!(super::attachment("abc", &config, "/n".into()).is_err());
    }
}
