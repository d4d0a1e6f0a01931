//! Sandbox and container configurations as the runtime takes them. Pure apart from what the
//! caller fetched.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use cri::v1;
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{
    expand::expand,
    observed::keys,
    resources, security,
    view::{PodView, container_hash},
};
use crate::{
    agent::Agent,
    pods::dns,
    volumes::{self, Mounted, Volumes, subpath},
};

/// Where the container leaves its last words unless it says otherwise.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// A container cannot be described to the runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

fn identity(pod: &PodView) -> HashMap<String, String> {
    [
        (keys::POD_NAME, pod.name()),
        (keys::POD_NAMESPACE, pod.namespace()),
        (keys::POD_UID, pod.uid()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect()
}

/// Directory of the pod's logs.
pub fn log_dir(agent: &Agent, pod: &PodView) -> PathBuf {
    agent.config.pod_logs_dir.join(pod.log_dir_name())
}

/// The sandbox's configuration.
pub fn sandbox(
    agent: &Agent,
    pod: &PodView,
    attempt: u32,
    host_dns: &v1::DnsConfig,
) -> v1::PodSandboxConfig {
    let metadata = &pod.pod().metadata;
    let mut labels: HashMap<String, String> = metadata
        .labels
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    labels.extend(identity(pod));
    let mut annotations: HashMap<String, String> = metadata
        .annotations
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    annotations
        .entry("kubernetes.io/config.source".to_owned())
        .or_insert_with(|| "api".to_owned());
    let ports = pod
        .all()
        .flat_map(|(c, _)| c.ports.iter().flatten())
        .filter(|_| !pod.host_network())
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect();
    let of_pod = resources::pod(pod.spec());
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt,
        }),
        hostname: if pod.host_network() {
            String::new()
        } else {
            dns::kernel_hostname(pod, &agent.config.cluster_domain)
        },
        log_directory: log_dir(agent, pod).to_string_lossy().into_owned(),
        dns_config: Some(dns::config(pod, &agent.config, host_dns)),
        port_mappings: ports,
        labels,
        annotations,
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: agent.cgroups.pod_path(pod),
            security_context: Some(security::sandbox(pod)),
            sysctls: pod
                .spec()
                .security_context
                .iter()
                .flat_map(|s| s.sysctls.iter().flatten())
                .map(|s| (s.name.clone(), s.value.clone()))
                .collect(),
            overhead: None,
            resources: Some(v1::LinuxContainerResources {
                cpu_period: if of_pod.quota.is_some() { 100_000 } else { 0 },
                cpu_quota: of_pod.quota.unwrap_or(0),
                cpu_shares: of_pod.shares,
                memory_limit_in_bytes: of_pod.memory.unwrap_or(0),
                ..Default::default()
            }),
        }),
        windows: None,
    }
}

/// What a container's configuration is made from.
pub struct ContainerInput<'a> {
    /// The node.
    pub agent: &'a Agent,
    /// The pod.
    pub pod: &'a PodView,
    /// The container.
    pub container: &'a Container,
    /// Restarts before this run.
    pub restart_count: u32,
    /// The image's reference in the runtime.
    pub image: &'a str,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// The pod's volumes.
    pub volumes: &'a Volumes,
    /// Container whose processes it joins.
    pub target: Option<String>,
    /// File that takes its last words.
    pub termination_log: &'a Path,
    /// The pod's hosts file.
    pub hosts: Option<&'a Path>,
}

/// The container's configuration.
pub fn container(input: &ContainerInput<'_>) -> Result<v1::ContainerConfig, ConfigError> {
    let ContainerInput {
        agent,
        pod,
        container,
        ..
    } = input;
    let lookup = |name: &str| input.env.get(name).cloned();
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter()
            .flatten()
            .map(|text| expand(text, lookup))
            .collect()
    };
    let mut labels = identity(pod);
    labels.insert(keys::CONTAINER_NAME.to_owned(), container.name.clone());
    let mut annotations: HashMap<String, String> = [
        (keys::HASH, container_hash(container)),
        (keys::RESTART_COUNT, input.restart_count.to_string()),
        (
            keys::TERMINATION_PATH,
            termination_path(container).to_owned(),
        ),
        (
            keys::TERMINATION_POLICY,
            container
                .termination_message_policy
                .clone()
                .unwrap_or_else(|| "File".to_owned()),
        ),
        (
            keys::GRACE_PERIOD,
            pod.spec()
                .termination_grace_period_seconds
                .unwrap_or(30)
                .to_string(),
        ),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect();
    if let Some(ports) = container.ports.as_ref().filter(|p| !p.is_empty())
        && let Ok(text) = serde_json::to_string(ports)
    {
        annotations.insert("io.kubernetes.container.ports".to_owned(), text);
    }
    let tty = container.tty == Some(true);
    let mut envs: Vec<v1::KeyValue> = input
        .env
        .iter()
        .map(|(key, value)| v1::KeyValue {
            key: key.clone(),
            value: value.clone().into_bytes(),
        })
        .collect();
    if tty && !input.env.contains_key("TERM") {
        envs.push(v1::KeyValue {
            key: "TERM".to_owned(),
            value: b"xterm".to_vec(),
        });
    }
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: input.restart_count,
        }),
        image: Some(v1::ImageSpec {
            image: input.image.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs,
        mounts: mounts(input)?,
        labels,
        annotations,
        log_path: format!("{}/{}.log", container.name, input.restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::container(
                pod.spec(),
                container,
                agent.machine.memory,
            )),
            security_context: Some(security::container(pod, container, input.target.clone())),
        }),
        stop_signal: container
            .lifecycle
            .as_ref()
            .and_then(|l| l.stop_signal.as_deref())
            .and_then(v1::Signal::from_str_name)
            .map_or(0, |signal| signal as i32),
        ..Default::default()
    })
}

