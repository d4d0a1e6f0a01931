//! /metrics of the kubelet itself, and the two that monitoring reads about containers.

use std::{collections::HashMap, fmt::Write as _};

use cri::v1;
use http::{Response, StatusCode};

use super::{App, Body, full, stats, text};
use crate::{agent::Agent, pods::observed::keys};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// /metrics.
pub fn own(agent: &Agent) -> Response<Body> {
    match agent.context.metrics.encode() {
        Ok(body) => full(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body,
        ),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn labels(stats: &v1::ContainerStats) -> [String; 3] {
    let get = |key: &str| {
        stats
            .attributes
            .as_ref()
            .and_then(|a| a.labels.get(key).cloned())
            .unwrap_or_default()
    };
    [
        get(keys::CONTAINER_NAME),
        get(keys::POD_NAMESPACE),
        get(keys::POD_NAME),
    ]
}

fn family(out: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// One line of a family.
fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64, now: i64) {
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    let labels = match labels.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", labels.join(",")),
    };
    let _ = writeln!(out, "{name}{labels} {value} {now}");
}

/// /metrics/resource: what metrics-server reads.
pub async fn resource(app: &App) -> Response<Body> {
    let all = match stats::measured(app).await {
        Ok(all) => all,
        Err(refused) => return refused,
    };
    let sandboxes = stats::measured_sandboxes(app).await;
    let now = app.agent.now().as_millisecond();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let meminfo = read("/proc/meminfo");
    let of = |key: &str| crate::node::machine::meminfo_bytes(&meminfo, key);
    let mut out = String::new();
    let cpu = |c: &v1::CpuUsage| Some(seconds(c.usage_core_nano_seconds?.value));
    let memory = |m: &v1::MemoryUsage| Some(m.working_set_bytes?.value as f64);
    type Read<'a> = &'a dyn Fn(&v1::ContainerStats) -> Option<f64>;
    let started = start_times(app);
    let families: [(&str, &str, &str, Read<'_>); 3] = [
        (
            "container_cpu_usage_seconds_total",
            "Cumulative cpu time consumed by the container in core-seconds",
            "counter",
            &|s| s.cpu.as_ref().and_then(cpu),
        ),
        (
            "container_memory_working_set_bytes",
            "Current working set of the container in bytes",
            "gauge",
            &|s| s.memory.as_ref().and_then(memory),
        ),
        (
            "container_start_time_seconds",
            "Start time of the container since unix epoch in seconds",
            "gauge",
            &|s| started.get(&labels(s)).copied(),
        ),
    ];
    for (name, help, kind, read) in families {
        family(&mut out, name, help, kind);
        for s in &all {
            let [container, namespace, pod] = labels(s);
            let labels = [
                ("container", container.as_str()),
                ("namespace", &namespace),
                ("pod", &pod),
            ];
            if let Some(value) = read(s) {
                sample(&mut out, name, &labels, value, now);
            }
        }
    }
    type Whole<'a> = &'a dyn Fn(&v1::LinuxPodSandboxStats) -> Option<f64>;
    let families: [(&str, &str, &str, Whole<'_>); 2] = [
        (
            "pod_cpu_usage_seconds_total",
            "Cumulative cpu time consumed by the pod in core-seconds",
            "counter",
            &|s| s.cpu.as_ref().and_then(cpu),
        ),
        (
            "pod_memory_working_set_bytes",
            "Current working set of the pod in bytes",
            "gauge",
            &|s| s.memory.as_ref().and_then(memory),
        ),
    ];
    for (name, help, kind, read) in families {
        family(&mut out, name, help, kind);
        for s in &sandboxes {
            let about = s.attributes.as_ref().and_then(|a| a.metadata.as_ref());
            if let (Some(about), Some(value)) = (about, s.linux.as_ref().and_then(read)) {
                let labels = [
                    ("namespace", about.namespace.as_str()),
                    ("pod", &about.name),
                ];
                sample(&mut out, name, &labels, value, now);
            }
        }
    }
    let busy = seconds(stats::busy_nanos(&read("/proc/stat")));
    let used = (of("MemTotal") - of("MemAvailable")) as f64;
    for (name, help, kind, value) in [
        (
            "node_cpu_usage_seconds_total",
            "Cumulative cpu time consumed by the node in core-seconds",
            "counter",
            busy,
        ),
        (
            "node_memory_working_set_bytes",
            "Current working set of the node in bytes",
            "gauge",
            used,
        ),
    ] {
        family(&mut out, name, help, kind);
        sample(&mut out, name, &[], value, now);
    }
    family(
        &mut out,
        "resource_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    );
    out.push_str("resource_scrape_error 0\n");
    full(StatusCode::OK, CONTENT_TYPE, out)
}

/// When running containers began, by container, namespace and pod.
fn start_times(app: &App) -> HashMap<[String; 3], f64> {
    let mut out = HashMap::new();
    for pod in app.pods.list() {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        let status = pod.status.as_ref();
        let containers = status.into_iter().flat_map(|s| {
            let mains = s.container_statuses.iter().flatten();
            mains.chain(s.init_container_statuses.iter().flatten())
        });
        for container in containers {
            let running = container.state.as_ref().and_then(|s| s.running.as_ref());
            if let Some(at) = running.and_then(|r| r.started_at.as_ref()) {
                let key = [container.name.clone(), namespace.clone(), name.clone()];
                out.insert(key, at.0.as_second() as f64);
            }
        }
    }
    out
}

/// /metrics/cadvisor: the container metrics that dashboards use most.
pub async fn cadvisor(app: &App) -> Response<Body> {
    let all = match stats::measured(app).await {
        Ok(all) => all,
        Err(refused) => return refused,
    };
    let now = app.agent.now().as_millisecond();
    type Read = fn(&v1::ContainerStats) -> Option<f64>;
    let families: [(&str, &str, &str, Read); 5] = [
        (
            "container_cpu_usage_seconds_total",
            "Cumulative cpu time consumed in seconds.",
            "counter",
            |s| Some(seconds(s.cpu.as_ref()?.usage_core_nano_seconds?.value)),
        ),
        (
            "container_memory_usage_bytes",
            "Current memory usage in bytes, including all memory.",
            "gauge",
            |s| Some(s.memory.as_ref()?.usage_bytes?.value as f64),
        ),
        (
            "container_memory_working_set_bytes",
            "Current working set in bytes.",
            "gauge",
            |s| Some(s.memory.as_ref()?.working_set_bytes?.value as f64),
        ),
        (
            "container_memory_rss",
            "Size of RSS in bytes.",
            "gauge",
            |s| Some(s.memory.as_ref()?.rss_bytes?.value as f64),
        ),
        (
            "container_fs_usage_bytes",
            "Number of bytes that are consumed by the container on this filesystem.",
            "gauge",
            |s| Some(s.writable_layer.as_ref()?.used_bytes?.value as f64),
        ),
    ];
    let mut out = String::new();
    for (name, help, kind, read) in families {
        family(&mut out, name, help, kind);
        for s in &all {
            let [container, namespace, pod] = labels(s);
            let id = s
                .attributes
                .as_ref()
                .map(|a| a.id.as_str())
                .unwrap_or_default();
            if let Some(value) = read(s) {
                let _ = writeln!(
                    out,
                    "{name}{{container={container:?},id={id:?},namespace={namespace:?},pod={pod:?}}} {value} {now}"
                );
            }
        }
    }
    full(StatusCode::OK, CONTENT_TYPE, out)
}
