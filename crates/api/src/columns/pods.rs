//! Pods, and templates of pods.

use jiff::Timestamp;
use schema::Value;

use super::{AGE, NAME, Printer, age, containers, is_true, label_map, name, or, text, wide};
use crate::{duration, meta, object::Object};

/// How the kind is shown, if it belongs here.
pub fn printer(group: &str, kind: &str) -> Option<Printer> {
    match (group, kind) {
        ("", "Pod") => Some(Printer {
            columns: const {
                &[
                    NAME,
                    text("Ready"),
                    text("Status"),
                    text("Restarts"),
                    AGE,
                    wide("IP"),
                    wide("Node"),
                    wide("Nominated Node"),
                    wide("Readiness Gates"),
                ]
            },
            row: pod,
        }),
        ("", "PodTemplate") => Some(Printer {
            columns: const { &[NAME, text("Containers"), text("Images"), text("Pod Labels")] },
            row: |object, _| {
                let [names, images] = containers(object.at("template.spec"));
                vec![
                    name(object),
                    names,
                    images,
                    label_map(object.at("template.metadata.labels")).into(),
                ]
            },
        }),
        _ => None,
    }
}

/// What the containers of a pod add up to.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    restarted: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, status: &Value) {
        self.restarts += status.int("restartCount").unwrap_or(0);
        let ended = meta::time(status, "lastState.terminated.finishedAt");
        self.restarted = self.restarted.max(ended);
    }
}

/// A sidecar: an init container that keeps running.
fn is_restartable(spec: &Value, name: &str) -> bool {
    let mut init = spec.list("initContainers").iter();
    init.any(|container| {
        container.text("name") == name && container.text("restartPolicy") == "Always"
    })
}

/// `Error`, `Signal:9` or `ExitCode:1`.
fn ended(terminated: &Value) -> String {
    let signal = terminated.int("signal").unwrap_or(0);
    if !terminated.text("reason").is_empty() {
        terminated.text("reason").to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", terminated.int("exitCode").unwrap_or(0))
    }
}

