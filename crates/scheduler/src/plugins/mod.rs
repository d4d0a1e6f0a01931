//! Upstream's default plugins, one file each.

pub mod balanced_allocation;
pub mod declared_features;
pub mod devices;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod taint_toleration;
pub mod volumes;

#[cfg(test)]
mod tests;
