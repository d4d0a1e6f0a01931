//! The core group: namespaces, what every namespace holds, and pods nobody looks after.

pub(crate) mod namespace;
pub(crate) mod namespace_defaults;
pub(crate) mod pod_gc;
pub(crate) mod token_cleaner;
