//! What quotas count: admission counts a write by it, and the quota controller counts anew.

pub mod scope;
pub mod usage;
