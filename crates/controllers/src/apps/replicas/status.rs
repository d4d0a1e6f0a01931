//! The status of a ReplicaSet or ReplicationController.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::Replicated;
use crate::error::Error;
use crate::kit::sooner;
use crate::pods::{availability, is_active, is_ready, is_terminal, is_terminating};

/// The pods counted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counted {
    pub replicas: usize,
    pub fully_labeled: usize,
    pub ready: usize,
    pub available: usize,
    pub terminating: usize,
    /// When the next ready pod becomes available.
    pub next_available: Option<Duration>,
}

pub(super) fn count<K: Replicated>(set: &K, pods: &[Arc<Pod>], now: Timestamp) -> Counted {
    let wanted = set
        .template()
        .and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let mut counted = Counted {
        terminating: pods
            .iter()
            .filter(|pod| is_terminating(pod) && !is_terminal(pod))
            .count(),
        ..Counted::default()
    };
    for pod in pods.iter().filter(|pod| is_active(pod)) {
        counted.replicas += 1;
        let labels = pod.metadata.labels.as_ref();
        let has = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
        counted.fully_labeled += usize::from(wanted.is_none_or(|wanted| wanted.iter().all(has)));
        counted.ready += usize::from(is_ready(pod));
        let (available, wait) = availability(pod, set.min_ready_seconds(), now);
        counted.available += usize::from(available);
        counted.next_available = sooner(counted.next_available, wait);
    }
    counted
}

/// The status to write, from the one that is there.
pub(super) fn next<K: Replicated>(
    set: &K,
    old: &Value,
    counted: &Counted,
    failure: Option<&Error>,
    now: &Time,
) -> Value {
    let mut status = if old.is_object() {
        old.clone()
    } else {
        json!({})
    };
    status["replicas"] = json!(counted.replicas);
    let mut set_or_omit = |name: &str, count: usize| {
        if count > 0 {
            status[name] = json!(count);
        } else if let Some(status) = status.as_object_mut() {
            status.remove(name);
        }
    };
    set_or_omit("fullyLabeledReplicas", counted.fully_labeled);
    set_or_omit("readyReplicas", counted.ready);
    set_or_omit("availableReplicas", counted.available);
    if K::COUNTS_TERMINATING {
        status["terminatingReplicas"] = json!(counted.terminating);
    }
    status["observedGeneration"] = json!(set.meta().generation.unwrap_or_default());
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let failed = conditions
        .iter()
        .position(|condition| condition["type"] == "ReplicaFailure");
    match (failure, failed) {
        (None, Some(at)) => {
            conditions.remove(at);
        }
        (Some(error), None) => {
            let missing = counted.replicas < usize::try_from(set.replicas()).unwrap_or_default();
            conditions.push(json!({
                "type": "ReplicaFailure",
                "status": "True",
                "reason": if missing { "FailedCreate" } else { "FailedDelete" },
                "message": error.api_message(),
                "lastTransitionTime": now,
            }));
        }
        // The first failure's text stays until it is over.
        (None, None) | (Some(_), Some(_)) => {}
    }
    if conditions.is_empty() {
        if let Some(status) = status.as_object_mut() {
            status.remove("conditions");
        }
    } else {
        status["conditions"] = Value::Array(conditions);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;
    use k8s_openapi::api::apps::v1::ReplicaSet;

    fn set() -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 3},
            "spec": {"replicas": 3, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web", "tier": "x"}}, "spec": {"containers": []}}},
        }))
        .unwrap()
    }

    #[test]
    fn available_after_having_been_ready_long_enough() {
        let now = Timestamp::from_second(100).unwrap();
        let some = pods([
            "a Running ready=80 app=web tier=x",
            "b Running ready=95 app=web",
            "c Pending app=web",
            "d Failed app=web",
            "e Running ready deleting app=web",
        ]);
        let counted = count(&set(), &some, now);
        let expected = Counted {
            replicas: 3,
            fully_labeled: 1,
            ready: 2,
            available: 1,
            terminating: 1,
            next_available: Some(Duration::from_secs(5)),
        };
        assert_eq!(counted, expected);
    }

    #[test]
    fn a_failure_is_a_condition_until_it_is_over() {
        let now = Time(Timestamp::from_second(100).unwrap());
        let error = Error::Api {
            verb: "create",
            kind: "pod".into(),
            key: client::Key::new("ns", "web-"),
            source: Box::new(kube::Error::Api(Box::new(kube::core::Status::failure(
                "exceeded quota",
                "Forbidden",
            )))),
        };
        let failed = next(
            &set(),
            &Value::Null,
            &Counted::default(),
            Some(&error),
            &now,
        );
        assert_eq!(failed["conditions"][0]["reason"], "FailedCreate");
        assert_eq!(failed["conditions"][0]["message"], "exceeded quota");
        assert_eq!(failed["observedGeneration"], 3);
        let mended = next(
            &set(),
            &failed,
            &Counted {
                replicas: 3,
                ready: 3,
                ..Counted::default()
            },
            None,
            &now,
        );
        assert_eq!(
            mended,
            json!({"replicas": 3, "readyReplicas": 3, "terminatingReplicas": 0, "observedGeneration": 3})
        );
    }
}
