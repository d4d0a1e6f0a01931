//! Objects for the tests of plans, from one line of text each.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

fn time(seconds: i64) -> String {
    api::clock::rfc3339(jiff::Timestamp::from_second(seconds).unwrap())
}

/// `NAME PHASE [ready[=SECOND]] [deleting] [node=N] [cost=C] [restarts=R] [created=SECOND] [LABEL=VALUE…]`
pub(crate) fn pod(text: &str) -> Pod {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap();
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": {}},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": words.next().unwrap()},
    });
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = value.parse::<i64>().unwrap_or_default();
        match key {
            "ready" => {
                let mut ready = json!({"type": "Ready", "status": "True"});
                ready["lastTransitionTime"] = if value.is_empty() {
                    Value::Null
                } else {
                    json!(time(number))
                };
                pod["status"]["conditions"] = json!([ready]);
            }
            "deleting" => pod["metadata"]["deletionTimestamp"] = json!(time(number)),
            "node" => pod["spec"]["nodeName"] = json!(value),
            "ip" => pod["status"]["podIP"] = json!(value),
            "cost" => {
                pod["metadata"]["annotations"] =
                    json!({"controller.kubernetes.io/pod-deletion-cost": value});
            }
            "restarts" => {
                pod["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": number}]);
            }
            "created" => pod["metadata"]["creationTimestamp"] = json!(time(number)),
            label => pod["metadata"]["labels"][label] = json!(value),
        }
    }
    serde_json::from_value(pod).unwrap()
}

/// Several of them.
pub(crate) fn pods<const N: usize>(texts: [&str; N]) -> Vec<Arc<Pod>> {
    texts.iter().map(|text| Arc::new(pod(text))).collect()
}
