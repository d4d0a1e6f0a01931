//! Amounts of the things nodes have and pods ask for, in the scheduler's integer units.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};

/// What a container without requests is taken to need when nodes are scored, so that pods without
/// requests still spread: 100 milli-CPU and 200 MiB (upstream's `schedutil` defaults).
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of every resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local storage in bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages, in their own units.
    pub scalar: BTreeMap<Box<str>, i64>,
}

impl Resources {
    /// Reads a `ResourceList`. Amounts that do not parse count as zero: the API server has
    /// validated them.
    pub fn from_list(list: &BTreeMap<String, ApiQuantity>) -> Resources {
        let mut out = Resources::default();
        for (name, amount) in list {
            let Ok(amount) = amount.0.parse::<Quantity>() else {
                continue;
            };
            match name.as_str() {
                "cpu" => out.milli_cpu = amount.millis(),
                "memory" => out.memory = amount.value(),
                "ephemeral-storage" => out.ephemeral_storage = amount.value(),
                "pods" => {}
                other => {
                    out.scalar.insert(other.into(), amount.value());
                }
            }
        }
        out
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Resources) {
        self.milli_cpu += other.milli_cpu;
        self.memory += other.memory;
        self.ephemeral_storage += other.ephemeral_storage;
        for (name, amount) in &other.scalar {
            *self.scalar.entry(name.clone()).or_default() += amount;
        }
    }

    /// Takes `other` away.
    pub fn sub(&mut self, other: &Resources) {
        self.milli_cpu -= other.milli_cpu;
        self.memory -= other.memory;
        self.ephemeral_storage -= other.ephemeral_storage;
        for (name, amount) in &other.scalar {
            if let Some(have) = self.scalar.get_mut(name) {
                *have -= amount;
            }
        }
    }

    /// Raises every amount to at least `other`'s.
    pub fn raise(&mut self, other: &Resources) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let have = self.scalar.entry(name.clone()).or_default();
            *have = (*have).max(*amount);
        }
    }

    /// Whether nothing at all is asked for.
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalar.values().all(|v| *v == 0)
    }
}

/// What a pod needs: containers and restartable init containers (sidecars) together, or the
/// greediest ordinary init container beside the sidecars started before it, whichever is more
/// (KEP-753); pod-level requests override (KEP-2837); then the overhead of its runtime class.
pub fn pod_requests(spec: &PodSpec) -> Resources {
    total(spec, container_requests)
}

/// As [`pod_requests`], with the defaults that scoring uses where nothing is requested.
pub fn pod_requests_non_zero(spec: &PodSpec) -> Resources {
    total(spec, |container| {
        let mut out = container_requests(container);
        let asked = container
            .resources
            .as_ref()
            .and_then(|r| r.requests.as_ref());
        if !asked.is_some_and(|r| r.contains_key("cpu")) {
            out.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !asked.is_some_and(|r| r.contains_key("memory")) {
            out.memory = DEFAULT_MEMORY;
        }
        out
    })
}

fn container_requests(container: &Container) -> Resources {
    container
        .resources
        .as_ref()
        .and_then(|r| r.requests.as_ref())
        .map(Resources::from_list)
        .unwrap_or_default()
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of(container));
    }
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut now = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&now);
            sidecars.add(&now);
            now = sidecars.clone();
        } else {
            now.add(&sidecars);
        }
        starting.raise(&now);
    }
    running.raise(&starting);
    if let Some(requests) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let pod = Resources::from_list(requests);
        if requests.contains_key("cpu") {
            running.milli_cpu = pod.milli_cpu;
        }
        if requests.contains_key("memory") {
            running.memory = pod.memory;
        }
        for (name, amount) in pod.scalar {
            running.scalar.insert(name, amount);
        }
    }
    if let Some(overhead) = &spec.overhead {
        running.add(&Resources::from_list(overhead));
    }
    running
}
