//! Which pods count as failed, whether that fails the whole Job, and how long to wait before trying
//! again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, PodFailurePolicy, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::kit::until;
use crate::pods::{self, is_terminating, phase};

const FIRST_DELAY: i64 = 10;
const LONGEST_DELAY: i64 = 600;

/// Does the pod count as failed? One being deleted does at once, unless the Job replaces pods only
/// when they have really ended.
pub(super) fn is_failed(job: &Job, pod: &Pod) -> bool {
    match phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => is_terminating(pod) && !replaces_only_failed(job),
    }
}

/// Is a pod replaced only when it has really ended? A failure policy has to see how it ended.
pub(super) fn replaces_only_failed(job: &Job) -> bool {
    job.spec.as_ref().is_some_and(|spec| {
        spec.pod_failure_policy.is_some()
            || spec.pod_replacement_policy.as_deref() == Some("Failed")
    })
}

/// What the pod failure policy says of a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It counts as a failure.
    Count,
    /// It does not.
    Ignore,
    /// It counts, and its index is not tried again.
    FailIndex,
    /// The Job has failed; why.
    FailJob(String),
}

pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Judgement {
    let Some((at, action, matched)) = rule(policy, pod) else {
        return Judgement::Count;
    };
    match action {
        "Ignore" => Judgement::Ignore,
        "FailIndex" => Judgement::FailIndex,
        "FailJob" => Judgement::FailJob(format!("{matched} matching FailJob rule at index {at}")),
        _ => Judgement::Count,
    }
}

/// The action of the rule that matches the failed pod, if one does.
pub(super) fn action(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Option<String> {
    rule(policy, pod).map(|(_, action, _)| action.to_owned())
}

/// The first rule that matches: its place, its action, and what of the pod it matches.
fn rule<'p>(policy: Option<&'p PodFailurePolicy>, pod: &Pod) -> Option<(usize, &'p str, String)> {
    let rules = policy.map(|policy| policy.rules.as_slice());
    let mut rules = rules.unwrap_or_default().iter().enumerate();
    rules.find_map(|(at, rule)| Some((at, rule.action.as_str(), matches(rule, pod)?)))
}

fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let name = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    let status = pod.status.as_ref()?;
    if let Some(wanted) = &rule.on_exit_codes {
        let all = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .flatten();
        let matched = all
            .filter(|container| {
                wanted
                    .container_name
                    .as_ref()
                    .is_none_or(|only| *only == container.name)
            })
            .find_map(|container| {
                let code = exit_code(container).filter(|code| *code != 0)?;
                let listed = wanted.values.contains(&code);
                (listed == (wanted.operator == "In")).then_some((container, code))
            });
        return matched.map(|(container, code)| {
            format!(
                "Container {} for pod {name} failed with exit code {code}",
                container.name
            )
        });
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions
        .iter()
        .find(|condition| {
            patterns.iter().any(|pattern| {
                pattern.type_ == condition.type_
                    && pattern.status.as_deref().unwrap_or("True") == condition.status
            })
        })
        .map(|condition| format!("Pod {name} has condition {}", condition.type_))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    Some(container.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// When the last container ended, sidecars included; none unless all of them have.
fn containers_ended(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let init = pod.spec.iter().flat_map(|spec| &spec.init_containers);
    let sidecars: Vec<&str> = init
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let beside = status.init_container_statuses.iter().flatten();
    let beside = beside.filter(|container| sidecars.contains(&container.name.as_str()));
    let ended = |container: &ContainerStatus| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        terminated.finished_at.as_ref().map(|time| time.0)
    };
    let all = status.container_statuses.iter().flatten().chain(beside);
    let times: Option<Vec<_>> = all.map(ended).collect();
    times?.into_iter().max()
}

/// When the pod ended.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let ended = containers_ended(pod);
    let unready = || {
        pods::condition(pod, "Ready")
            .filter(|ready| ready.status == "False")?
            .last_transition_time
            .as_ref()
            .map(|time| time.0)
    };
    // The deletion's time is when the grace period ends.
    let deleted = || {
        let grace = pod
            .metadata
            .deletion_grace_period_seconds
            .unwrap_or_default();
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        at.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    ended.or_else(unready).or_else(deleted).or_else(created)
}

/// Failures in a row since the last success, by which the wait for the next pod doubles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    failures: usize,
    last: Option<Timestamp>,
}

