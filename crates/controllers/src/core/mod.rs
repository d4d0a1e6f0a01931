//! The core group: namespaces, what every namespace holds, pods nobody looks after, tokens, and
//! what gone API servers left.

pub(crate) mod account_tokens;
pub(crate) mod cluster_info;
pub(crate) mod legacy_tokens;
pub(crate) mod namespace;
pub(crate) mod namespace_defaults;
pub(crate) mod pod_gc;
pub(crate) mod server_leases;
pub(crate) mod token_cleaner;
