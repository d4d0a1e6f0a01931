//! /stats/summary, /runningpods and /configz.

use std::collections::BTreeMap;

use cri::v1;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{App, Body, json as answer, text};
use crate::{
    agent::Agent,
    pods::observed::{keys, timestamp},
};

fn number(value: Option<v1::UInt64Value>) -> Value {
    value.map_or(Value::Null, |v| v.value.into())
}

fn time(nanos: i64, now: Timestamp) -> String {
    api::clock::rfc3339(if nanos > 0 { timestamp(nanos) } else { now })
}

fn cpu(usage: Option<&v1::CpuUsage>, now: Timestamp) -> Value {
    let Some(usage) = usage else {
        return Value::Null;
    };
    json!({
        "time": time(usage.timestamp, now),
        "usageNanoCores": number(usage.usage_nano_cores),
        "usageCoreNanoSeconds": number(usage.usage_core_nano_seconds),
    })
}

fn memory(usage: Option<&v1::MemoryUsage>, now: Timestamp) -> Value {
    let Some(usage) = usage else {
        return Value::Null;
    };
    json!({
        "time": time(usage.timestamp, now),
        "availableBytes": number(usage.available_bytes),
        "usageBytes": number(usage.usage_bytes),
        "workingSetBytes": number(usage.working_set_bytes),
        "rssBytes": number(usage.rss_bytes),
        "pageFaults": number(usage.page_faults),
        "majorPageFaults": number(usage.major_page_faults),
    })
}

/// Drops what was not measured.
fn prune(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, prune(v)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(prune).collect()),
        other => other,
    }
}

/// Everything the runtime measured, by container.
pub async fn measured(app: &App) -> Result<Vec<v1::ContainerStats>, Response<Body>> {
    app.agent
        .runtime
        .list_container_stats(v1::ListContainerStatsRequest::default())
        .await
        .map(|answer| answer.stats)
        .map_err(|error| text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Everything the runtime measured, by sandbox; nothing where it does not measure those.
pub async fn measured_sandboxes(app: &App) -> Vec<v1::PodSandboxStats> {
    app.agent
        .runtime
        .list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest::default())
        .await
        .map(|answer| answer.stats)
        .unwrap_or_default()
}

/// /stats/summary.
pub async fn summary(app: &App) -> Response<Body> {
    let stats = match measured(app).await {
        Ok(stats) => stats,
        Err(refused) => return refused,
    };
    let sandboxes = measured_sandboxes(app).await;
    let now = app.agent.now();
    let mut pods: BTreeMap<String, Value> = BTreeMap::new();
    for pod in app.pods.list() {
        let meta = &pod.metadata;
        let uid = meta.uid.clone().unwrap_or_default();
        let of = |labels: &std::collections::HashMap<String, String>| {
            labels.get(keys::POD_UID) == Some(&uid)
        };
        let containers: Vec<Value> = stats
            .iter()
            .filter(|s| s.attributes.as_ref().is_some_and(|a| of(&a.labels)))
            .map(|s| {
                let name = s
                    .attributes
                    .as_ref()
                    .and_then(|a| a.labels.get(keys::CONTAINER_NAME).cloned());
                json!({
                    "name": name,
                    "startTime": pod.status.as_ref().and_then(|s| s.start_time.clone()),
                    "cpu": cpu(s.cpu.as_ref(), now),
                    "memory": memory(s.memory.as_ref(), now),
                    "rootfs": s.writable_layer.as_ref().map(|fs| json!({
                        "time": time(fs.timestamp, now),
                        "usedBytes": number(fs.used_bytes),
                        "inodesUsed": number(fs.inodes_used),
                    })),
                })
            })
            .collect();
        if containers.is_empty() {
            continue;
        }
        let sandbox = sandboxes
            .iter()
            .find(|s| {
                s.attributes
                    .as_ref()
                    .and_then(|a| a.metadata.as_ref())
                    .is_some_and(|m| m.uid == uid)
            })
            .and_then(|s| s.linux.as_ref());
        let network = sandbox.and_then(|s| s.network.as_ref()).map(|n| {
            let of = |i: &v1::NetworkInterfaceUsage| {
                json!({
                    "name": i.name,
                    "rxBytes": number(i.rx_bytes), "rxErrors": number(i.rx_errors),
                    "txBytes": number(i.tx_bytes), "txErrors": number(i.tx_errors),
                })
            };
            let mut out = n.default_interface.as_ref().map_or_else(|| json!({}), of);
            if let Some(map) = out.as_object_mut() {
                map.insert("time".to_owned(), time(n.timestamp, now).into());
                map.insert(
                    "interfaces".to_owned(),
                    n.interfaces.iter().map(of).collect(),
                );
            }
            out
        });
        let sum = |of: fn(&v1::ContainerStats) -> Option<v1::UInt64Value>| -> u64 {
            stats
                .iter()
                .filter(|s| {
                    s.attributes
                        .as_ref()
                        .is_some_and(|a| a.labels.get(keys::POD_UID) == Some(&uid))
                })
                .filter_map(of)
                .map(|v| v.value)
                .sum()
        };
        let value = json!({
            "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": uid},
            "startTime": pod.status.as_ref().and_then(|s| s.start_time.clone()),
            "containers": containers,
            "cpu": sandbox.and_then(|s| s.cpu.as_ref()).map_or_else(
                || json!({
                    "time": api::clock::rfc3339(now),
                    "usageNanoCores": sum(|s| s.cpu.as_ref()?.usage_nano_cores),
                    "usageCoreNanoSeconds": sum(|s| s.cpu.as_ref()?.usage_core_nano_seconds),
                }),
                |usage| cpu(Some(usage), now),
            ),
            "memory": sandbox.and_then(|s| s.memory.as_ref()).map_or_else(
                || json!({
                    "time": api::clock::rfc3339(now),
                    "usageBytes": sum(|s| s.memory.as_ref()?.usage_bytes),
                    "workingSetBytes": sum(|s| s.memory.as_ref()?.working_set_bytes),
                }),
                |usage| memory(Some(usage), now),
            ),
            "network": network,
            "process_stats": sandbox.and_then(|s| s.process.as_ref()).map(|p| {
                json!({"process_count": number(p.process_count)})
            }),
        });
        pods.insert(uid, prune(value));
    }
    let pods: Vec<Value> = pods.into_values().collect();
    answer(&json!({"node": prune(node(&app.agent)), "pods": pods}))
}