impl Streak {
    /// After these pods have ended too.
    pub fn after<'a>(
        self,
        failed: impl Iterator<Item = &'a Pod>,
        succeeded: impl Iterator<Item = &'a Pod>,
    ) -> Self {
        let success = succeeded.filter_map(finished_at).max();
        let begin = if success.is_some() {
            Self::default()
        } else {
            self
        };
        failed
            .filter_map(finished_at)
            .filter(|at| success.is_none_or(|success| *at > success))
            .fold(begin, |streak, at| Self {
                failures: streak.failures.saturating_add(1),
                last: streak.last.max(Some(at)),
            })
    }

    pub fn wait(self, now: Timestamp) -> Option<Duration> {
        wait(self.failures, self.last?, now)
    }
}

/// How long to wait after the last of so many failures in a row.
pub(super) fn wait(failures: usize, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let doublings = u32::try_from(failures.checked_sub(1)?)
        .unwrap_or(u32::MAX)
        .min(16);
    let delay = (FIRST_DELAY << doublings).min(LONGEST_DELAY);
    let at = last.checked_add(SignedDuration::from_secs(delay)).ok()?;
    (at > now).then(|| until(at, now))
}

/// Restarts within pods that restart in place, for the backoff limit.
pub(super) fn restarts_exceed(job: &Job, pods: &[std::sync::Arc<Pod>], limit: i32) -> bool {
    let policy = job
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref()?.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts: i32 = pods
        .iter()
        .filter(|pod| matches!(phase(pod), "Running" | "Pending"))
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| {
            status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
                .flatten()
        })
        .map(|container| container.restart_count)
        .sum();
    if limit == 0 {
        restarts > 0
    } else {
        restarts >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ended(name: &str, second: i64) -> Value {
        let at = api::clock::rfc3339(Timestamp::from_second(second).unwrap());
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": at}}})
    }

    fn running(name: &str) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}})
    }

    #[test]
    fn the_end_of_a_pod() {
        let ready = |status: &str| json!([{"type": "Ready", "status": status, "lastTransitionTime": "1970-01-01T00:00:50Z"}]);
        let cases = [
            (
                "all ended",
                json!({"containerStatuses": [ended("a", 30), ended("b", 40)]}),
                false,
                40,
            ),
            (
                "a sidecar ends last",
                json!({"containerStatuses": [ended("a", 30)], "initContainerStatuses": [ended("init", 90), ended("side", 35)]}),
                false,
                35,
            ),
            (
                "one still runs",
                json!({"containerStatuses": [ended("a", 30), running("b")], "conditions": ready("False")}),
                false,
                50,
            ),
            (
                "a sidecar still runs",
                json!({"containerStatuses": [ended("a", 30)], "initContainerStatuses": [running("side")], "conditions": ready("False")}),
                false,
                50,
            ),
            (
                "ready says nothing",
                json!({"conditions": ready("True")}),
                false,
                10,
            ),
            ("deleted", json!({"conditions": ready("True")}), true, 70),
        ];
        for (name, status, deleted, expected) in cases {
            let mut pod = json!({
                "metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"},
                "spec": {"containers": [], "initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}]},
                "status": status,
            });
            if deleted {
                pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:01:40Z");
                pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
            }
            let pod = serde_json::from_value(pod).unwrap();
            let at = finished_at(&pod).map(Timestamp::as_second);
            assert_eq!(at, Some(expected), "{name}");
        }
    }
}
