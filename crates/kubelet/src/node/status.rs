//! The node's whole status. Pure over what was looked up.

use std::collections::BTreeMap;

use cri::v1;
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, NodeAddress, NodeDaemonEndpoints, NodeFeatures,
        NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    Runtime,
    conditions::{self, Pressure},
    machine::architecture,
};
use crate::{VERSION, agent::Agent, pods::resources};

/// Most images listed, the largest first.
const MAX_IMAGES: usize = 50;
/// Most names of one image.
const MAX_NAMES: usize = 5;

pub struct Input<'a> {
    pub agent: &'a Agent,
    pub runtime: &'a Runtime,
    pub server_port: i32,
    pub pressure: Pressure,
    pub previous: Option<&'a NodeStatus>,
}

/// Generates the status.
pub fn generate(input: &Input<'_>) -> NodeStatus {
    let agent = input.agent;
    let config = &agent.config;
    let machine = &agent.machine;
    let runtime = input.runtime;
    let capacity = machine.capacity(config.max_pods);
    let mut addresses: Vec<NodeAddress> = agent
        .host_ips
        .read()
        .iter()
        .map(|ip| NodeAddress {
            address: ip.to_string(),
            type_: "InternalIP".to_owned(),
        })
        .collect();
    addresses.push(NodeAddress {
        address: config.node_name.clone(),
        type_: "Hostname".to_owned(),
    });
    let problem = conditions::runtime_problem(runtime.status.as_ref(), runtime.error.as_deref());
    let features = runtime.status.as_ref().and_then(|s| s.features.as_ref());
    NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(allocatable(agent, &capacity)),
        capacity: Some(capacity),
        conditions: Some(conditions::generate(
            problem,
            input.pressure,
            input.previous,
            agent.now(),
        )),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: input.server_port,
            }),
        }),
        images: Some(images(&runtime.images)),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!(
                "{}://{}",
                runtime.version.runtime_name, runtime.version.runtime_version
            ),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            swap: (machine.swap > 0).then_some(NodeSwapStatus {
                capacity: Some(machine.swap),
            }),
            system_uuid: machine.system_uuid.clone(),
        }),
        features: features.map(|f| NodeFeatures {
            supplemental_groups_policy: Some(f.supplemental_groups_policy),
        }),
        runtime_handlers: runtime.status.as_ref().map(|s| {
            s.runtime_handlers
                .iter()
                .map(|handler| NodeRuntimeHandler {
                    name: Some(handler.name.clone()),
                    features: handler.features.map(|f| NodeRuntimeHandlerFeatures {
                        recursive_read_only_mounts: Some(f.recursive_read_only_mounts),
                        user_namespaces: Some(f.user_namespaces),
                    }),
                })
                .collect()
        }),
        ..Default::default()
    }
}

/// The capacity without what is reserved and what eviction keeps free.
fn allocatable(agent: &Agent, capacity: &BTreeMap<String, Quantity>) -> BTreeMap<String, Quantity> {
    let reserved = |name: &str| {
        agent
            .config
            .reserved
            .get(name)
            .map_or(0, |amount| resources::nano(&Quantity(amount.clone())))
    };
    const UNIT: i128 = 1_000_000_000;
    capacity
        .iter()
        .map(|(name, quantity)| {
            let keep = match name.as_str() {
                "memory" => {
                    reserved(name) + i128::from(agent.config.eviction.memory_available) * UNIT
                }
                "ephemeral-storage" => {
                    let part = agent.machine.disk as f64 * agent.config.eviction.fs_available;
                    reserved(name) + (part as i128) * UNIT
                }
                _ => reserved(name),
            };
            if keep == 0 {
                return (name.clone(), quantity.clone());
            }
            let left = (resources::nano(quantity) - keep).max(0);
            let text = match name.as_str() {
                "cpu" => format!("{}m", left / 1_000_000),
                "memory" => format!("{}Ki", left / UNIT / 1024),
                _ => (left / UNIT).to_string(),
            };
            (name.clone(), Quantity(text))
        })
        .collect()
}

fn images(list: &[v1::Image]) -> Vec<ContainerImage> {
    let mut list: Vec<&v1::Image> = list.iter().collect();
    list.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    list.into_iter()
        .take(MAX_IMAGES)
        .map(|image| ContainerImage {
            names: Some(
                image
                    .repo_digests
                    .iter()
                    .chain(&image.repo_tags)
                    .take(MAX_NAMES)
                    .cloned()
                    .collect(),
            ),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect()
}

/// Whether two statuses say the same; the heartbeat's time says nothing.
pub fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = NodeStatus {
            phase: None,
            volumes_attached: None,
            volumes_in_use: None,
            config: None,
            declared_features: None,
            ..status.clone()
        };
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        // Conditions of other owners are theirs.
        if let Some(conditions) = status.conditions.as_mut() {
            conditions.retain(|c| {
                ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
                    .contains(&c.type_.as_str())
            });
        }
        // As the API gives it back: absent and empty are one.
        for list in [&mut status.runtime_handlers] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                *list = None;
            }
        }
        if status.images.as_ref().is_some_and(Vec::is_empty) {
            status.images = None;
        }
        status
    };
    still(a) == still(b)
}
