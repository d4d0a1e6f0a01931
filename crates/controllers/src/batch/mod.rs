//! Group `batch`.

pub(crate) mod cronjob;
pub(crate) mod job;
pub(crate) mod ttl;
