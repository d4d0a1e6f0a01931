//! What connects pods: the pod network, the service proxy and the cluster's DNS.
//!
//! Every part acts on its own node only and speaks netlink itself; no program is run except the CNI
//! plugins a user has configured. All kernel objects (bridge, nftables tables, sets) carry the
//! instance id, so that two clusters can share a machine and [`cleanup`] can take one away without
//! the other.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bridge;
pub mod cni;
pub mod dns;
pub mod names;
pub mod netlink;
pub mod peers;
pub mod proxy;
pub mod services;

mod cleanup;

pub use cleanup::{CleanupError, cleanup};
