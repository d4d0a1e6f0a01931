//! /metrics of the kubelet itself, and the two that monitoring reads about containers.

use std::fmt::Write as _;

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

/// /metrics/resource: what metrics-server reads.
pub async fn resource(app: &App) -> Response<Body> {
    let all = match stats::measured(app).await {
        Ok(all) => all,
        Err(refused) => return refused,
    };
    let now = app.agent.now().as_millisecond();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let meminfo = read("/proc/meminfo");
    let of = |key: &str| crate::node::machine::meminfo_bytes(&meminfo, key);
    let mut out = String::new();
    family(
        &mut out,
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
        "counter",
    );
    for s in &all {
        let [container, namespace, pod] = labels(s);
        if let Some(nanos) = s.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds) {
            let _ = writeln!(
                out,
                "container_cpu_usage_seconds_total{{container={container:?},namespace={namespace:?},pod={pod:?}}} {} {now}",
                seconds(nanos.value)
            );
        }
    }
    family(
        &mut out,
        "container_memory_working_set_bytes",
        "Current working set of the container in bytes",
        "gauge",
    );
    for s in &all {
        let [container, namespace, pod] = labels(s);
        if let Some(bytes) = s.memory.as_ref().and_then(|m| m.working_set_bytes) {
            let _ = writeln!(
                out,
                "container_memory_working_set_bytes{{container={container:?},namespace={namespace:?},pod={pod:?}}} {} {now}",
                bytes.value
            );
        }
    }
    family(
        &mut out,
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
        "counter",
    );
    let _ = writeln!(
        out,
        "node_cpu_usage_seconds_total {} {now}",
        seconds(stats::busy_nanos(&read("/proc/stat")))
    );
    family(
        &mut out,
        "node_memory_working_set_bytes",
        "Current working set of the node in bytes",
        "gauge",
    );
    let _ = writeln!(
        out,
        "node_memory_working_set_bytes {} {now}",
        of("MemTotal") - of("MemAvailable")
    );
    family(
        &mut out,
        "resource_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    );
    out.push_str("resource_scrape_error 0\n");
    full(StatusCode::OK, CONTENT_TYPE, out)
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
