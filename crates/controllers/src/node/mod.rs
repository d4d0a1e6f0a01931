//! Nodes: their health, the eviction of pods from bad ones, and their share of the pod network.

pub(crate) mod eviction;
pub(crate) mod ipam;
pub(crate) mod lifecycle;
mod shares;
mod taints;
pub(crate) mod ttl;
mod zones;

pub use shares::NodeNetwork;
pub(crate) use taints::tolerates;