/// Where the container leaves its last words.
pub fn termination_path(container: &Container) -> &str {
    container
        .termination_message_path
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or(TERMINATION_LOG)
}

fn mounts(input: &ContainerInput<'_>) -> Result<Vec<v1::Mount>, ConfigError> {
    let mut out = Vec::new();
    let mut has_hosts = false;
    for mount in input.container.volume_mounts.iter().flatten() {
        has_hosts |= mount.mount_path.trim_end_matches('/') == "/etc/hosts";
        out.push(volume_mount(input, mount)?);
    }
    let bind = |container_path: &str, host: &Path| v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        ..Default::default()
    };
    if let (Some(hosts), false) = (input.hosts, has_hosts) {
        out.push(bind("/etc/hosts", hosts));
    }
    out.push(bind(
        termination_path(input.container),
        input.termination_log,
    ));
    Ok(out)
}

fn volume_mount(input: &ContainerInput<'_>, mount: &VolumeMount) -> Result<v1::Mount, ConfigError> {
    let volume = input.volumes.by_name.get(&mount.name).ok_or_else(|| {
        ConfigError(format!(
            "cannot find volume {:?} to mount into container {:?}",
            mount.name, input.container.name
        ))
    })?;
    let mut sub_path = mount.sub_path.clone().unwrap_or_default();
    if let Some(template) = mount.sub_path_expr.as_deref().filter(|e| !e.is_empty()) {
        let missing = std::cell::RefCell::new(None);
        sub_path = expand(template, |name| {
            let value = input.env.get(name).cloned();
            if value.is_none() {
                missing.borrow_mut().get_or_insert_with(|| name.to_owned());
            }
            value
        });
        if let Some(name) = missing.into_inner() {
            return Err(ConfigError(format!(
                "missing value for {name:?} in subPathExpr of volume mount {:?}",
                mount.name
            )));
        }
    }
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    } as i32;
    let mut out = v1::Mount {
        container_path: if mount.mount_path.starts_with('/') {
            mount.mount_path.clone()
        } else {
            format!("/{}", mount.mount_path)
        },
        readonly: mount.read_only == Some(true),
        propagation,
        recursive_read_only: mount.read_only == Some(true)
            && matches!(
                mount.recursive_read_only.as_deref(),
                Some("Enabled" | "IfPossible")
            ),
        ..Default::default()
    };
    match volume {
        Mounted::Image { reference } => {
            out.readonly = true;
            out.image_sub_path = sub_path;
            out.image = Some(v1::ImageSpec {
                image: reference.clone(),
                user_specified_image: reference.clone(),
                ..Default::default()
            });
        }
        Mounted::Path { path, read_only } => {
            out.readonly |= *read_only;
            let place = if sub_path.is_empty() {
                path.clone()
            } else {
                subpath::resolve(path, &sub_path).map_err(|error| {
                    ConfigError(format!(
                        "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                        mount.name, input.container.name
                    ))
                })?
            };
            out.host_path = place.to_string_lossy().into_owned();
        }
    }
    Ok(out)
}

/// The file that takes a run's last words, below the pod's directory.
pub fn termination_log(
    agent: &Agent,
    pod: &PodView,
    container: &str,
    restart_count: u32,
) -> PathBuf {
    volumes::pod_dir(agent, pod.uid())
        .join("containers")
        .join(container)
        .join(format!("{restart_count}.termination-log"))
}

/// The pod's hosts file.
pub fn hosts_path(agent: &Agent, pod: &PodView) -> PathBuf {
    volumes::pod_dir(agent, pod.uid()).join("etc-hosts")
}
