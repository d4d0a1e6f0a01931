//! Containers: from the kubelet's request to what the shim is told to make, and what the server
//! remembers of each.

pub mod capabilities;
pub mod plan;
pub mod record;
pub mod signals;