/// The node as a whole.
fn node(agent: &Agent) -> Value {
    let now = agent.now();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let meminfo = read("/proc/meminfo");
    let of = |key: &str| crate::node::machine::meminfo_bytes(&meminfo, key);
    let (total, available) = (of("MemTotal"), of("MemAvailable"));
    let fs = rustix::fs::statvfs(&agent.config.root_dir).ok().map(|s| {
        json!({
            "time": api::clock::rfc3339(now),
            "capacityBytes": s.f_blocks.saturating_mul(s.f_frsize),
            "availableBytes": s.f_bavail.saturating_mul(s.f_frsize),
            "usedBytes": s.f_blocks.saturating_sub(s.f_bfree).saturating_mul(s.f_frsize),
            "inodes": s.f_files, "inodesFree": s.f_favail,
            "inodesUsed": s.f_files.saturating_sub(s.f_ffree),
        })
    });
    json!({
        "nodeName": agent.config.node_name,
        "cpu": {
            "time": api::clock::rfc3339(now),
            "usageCoreNanoSeconds": busy_nanos(&read("/proc/stat")),
        },
        "memory": {
            "time": api::clock::rfc3339(now),
            "availableBytes": available,
            "usageBytes": total - of("MemFree"),
            "workingSetBytes": total - available,
        },
        "fs": fs,
    })
}

/// Processor time spent since boot: /proc/stat counts hundredths of a second.
pub fn busy_nanos(stat: &str) -> u64 {
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|f| f.parse().ok())
        .collect();
    let idle = fields.iter().skip(3).take(2).sum::<u64>();
    let all = fields.iter().take(8).sum::<u64>();
    all.saturating_sub(idle).saturating_mul(10_000_000)
}

/// /runningpods: the pods as the runtime has them.
pub async fn running_pods(app: &App) -> Response<Body> {
    let request = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            state: Some(v1::ContainerStateValue {
                state: v1::ContainerState::ContainerRunning as i32,
            }),
            ..Default::default()
        }),
    };
    let containers = match app.agent.runtime.list_containers(request).await {
        Ok(answer) => answer.containers,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut pods: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for container in containers {
        let get = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        let metadata = json!({
            "name": get(keys::POD_NAME), "namespace": get(keys::POD_NAMESPACE),
            "uid": get(keys::POD_UID),
        });
        let image = container.image.as_ref().map(|i| i.image.clone());
        pods.entry(get(keys::POD_UID))
            .or_insert_with(|| (metadata, Vec::new()))
            .1
            .push(json!({"name": get(keys::CONTAINER_NAME), "image": image, "resources": {}}));
    }
    let items: Vec<Value> = pods
        .into_values()
        .map(|(metadata, containers)| {
            json!({"metadata": metadata, "spec": {"containers": containers}, "status": {}})
        })
        .collect();
    answer(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// /configz.
pub fn config(agent: &Agent) -> Value {
    let config = &agent.config;
    json!({"kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": config.listen.port(),
        "address": config.listen.ip().to_string(),
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "maxPods": config.max_pods,
        "cgroupRoot": format!("/{}", config.cgroup_root.trim_matches('/')),
        "cgroupDriver": "cgroupfs",
        "resolvConf": config.resolv_conf,
        "nodeLeaseDurationSeconds": 40,
        "nodeStatusReportFrequency": "5m0s",
        "imageGCHighThresholdPercent": config.image_gc_high_percent,
        "imageGCLowThresholdPercent": config.image_gc_low_percent,
        "containerLogMaxSize": config.log_max_size.to_string(),
        "containerLogMaxFiles": config.log_max_files,
        "containerRuntimeEndpoint": format!("unix://{}", config.cri_socket.display()),
        "evictionHard": {
            "memory.available": config.eviction.memory_available.to_string(),
            "nodefs.available": format!("{}%", config.eviction.fs_available * 100.0),
            "nodefs.inodesFree": format!("{}%", config.eviction.inodes_free * 100.0),
        },
    }})
}
