//! Amounts of the things nodes have and pods ask for, in the scheduler's integer units.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodSpec},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use serde::Serialize;

/// What a container without requests is taken to need when nodes are scored, so that pods without
/// requests still spread: 100 milli-CPU and 200 MiB (upstream's `schedutil` defaults).
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of every resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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

    /// The amount of a resource by its API name.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            other => self.scalar.get(other).copied().unwrap_or_default(),
        }
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
///
/// A container that is being resized in place counts for the most of what it asks for, was allocated
/// and runs with, unless the resize is infeasible (KEP-1287).
pub fn pod_requests(pod: &Pod, spec: &PodSpec) -> Resources {
    total(pod, spec, Count::Asked)
}

/// As [`pod_requests`], with the defaults that scoring uses where nothing is requested.
pub fn pod_requests_non_zero(pod: &Pod, spec: &PodSpec) -> Resources {
    total(pod, spec, Count::NonZero)
}

/// What NodeResourcesFit's scorer takes a pod to need that is not placed yet: as
/// [`pod_requests_non_zero`], of the containers' specs alone. Upstream's scorer is built without what
/// would make it look at pod-level requests and at resizes (they count once the pod is placed).
pub fn pod_requests_liked(pod: &Pod, spec: &PodSpec) -> Resources {
    total(pod, spec, Count::Liked)
}

/// Which of a pod's requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// As they are.
    Asked,
    /// With defaults.
    NonZero,
    /// With defaults, those of the containers' specs alone.
    Liked,
}

type List = BTreeMap<String, ApiQuantity>;

/// Whether the kubelet has said that the resize asked for cannot be.
fn infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "PodResizePending")
        .is_some_and(|c| c.reason.as_deref() == Some("Infeasible"))
}

/// The most of what some lists say.
fn most<'l>(lists: impl Iterator<Item = &'l List>) -> Resources {
    let mut out = Resources::default();
    for list in lists {
        out.raise(&Resources::from_list(list));
    }
    out
}

/// A container that asks for nothing counts for something.
#[derive(Clone, Copy)]
struct Defaults {
    cpu: bool,
    memory: bool,
}

impl Defaults {
    /// Which there are: a pod with requests of its own has them for what nobody in it asks for.
    fn of(pod: &Pod, spec: &PodSpec, count: Count) -> Defaults {
        let of_pod = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        let of_pod = of_pod.filter(|_| count == Count::NonZero);
        let whole = |name: &str| name == "cpu" || name == "memory" || is_huge(name);
        let Some(own) = of_pod.filter(|own| own.keys().any(|name| whole(name))) else {
            let any = count != Count::Asked;
            return Defaults {
                cpu: any,
                memory: any,
            };
        };
        let init = spec.init_containers.iter().flatten();
        let init = init.map(|c| (c, is_sidecar(c)));
        let all = spec.containers.iter().map(|c| (c, true)).chain(init);
        let lists = all.flat_map(|(container, resizable)| lists(pod, container, resizable));
        let mut lists = lists.chain([own]).chain(&spec.overhead);
        let (mut cpu, mut memory) = (true, true);
        lists.by_ref().for_each(|list| {
            cpu &= !list.contains_key("cpu");
            memory &= !list.contains_key("memory");
        });
        Defaults { cpu, memory }
    }
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The lists that tell what a container counts for.
fn lists<'p>(
    pod: &'p Pod,
    container: &'p Container,
    resizable: bool,
) -> impl Iterator<Item = &'p List> + Clone {
    static NONE: List = List::new();
    let asked = container.resources.as_ref();
    let asked = asked.and_then(|r| r.requests.as_ref()).unwrap_or(&NONE);
    let resized = resizable.then(|| status(pod, &container.name)).flatten();
    let resized = resized.filter(|s| s.resources.is_some());
    let actuated = resized.and_then(|s| s.resources.as_ref()?.requests.as_ref());
    let allocated = resized.and_then(|s| s.allocated_resources.as_ref());
    let asked = Some(asked).filter(|_| resized.is_none() || !infeasible(pod));
    [asked, actuated, allocated].into_iter().flatten()
}

fn status<'p>(pod: &'p Pod, name: &str) -> Option<&'p ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten();
    all.chain(status.init_container_statuses.iter().flatten())
        .find(|s| s.name == name)
}

fn total(pod: &Pod, spec: &PodSpec, count: Count) -> Resources {
    let whole = count != Count::Liked;
    let defaults = Defaults::of(pod, spec, count);
    let of_container = |container: &Container, resizable: bool| {
        let lists = lists(pod, container, whole && resizable);
        let mut out = most(lists.clone());
        let says = |name| lists.clone().any(|list| list.contains_key(name));
        if defaults.cpu && !says("cpu") {
            out.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if defaults.memory && !says("memory") {
            out.memory = DEFAULT_MEMORY;
        }
        out
    };
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of_container(container, true));
    }
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let sidecar = is_sidecar(container);
        let mut now = of_container(container, sidecar);
        if sidecar {
            running.add(&now);
            sidecars.add(&now);
            now = sidecars.clone();
        } else {
            now.add(&sidecars);
        }
        starting.raise(&now);
    }
    running.raise(&starting);
    let of_pod = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    if let Some(requests) = of_pod.filter(|_| whole) {
        let status = pod.status.as_ref().filter(|s| s.resources.is_some());
        let actuated = status.and_then(|s| s.resources.as_ref()?.requests.as_ref());
        let allocated = status.and_then(|s| s.allocated_resources.as_ref());
        let asked = Some(requests).filter(|_| status.is_none() || !infeasible(pod));
        let effective = most([asked, actuated, allocated].into_iter().flatten());
        if requests.contains_key("cpu") {
            running.milli_cpu = effective.milli_cpu;
        }
        if requests.contains_key("memory") {
            running.memory = effective.memory;
        }
        for (name, amount) in effective.scalar {
            if is_huge(&name) && requests.contains_key(&*name) {
                running.scalar.insert(name, amount);
            }
        }
    }
    if let Some(overhead) = &spec.overhead {
        running.add(&Resources::from_list(overhead));
    }
    running
}
