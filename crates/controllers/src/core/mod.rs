//! The core group: namespaces, what every namespace holds, pods nobody looks after, and tokens.

pub(crate) mod account_tokens;
pub(crate) mod cluster_info;
pub(crate) mod legacy_tokens;
pub(crate) mod namespace;
pub(crate) mod namespace_defaults;
pub(crate) mod pod_gc;
pub(crate) mod token_cleaner;
