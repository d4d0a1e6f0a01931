//! Kubernetes quantities to the kernel's numbers: cpu shares and quota, memory limits, huge pages.

use std::collections::{BTreeMap, HashMap};

use api::quantity::Quantity as Parsed;
use cri::v1;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};

use super::qos::Qos;

/// Length of a scheduling period, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The kernel's least quota, in microseconds.
const MIN_QUOTA: i64 = 1_000;
/// The kernel's bounds of cpu.shares.
const SHARES: std::ops::RangeInclusive<i64> = 2..=262_144;

/// Resources by name.
pub type List = BTreeMap<String, Quantity>;

/// A quantity in billionths; zero when it cannot be read (the API server has validated it).
pub fn nano(quantity: &Quantity) -> i128 {
    quantity.0.parse::<Parsed>().map(|q| q.nanos()).unwrap_or(0)
}

/// A quantity in thousandths, rounded up.
pub fn milli(quantity: &Quantity) -> i64 {
    clamp(div_ceil(nano(quantity), 1_000_000))
}

/// A quantity in whole units, rounded up.
pub fn value(quantity: &Quantity) -> i64 {
    clamp(div_ceil(nano(quantity), 1_000_000_000))
}

fn div_ceil(a: i128, b: i128) -> i128 {
    a.div_euclid(b) + i128::from(a.rem_euclid(b) != 0)
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// cpu.shares of so many thousandths of a core.
pub fn shares(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 {
        return *SHARES.start();
    }
    (milli_cpu.saturating_mul(1024) / 1000).clamp(*SHARES.start(), *SHARES.end())
}

/// The quota per period of so many thousandths of a core; zero means unlimited.
pub fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu <= 0 {
        return 0;
    }
    (milli_cpu.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA)
}

/// A container's request: its own, or its limit where it has none.
pub fn request<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    let resources = container.resources.as_ref()?;
    resources
        .requests
        .as_ref()
        .and_then(|r| r.get(name))
        .or_else(|| limit(container, name))
}

/// A container's limit.
pub fn limit<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(name)
}

/// What the runtime is told about a container's resources.
pub fn container(
    spec: &PodSpec,
    container: &Container,
    machine_memory: i64,
) -> v1::LinuxContainerResources {
    let cpu_request = request(container, "cpu").map_or(0, milli);
    let cpu_limit = limit(container, "cpu").map_or(0, milli);
    let memory_limit = limit(container, "memory").map_or(0, value);
    let memory_request = request(container, "memory").map_or(0, value);
    let critical = spec.priority.is_some_and(|p| p >= 2_000_000_000);
    let mut out = v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: quota(cpu_limit),
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: memory_limit,
        memory_swap_limit_in_bytes: memory_limit,
        oom_score_adj: Qos::of(spec).oom_score_adj(critical, memory_request, machine_memory),
        ..Default::default()
    };
    for (name, quantity) in container
        .resources
        .iter()
        .flat_map(|r| r.limits.iter().flatten())
    {
        if let Some(size) = name.strip_prefix("hugepages-") {
            let Some(page_size) = page_size(size) else {
                continue;
            };
            out.hugepage_limits.push(v1::HugepageLimit {
                page_size,
                limit: u64::try_from(value(quantity)).unwrap_or(0),
            });
        }
    }
    out
}

/// `2Mi` as the kernel spells it: `2MB`.
fn page_size(size: &str) -> Option<String> {
    let (digits, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "Ki" => "KB",
        "Mi" => "MB",
        "Gi" => "GB",
        _ => return None,
    };
    Some(format!("{digits}{unit}"))
}

/// What the pod as a whole may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodResources {
    /// cpu.shares.
    pub shares: i64,
    /// Quota per 100 ms; none when some container is unlimited.
    pub quota: Option<i64>,
    /// Memory limit in bytes; none when some container is unlimited.
    pub memory: Option<i64>,
}

