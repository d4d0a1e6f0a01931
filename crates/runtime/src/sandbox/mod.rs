//! Sandboxes: what a pod has before its first container, and what the server remembers of it.

pub mod files;
pub mod plan;
pub mod record;
