//! Pods on this node: the manager has one worker per pod; a worker observes, plans and executes.

pub mod admission;
pub mod allocation;
pub mod backoff;
pub mod cgroups;
pub mod cri_config;
pub mod dns;
pub mod env;
pub mod expand;
pub mod fields;
pub mod hooks;
mod last_words;
pub mod manager;
pub mod manifests;
mod mirrors;
pub mod observed;
pub mod plan;
pub mod qos;
pub mod resources;
pub mod security;
pub mod status;
pub mod view;
pub mod worker;
