//! A few of cAdvisor's container metrics over the CRI.

use cri::v1;

const LABELS: [&str; 6] = ["id", "name", "image", "namespace", "pod", "container"];

/// Metric name, help, and whether it is a counter.
const METRICS: [(&str, &str, bool); 3] = [
    (
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        true,
    ),
    (
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        false,
    ),
    (
        "container_memory_usage_bytes",
        "Current memory usage in bytes.",
        false,
    ),
];

/// The metrics there are.
pub fn descriptors() -> Vec<v1::MetricDescriptor> {
    METRICS
        .iter()
        .map(|(name, help, _)| v1::MetricDescriptor {
            name: (*name).to_owned(),
            help: (*help).to_owned(),
            label_keys: LABELS.iter().map(|l| (*l).to_owned()).collect(),
        })
        .collect()
}

/// The metrics of all pods.
pub fn of(pods: &[v1::PodSandboxStats]) -> Vec<v1::PodSandboxMetrics> {
    pods.iter()
        .map(|pod| {
            let attributes = pod.attributes.clone().unwrap_or_default();
            let containers = pod
                .linux
                .as_ref()
                .map(|l| l.containers.as_slice())
                .unwrap_or_default();
            v1::PodSandboxMetrics {
                pod_sandbox_id: attributes.id.clone(),
                metrics: Vec::new(),
                container_metrics: containers
                    .iter()
                    .map(|c| container(&attributes, c))
                    .collect(),
            }
        })
        .collect()
}

fn container(pod: &v1::PodSandboxAttributes, stats: &v1::ContainerStats) -> v1::ContainerMetrics {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let metadata = pod.metadata.clone().unwrap_or_default();
    let labels = vec![
        attributes.id.clone(),
        attributes.id.clone(),
        String::new(),
        metadata.namespace,
        metadata.name,
        attributes.metadata.map(|m| m.name).unwrap_or_default(),
    ];
    let seconds = |nanoseconds: v1::UInt64Value| v1::UInt64Value {
        value: nanoseconds.value / 1_000_000_000,
    };
    let values = [
        stats
            .cpu
            .as_ref()
            .and_then(|c| c.usage_core_nano_seconds)
            .map(seconds),
        stats.memory.as_ref().and_then(|m| m.working_set_bytes),
        stats.memory.as_ref().and_then(|m| m.usage_bytes),
    ];
    let metrics = METRICS
        .iter()
        .zip(values)
        .filter(|(_, value)| value.is_some())
        .map(|((name, _, counter), value)| v1::Metric {
            name: (*name).to_owned(),
            timestamp: crate::shim::now(),
            metric_type: if *counter {
                v1::MetricType::Counter
            } else {
                v1::MetricType::Gauge
            } as i32,
            label_values: labels.clone(),
            value,
        })
        .collect();
    v1::ContainerMetrics {
        container_id: attributes.id,
        metrics,
    }
}
