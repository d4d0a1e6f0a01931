//! Service networks and load balancers.

pub(crate) mod load_balancer;
pub(crate) mod service_cidrs;
