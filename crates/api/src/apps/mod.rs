//! The group apps.

pub mod defaults;
pub mod workloads;
