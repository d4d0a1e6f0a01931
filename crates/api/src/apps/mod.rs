//! The group apps.

pub mod defaults;
pub mod status;
pub mod workloads;
