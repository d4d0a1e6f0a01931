//! Simulated nodes, so that a control plane can be loaded with thousands of nodes from one small
//! process: they register, heartbeat by Lease, and report the pods bound to them Running and Ready
//! without any container. Any Kubernetes endpoint will do.
//!
//! [`run`] keeps three things going: [`heartbeat`] (registration and Leases, spread over the period),
//! one watch of all bound pods ([`pods`], which keeps of each only what [`plan`] asks), and a bounded
//! number of status writes and deletions under way. [`plan`] and [`object`] are pure.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod heartbeat;
pub mod object;
pub mod plan;
pub mod pods;
mod run;

use std::{collections::BTreeMap, time::Duration};

pub use run::run;

/// What the nodes are like.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many.
    pub nodes: u32,
    /// Their names are this and a number from 0.
    pub prefix: String,
    /// What each has, and lets pods use.
    pub capacity: BTreeMap<String, String>,
    /// Labels of every node.
    pub labels: BTreeMap<String, String>,
    /// Zones the nodes are dealt out to in turn; none get no zone label.
    pub zones: u32,
    /// Between two heartbeats of one node.
    pub heartbeat: Duration,
    /// How long a pod takes to stop after it was asked to, at most the grace it was given.
    pub stop: Duration,
    /// Writes under way at once. At the bound further ones wait in order; each pod waits once.
    pub writes: usize,
}

/// A write, or the watch, that failed for good.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A node could not be registered.
    #[error("register node {node}: {source}")]
    Register {
        /// Its name.
        node: String,
        /// What the API said.
        source: kube::Error,
    },
}
