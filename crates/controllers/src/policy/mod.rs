//! Disruption budgets and resource quotas: how much may go at a time, and how much there may be.

pub(crate) mod disruption;
pub(crate) mod quota;
mod scales;
mod stale;