/// The pod cgroup's limits.
pub fn pod(spec: &PodSpec) -> PodResources {
    let requests = total(spec, |c, name| request(c, name));
    let mut out = PodResources {
        shares: shares(requests.get("cpu").map_or(0, |n| (n / 1_000_000) as i64)),
        ..Default::default()
    };
    if let Some(limits) = spec.resources.as_ref().and_then(|r| r.limits.as_ref()) {
        out.quota = limits.get("cpu").map(|q| quota(milli(q)));
        out.memory = limits.get("memory").map(value);
        return out;
    }
    let limits = total(spec, limit);
    let everyone_limits = |name: &str| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .all(|c| limit(c, name).is_some_and(|q| nano(q) > 0))
    };
    if everyone_limits("cpu") {
        out.quota = limits.get("cpu").map(|n| quota((n / 1_000_000) as i64));
    }
    if everyone_limits("memory") {
        out.memory = limits.get("memory").map(|n| clamp(n / 1_000_000_000));
    }
    out
}

/// What the pod asks of the node, in billionths by resource: the larger of what the containers
/// (and sidecars) need together and what each initialization step needs, and the overhead.
pub fn pod_requests(spec: &PodSpec) -> HashMap<String, i128> {
    let mut out = total(spec, |c, name| request(c, name));
    if let Some(requests) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        for (name, quantity) in requests {
            out.insert(name.clone(), nano(quantity));
        }
    }
    for (name, quantity) in spec.overhead.iter().flatten() {
        *out.entry(name.clone()).or_default() += nano(quantity);
    }
    out
}

fn total<'a>(
    spec: &'a PodSpec,
    of: impl Fn(&'a Container, &str) -> Option<&'a Quantity>,
) -> HashMap<String, i128> {
    let names = |c: &'a Container| {
        c.resources
            .iter()
            .flat_map(|r| {
                r.requests
                    .iter()
                    .flatten()
                    .chain(r.limits.iter().flatten())
                    .map(|(name, _)| name.as_str())
            })
            .collect::<std::collections::BTreeSet<_>>()
    };
    let mut running: HashMap<String, i128> = HashMap::new();
    let add = |to: &mut HashMap<String, i128>, c: &'a Container| {
        for name in names(c) {
            if let Some(quantity) = of(c, name) {
                *to.entry(name.to_owned()).or_default() += nano(quantity);
            }
        }
    };
    for container in &spec.containers {
        add(&mut running, container);
    }
    let mut sidecars: HashMap<String, i128> = HashMap::new();
    let mut peak: HashMap<String, i128> = HashMap::new();
    for container in spec.init_containers.iter().flatten() {
        let mut step = sidecars.clone();
        add(&mut step, container);
        for (name, amount) in &step {
            let entry = peak.entry(name.clone()).or_default();
            *entry = (*entry).max(*amount);
        }
        if is_sidecar(container) {
            add(&mut running, container);
            sidecars = step;
        }
    }
    for (name, amount) in peak {
        let entry = running.entry(name).or_default();
        *entry = (*entry).max(amount);
    }
    running
}

/// Whether an init container keeps running beside the containers.
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_numbers() {
        assert_eq!(shares(0), 2);
        assert_eq!(shares(100), 102);
        assert_eq!(shares(2000), 2048);
        assert_eq!(quota(0), 0);
        assert_eq!(quota(5), 1_000);
        assert_eq!(quota(500), 50_000);
        assert_eq!(milli(&Quantity("250m".into())), 250);
        assert_eq!(value(&Quantity("1.5".into())), 2);
        assert_eq!(value(&Quantity("64Mi".into())), 64 << 20);
        assert_eq!(page_size("2Mi").as_deref(), Some("2MB"));
    }

    #[test]
    fn init_steps_and_sidecars_count_as_the_scheduler_counts_them() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "initContainers": [
                {"name": "big", "resources": {"requests": {"cpu": "3"}}},
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"name": "late", "resources": {"requests": {"cpu": "1500m"}}}
            ],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}],
            "overhead": {"cpu": "100m"}
        }))
        .expect("a pod spec");
        let requests = pod_requests(&spec);
        assert_eq!(requests["cpu"], 3_100_000_000);
        assert_eq!(requests["memory"], i128::from(1u64 << 30) * 1_000_000_000);
    }
}
