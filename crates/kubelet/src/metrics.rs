//! What the kubelet counts, under upstream's names.

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The kubelet's metrics; clones count into the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Pods that have a worker.
    pub running_pods: Gauge,
    /// Containers started.
    pub started_containers: Counter,
    /// Containers that could not be started.
    pub start_errors: Counter,
    /// Sandboxes made.
    pub started_sandboxes: Counter,
    /// Pods evicted.
    pub evictions: Counter,
    /// From the sight of a pod to all its containers running, without pulls.
    pub pod_start: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            running_pods: Gauge::default(),
            started_containers: Counter::default(),
            start_errors: Counter::default(),
            started_sandboxes: Counter::default(),
            evictions: Counter::default(),
            pod_start: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
        }
    }
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("kubelet");
        registry.register(
            "running_pods",
            "Pods that have a worker",
            self.running_pods.clone(),
        );
        registry.register(
            "started_containers",
            "Containers started",
            self.started_containers.clone(),
        );
        registry.register(
            "started_containers_errors",
            "Containers that could not be started",
            self.start_errors.clone(),
        );
        registry.register(
            "started_pods",
            "Sandboxes made",
            self.started_sandboxes.clone(),
        );
        registry.register("evictions", "Pods evicted", self.evictions.clone());
        registry.register(
            "pod_start_sli_duration_seconds",
            "From the sight of a pod to its first full status",
            self.pod_start.clone(),
        );
    }
}