fn summary(object: &Value) -> Summary {
    let (spec, status) = (object.at("spec"), object.at("status"));
    let phase = status.text("phase");
    let init = spec.list("initContainers");
    let mut summary = Summary {
        reason: or(status.text("reason"), phase).to_owned(),
        total: spec.list("containers").len()
            + init
                .iter()
                .filter(|container| container.text("restartPolicy") == "Always")
                .count(),
        ..Summary::default()
    };
    let gated = |condition: &Value| {
        condition.text("type") == "PodScheduled" && condition.text("reason") == "SchedulingGated"
    };
    if status.list("conditions").iter().any(gated) {
        summary.reason = "SchedulingGated".to_owned();
    }
    let mut sidecars = Summary::default();
    let mut initializing = false;
    for (index, container) in status.list("initContainerStatuses").iter().enumerate() {
        summary.count_restarts(container);
        let restartable = is_restartable(spec, container.text("name"));
        if restartable {
            sidecars.count_restarts(container);
        }
        let terminated = container.at("state.terminated");
        let waiting = container.text("state.waiting.reason");
        if !terminated.is_null() && terminated.int("exitCode").unwrap_or(0) == 0 {
            continue;
        }
        if restartable && container.flag("started") {
            summary.ready += usize::from(container.flag("ready"));
            continue;
        }
        summary.reason = if !terminated.is_null() {
            format!("Init:{}", ended(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", init.len())
        };
        initializing = true;
        break;
    }
    if !initializing || is_true(object, "Initialized") {
        (summary.restarts, summary.restarted) = (sidecars.restarts, sidecars.restarted);
        main_containers(object, &mut summary);
    }
    if meta::is_terminating(object) {
        if status.text("reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn main_containers(object: &Value, summary: &mut Summary) {
    let (mut running, mut error) = (false, String::new());
    for container in object.list("status.containerStatuses").iter().rev() {
        summary.count_restarts(container);
        let terminated = container.at("state.terminated");
        let waiting = container.text("state.waiting.reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if !terminated.is_null() {
            summary.reason = ended(terminated);
            if terminated.int("exitCode").unwrap_or(0) != 0 {
                error.clone_from(&summary.reason);
            }
        } else if container.flag("ready") && container.has("state.running") {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" {
        if running && is_true(object, "Ready") {
            summary.reason = "Running".to_owned();
        } else if !error.is_empty() {
            summary.reason = error;
        } else if running {
            summary.reason = "NotReady".to_owned();
        }
    }
}

fn pod(object: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summary(object);
    let restarts = match summary.restarted {
        Some(time) if summary.restarts != 0 => {
            format!(
                "{} ({} ago)",
                summary.restarts,
                duration::human(now.duration_since(time).as_secs())
            )
        }
        _ => summary.restarts.to_string(),
    };
    let gates = object.list("spec.readinessGates");
    let open = gates
        .iter()
        .filter(|gate| is_true(object, gate.text("conditionType")))
        .count();
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        format!("{open}/{}", gates.len())
    };
    let ip = object
        .list("status.podIPs")
        .first()
        .map_or("", |first| first.text("ip"));
    vec![
        name(object),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(object, now),
        or(ip, "<none>").into(),
        or(object.text("spec.nodeName"), "<none>").into(),
        or(object.text("status.nominatedNodeName"), "<none>").into(),
        gates.into(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_column() {
        let cases = [
            (json!({"status": {"phase": "Pending"}}), "Pending", "0/1"),
            (
                json!({"status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}}),
                "SchedulingGated",
                "0/1",
            ),
            (
                json!({"status": {"phase": "Pending", "containerStatuses": [
                {"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}]}}),
                "ContainerCreating",
                "0/1",
            ),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [
                {"name": "c", "ready": true, "state": {"running": {}}}]}}),
                "Running",
                "1/1",
            ),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [
                {"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}),
                "CrashLoopBackOff",
                "0/1",
            ),
            (
                json!({"status": {"phase": "Succeeded", "containerStatuses": [
                {"name": "c", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}}),
                "Completed",
                "0/1",
            ),
            (
                json!({"status": {"phase": "Failed", "containerStatuses": [
                {"name": "c", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}}),
                "Signal:9",
                "0/1",
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running",
                "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]}}),
                "Terminating",
                "1/1",
            ),
            (
                json!({"spec": {"containers": [{}], "initContainers": [{"name": "a"}, {"name": "b"}]}, "status": {
                "phase": "Pending", "initContainerStatuses": [
                    {"name": "a", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "b", "state": {"running": {}}}]}}),
                "Init:1/2",
                "0/1",
            ),
            (
                json!({"spec": {"containers": [{}], "initContainers": [{"name": "a"}]}, "status": {
                "phase": "Pending", "initContainerStatuses": [
                    {"name": "a", "state": {"terminated": {"exitCode": 3}}}]}}),
                "Init:ExitCode:3",
                "0/1",
            ),
            (
                json!({"spec": {"containers": [{}], "initContainers": [{"name": "a", "restartPolicy": "Always"}]},
                "status": {"phase": "Running", "initContainerStatuses": [
                    {"name": "a", "ready": true, "started": true, "state": {"running": {}}}],
                    "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]}}),
                "Running",
                "2/2",
            ),
        ];
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        for (mut object, status, ready) in cases {
            object.set_default("spec", json!({"containers": [{"name": "c"}]}));
            let row = pod(&object, now);
            assert_eq!(
                (row[2].as_str(), row[1].as_str()),
                (Some(status), Some(ready)),
                "{object}"
            );
        }
    }

    #[test]
    fn restarts_say_when() {
        let object = json!({"spec": {"containers": [{}]}, "status": {"phase": "Running", "containerStatuses": [
            {"name": "c", "ready": true, "restartCount": 3, "state": {"running": {}},
             "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:05:00Z"}}}]}});
        let row = pod(&object, "2026-01-01T00:10:00Z".parse().unwrap());
        assert_eq!(row[3], "3 (5m ago)");
    }
}
