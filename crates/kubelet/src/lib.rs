//! The node agent: registers its node, runs the pods bound to it through the Container Runtime
//! Interface, and reports what became of them.
//!
//! The flow of a pod: [`pods::manager`] follows the API and the runtime and keeps one
//! [`pods::worker`] per pod; the worker asks the pure [`pods::plan`] what is to be done, runs the
//! steps in [`pods::hooks`] beside itself, and writes the status that the pure [`pods::status`]
//! generates. [`volumes`] and [`probes`] serve the steps; [`node`] keeps the Node object;
//! [`server`] answers the API server; [`housekeeping`] rotates logs, collects images and evicts.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod agent;
pub mod config;
pub mod housekeeping;
mod inotify;
mod kubelet;
mod log_lines;
pub mod metrics;
pub mod node;
pub mod pods;
pub mod probes;
pub mod runtime_client;
pub mod server;
#[cfg(test)]
mod testing;
pub mod volumes;

pub use config::{Config, EvictionThresholds, ServerTls};
pub use kubelet::{Kubelet, KubeletError};

/// The version that the node reports.
pub const VERSION: &str = "v1.36.0";
