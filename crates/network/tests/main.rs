//! Tests against the real kernel, each in network namespaces of its own. They need root and say so
//! without it.

#![allow(clippy::unwrap_used)]

mod bridge;
mod cluster;
mod cni;
mod namespace;
mod proxy;
