//! The sums over a node's pods stay right whatever comes in whatever order.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use super::{Cache, resources::pod_requests};

pub(crate) fn pod(name: &str, spec: serde_json::Value) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": spec}),
        )
        .unwrap(),
    )
}

pub(crate) fn node(name: &str, cpu: &str, memory: &str) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110"}},
        }))
        .unwrap(),
    )
}

pub(crate) fn asking(cpu: &str) -> serde_json::Value {
    json!({"schedulerName": "default-scheduler", "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}

#[test]
fn a_pod_counts_once_wherever_it_was_seen() {
    let mut cache = Cache::default();
    cache.apply_node(node("a", "4", "8Gi"));
    cache.apply_node(node("b", "4", "8Gi"));
    let p = cache.info(pod("p", asking("500m")));
    cache.place_pod(p.clone(), "a");
    cache.place_pod(p.clone(), "a");
    assert_eq!(cache.node("a").unwrap().requested.milli_cpu, 500);
    cache.place_pod(p, "b");
    assert_eq!(cache.node("a").unwrap().requested.milli_cpu, 0);
    assert_eq!(cache.node("b").unwrap().requested.milli_cpu, 500);
    assert!(cache.remove_pod("p").is_some());
    assert!(cache.remove_pod("p").is_none());
    assert_eq!(cache.node("b").unwrap().requested.milli_cpu, 0);
}

#[test]
fn pods_of_an_unknown_node_count_when_it_appears() {
    let mut cache = Cache::default();
    let p = cache.info(pod("p", asking("1")));
    cache.place_pod(p, "late");
    assert!(cache.is_empty());
    cache.apply_node(node("late", "4", "8Gi"));
    assert_eq!(cache.node("late").unwrap().requested.milli_cpu, 1000);
    cache.remove_node("late");
    assert!(cache.node("late").is_none());
    cache.remove_pod("p");
    assert_eq!(cache.len(), 0);
}

#[test]
fn init_containers_sidecars_and_overhead_add_up_as_documented() {
    let with = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let cases = [
        (
            json!({"containers": [{"name": "a", "resources": with("1")}, {"name": "b", "resources": with("500m")}]}),
            1500,
        ),
        (
            json!({"containers": [{"name": "a", "resources": with("1")}], "initContainers": [{"name": "i", "resources": with("2")}]}),
            2000,
        ),
        (
            json!({"containers": [{"name": "a", "resources": with("1")}],
                   "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": with("300m")}, {"name": "i", "resources": with("900m")}]}),
            1300,
        ),
        (
            json!({"containers": [{"name": "a", "resources": with("1")}],
                   "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": with("300m")}, {"name": "i", "resources": with("1200m")}]}),
            1500,
        ),
        (
            json!({"containers": [{"name": "a", "resources": with("1")}], "overhead": {"cpu": "250m"}}),
            1250,
        ),
        (
            json!({"containers": [{"name": "a", "resources": with("1")}], "resources": with("3")}),
            3000,
        ),
    ];
    for (spec, want) in cases {
        let p = pod("p", spec.clone());
        assert_eq!(
            pod_requests(&p, p.spec.as_ref().unwrap()).milli_cpu,
            want,
            "{spec}"
        );
    }
}

#[test]
fn a_pod_that_is_gone_is_kept_by_nothing() {
    let mut cache = Cache::default();
    cache.apply_node(node("a", "4", "8Gi"));
    let object = pod("p", asking("500m"));
    let p = cache.info(object.clone());
    cache.place_pod(p.clone(), "a");
    cache.remove_pod("p");
    drop(p);
    assert_eq!(Arc::strong_count(&object), 1);
}
