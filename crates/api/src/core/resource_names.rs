//! Names of resources: which are the API's own, and what may be in them.

use crate::{names, quantity::Quantity};

const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

const INTEGER: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Is this a resource that the API itself names?
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Is it one of the names without a domain?
pub fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Is it one of those that containers ask for?
pub fn is_standard_container(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// Is it one of the names without a domain that quotas count? `storage` is for ranges of claims only.
pub fn is_quota(name: &str) -> bool {
    name != "storage" && STANDARD.contains(&name)
}

/// Is it one of those that quotas count?
pub fn is_standard_quota(name: &str) -> bool {
    is_quota(name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// Is it a resource of someone else's, by its name?
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Is it a number of objects?
pub fn is_counted(name: &str) -> bool {
    INTEGER.contains(&name)
}

/// Is there no part of one?
pub fn is_integer(name: &str) -> bool {
    is_counted(name) || is_extended(name)
}

/// Bytes of a huge page, from the part of the name that tells.
pub fn huge_page_size(text: &str) -> Option<i64> {
    let size = Quantity::from_value(&text.into()).ok()?;
    size.is_whole().then(|| size.value())
}
