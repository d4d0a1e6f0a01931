//! What a simulated node does about one pod. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::pods::{Container, SimPod};

/// What is to be written about a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Report it Running, with every container started; Ready unless it has readiness gates.
    Run,
    /// Remove the object once this much time has passed: its containers have stopped.
    Remove {
        /// From now.
        after: Duration,
    },
}

/// What to do about a pod of one of our nodes, if anything. The same state gives the same answer, so
/// that repeated events do no harm.
pub fn plan(pod: &SimPod, stop: Duration, now: Timestamp) -> Option<Action> {
    if let Some(deadline) = &pod.metadata.deletion_timestamp {
        let grace = pod
            .metadata
            .deletion_grace_period_seconds
            .unwrap_or_default();
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        // The deadline is the deletion's time and the grace: a pod found late is removed at once.
        let asked = deadline.0.as_second() - i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let since = Duration::from_secs(u64::try_from(now.as_second() - asked).unwrap_or_default());
        let after = stop.min(grace).saturating_sub(since);
        return Some(Action::Remove { after });
    }
    matches!(pod.status.phase.as_str(), "" | "Pending").then_some(Action::Run)
}

/// The status of a pod all of whose containers have started.
pub fn running(pod: &SimPod, address: &str, now: &str) -> Value {
    let ready = if pod.spec.readiness_gates.is_empty() {
        "True"
    } else {
        "False"
    };
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now});
    let started = json!({"running": {"startedAt": now}});
    let done = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}});
    let container = |container: &Container, state: &Value, up: bool| {
        json!({
            "name": container.name, "image": container.image, "imageID": container.image,
            "ready": true, "started": up, "restartCount": 0, "state": state, "lastState": {},
            "containerID": "simulated://0",
        })
    };
    let mut status = json!({
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [
            condition("Initialized", "True"),
            condition("ContainersReady", "True"),
            condition("Ready", ready),
        ],
        "containerStatuses": pod.spec.containers.iter().map(|c| container(c, &started, true)).collect::<Vec<_>>(),
    });
    if !pod.spec.init_containers.is_empty() {
        let init = pod.spec.init_containers.iter().map(|c| {
            let sidecar = c.restart_policy == "Always";
            container(c, if sidecar { &started } else { &done }, sidecar)
        });
        status["initContainerStatuses"] = init.collect();
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: Value) -> SimPod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn pods_run_once_and_go_within_their_grace() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let deleted = |deadline: &str, grace: i64| {
            pod(
                json!({"metadata": {"name": "p", "deletionTimestamp": deadline, "deletionGracePeriodSeconds": grace},
                       "status": {"phase": "Running"}}),
            )
        };
        let phase =
            |phase: &str| pod(json!({"metadata": {"name": "p"}, "status": {"phase": phase}}));
        let remove = |seconds| {
            Some(Action::Remove {
                after: Duration::from_secs(seconds),
            })
        };
        let cases = [
            ("new", phase("Pending"), Some(Action::Run)),
            ("reported", phase("Running"), None),
            ("finished", phase("Succeeded"), None),
            (
                "just deleted",
                deleted("2026-01-01T00:00:40Z", 30),
                remove(3),
            ),
            ("no grace", deleted("2026-01-01T00:00:10Z", 0), remove(0)),
            ("short grace", deleted("2026-01-01T00:00:11Z", 1), remove(1)),
            ("seen late", deleted("2026-01-01T00:00:38Z", 30), remove(1)),
        ];
        for (what, pod, want) in cases {
            assert_eq!(plan(&pod, Duration::from_secs(3), now), want, "{what}");
        }
    }

    #[test]
    fn every_container_is_reported() {
        let pod = pod(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}],
                     "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
                     "readinessGates": [{"conditionType": "x"}]},
        }));
        let patch = running(&pod, "10.1.2.3", "t");
        let status = &patch["status"];
        assert_eq!(status["containerStatuses"].as_array().unwrap().len(), 2);
        assert_eq!(
            status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"],
            0
        );
        assert_eq!(
            status["initContainerStatuses"][1]["state"]["running"]["startedAt"],
            "t"
        );
        assert_eq!(
            status["conditions"][2]["status"], "False",
            "gates hold readiness back"
        );
    }
}
