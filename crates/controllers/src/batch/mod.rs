//! Group `batch`.

pub(crate) mod job;
pub(crate) mod ttl;
