//! The objects that are made and changed, built before the clock runs.

use bytes::Bytes;
use serde_json::{Value, json};

/// Nodes, and labels, over which the pods are spread.
pub const NODES: u64 = 50;

/// Where everything is made.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// What admission wants pods to have, where no controller makes it.
pub fn service_account() -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
}

/// A node without a kubelet, so that nothing happens to the pods and nobody sweeps them up.
pub fn node(namespace: &str, n: u64) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": format!("{namespace}-{n}")},
        "spec": {"unschedulable": true},
    })
}

/// A pod's name.
pub fn name(n: u64) -> String {
    format!("pod-{n:06}")
}

/// A pod as large as usual ones: 5,000 of them make a list of about 19 MB.
pub fn pod(namespace: &str, n: u64) -> Bytes {
    let container = |name: &str| {
        let variable = |n: u64| json!({"name": format!("SETTING_{n}"), "value": format!("value of setting {n}")});
        json!({
            "name": name,
            "image": format!("registry.example.com/team/{name}:v1.2.3"),
            "command": ["/bin/server", "--listen=:8080", "--log-level=info"],
            "env": (0..8).map(variable).collect::<Vec<_>>(),
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "resources": {
                "limits": {"cpu": "500m", "memory": "256Mi"},
                "requests": {"cpu": "100m", "memory": "128Mi"},
            },
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        })
    };
    let group = n % NODES;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name(n),
            "labels": {
                "app": format!("app-{group}"),
                "pod-template-hash": "5d4f8c7b9",
                "tier": "frontend",
            },
            "annotations": {"example.com/note": "n".repeat(200)},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [container("web")],
            "nodeName": format!("{namespace}-{group}"),
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    });
    Bytes::from(pod.to_string())
}

/// A kubelet's patch of a pod's status.
pub fn status(n: u64) -> Bytes {
    let condition = |kind: &str| {
        json!({
            "type": kind,
            "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let patch = json!({"status": {
        "phase": "Running",
        "podIP": format!("10.1.{}.{}", n / 250 % 250, n % 250 + 1),
        "conditions": [condition("Ready"), condition("ContainersReady")],
        "message": format!("change {n}"),
    }});
    Bytes::from(patch.to_string())
}
