//! The smaller API groups, a file each.

pub mod admission;
pub mod autoscaling;
pub mod certificates;
pub mod coordination;
pub mod devices;
pub mod discovery;
pub mod extensions;
pub mod flowcontrol;
pub mod networking;
pub mod node;
pub mod pod_groups;
pub mod policy;
pub mod rbac;
pub mod scheduling;
pub mod storage;
pub mod storage_versions;
