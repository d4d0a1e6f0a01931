//! What is counted of Jobs.

use client::Change;
use client::metrics::Metrics;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use prometheus_client::metrics::family::Family;
use tokio::time::Instant;

use super::{indexes, is_tracked};
use crate::measure::{Counters, Exponential, Histograms};
use crate::pods::is_terminal;

pub(super) struct Counted {
    syncs: Counters<3>,
    durations: Histograms<3>,
    finished: Counters<3>,
    pods: Counters<2>,
    handled: Counters<1>,
    tracked: Counters<1>,
}

fn mode(job: &Job) -> String {
    let spec = job.spec.as_ref();
    let indexed = spec.and_then(|spec| spec.completion_mode.as_deref()) == Some("Indexed");
    if indexed { "Indexed" } else { "NonIndexed" }.to_owned()
}

impl Counted {
    pub fn new(metrics: &Metrics) -> Self {
        let buckets = Exponential {
            start: 0.004,
            factor: 2.0,
            count: 15,
        };
        let counted = Self {
            syncs: Family::default(),
            durations: Family::new_with_constructor(buckets),
            finished: Family::default(),
            pods: Family::default(),
            handled: Family::default(),
            tracked: Family::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "job_controller_job_syncs",
                "How often a Job was looked at",
                counted.syncs.clone(),
            );
            registry.register(
                "job_controller_job_sync_duration_seconds",
                "How long a look at a Job took",
                counted.durations.clone(),
            );
            registry.register(
                "job_controller_jobs_finished",
                "Jobs that came to their end",
                counted.finished.clone(),
            );
            registry.register(
                "job_controller_job_pods_finished",
                "Ended pods that are in the counters of their Jobs",
                counted.pods.clone(),
            );
            registry.register(
                "job_controller_pod_failures_handled_by_failure_policy",
                "Failed pods that matched a rule of their Job's failure policy, by its action",
                counted.handled.clone(),
            );
            registry.register(
                "job_controller_terminated_pods_tracking_finalizer",
                "Ended pods that got or lost their Job's finalizer",
                counted.tracked.clone(),
            );
        });
        counted
    }

    /// A look at a Job is over.
    pub fn synced(&self, job: &Job, action: &str, failed: bool, began: Instant) {
        let result = if failed { "error" } else { "success" };
        let labels = [
            ("completion_mode", mode(job)),
            ("result", result.to_owned()),
            ("action", action.to_owned()),
        ];
        self.syncs.get_or_create(&labels).inc();
        let took = began.elapsed().as_secs_f64();
        self.durations.get_or_create(&labels).observe(took);
    }

    /// A status was written.
    pub fn wrote(&self, before: &Job, after: &Job) {
        let none = JobStatus::default();
        let old = before.status.as_ref().unwrap_or(&none);
        let new = after.status.as_ref().unwrap_or(&none);
        let completions = after.spec.as_ref().and_then(|spec| spec.completions);
        let succeeded = |status: &JobStatus| match (mode(after).as_str(), completions) {
            ("Indexed", Some(completions)) => {
                let done = status.completed_indexes.as_deref().unwrap_or_default();
                indexes::parse(done, completions).len() as i64
            }
            _ => status.succeeded.unwrap_or_default().into(),
        };
        let failed = |status: &JobStatus| i64::from(status.failed.unwrap_or_default());
        for (result, more) in [
            ("succeeded", succeeded(new) - succeeded(old)),
            ("failed", failed(new) - failed(old)),
        ] {
            let labels = [
                ("completion_mode", mode(after)),
                ("result", result.to_owned()),
            ];
            let more = u64::try_from(more).unwrap_or_default();
            self.pods.get_or_create(&labels).inc_by(more);
        }
        let ended = |status: &JobStatus| {
            let mut conditions = status.conditions.iter().flatten();
            let ends = ["Complete", "Failed"];
            let found = conditions.find(|condition| {
                condition.status == "True" && ends.contains(&condition.type_.as_str())
            });
            found.cloned()
        };
        if let Some(end) = ended(new).filter(|_| ended(old).is_none()) {
            let result = if end.type_ == "Complete" {
                "succeeded"
            } else {
                "failed"
            };
            let labels = [
                ("completion_mode", mode(after)),
                ("result", result.to_owned()),
                ("reason", end.reason.unwrap_or_default()),
            ];
            self.finished.get_or_create(&labels).inc();
        }
    }

    /// Failed pods were noted of which rules with these actions matched.
    pub fn handled(&self, actions: &[String]) {
        for action in actions {
            let labels = [("action", action.clone())];
            self.handled.get_or_create(&labels).inc();
        }
    }

    /// A pod changed.
    pub fn saw(&self, change: &Change<Pod>) {
        let holds = |pod: &Pod| is_terminal(pod) && is_tracked(pod);
        let before = change.old().is_some_and(|old| holds(old));
        let event = match (before, holds(change.object())) {
            (_, true) if change.is_deleted() => "delete",
            (false, true) => "add",
            (true, false) => "delete",
            _ => return,
        };
        let labels = [("event", event.to_owned())];
        self.tracked.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn counters_go_by_what_the_statuses_differ_in() {
        let metrics = Metrics::new();
        let counted = Counted::new(&metrics);
        let job = |mode: &str, status: Value| -> Job {
            let spec = json!({"completions": 5, "completionMode": mode, "template": {}});
            serde_json::from_value(
                json!({"metadata": {"name": "j"}, "spec": spec, "status": status}),
            )
            .unwrap()
        };
        let steps = [
            json!({}),
            json!({"succeeded": 2, "completedIndexes": "0,1", "failed": 1}),
            json!({"succeeded": 5, "completedIndexes": "0-4", "failed": 1, "conditions": [
                {"type": "Complete", "status": "True", "reason": "CompletionsReached"}]}),
            json!({"succeeded": 5, "completedIndexes": "0-4", "failed": 1, "conditions": [
                {"type": "Complete", "status": "True", "reason": "CompletionsReached"}]}),
        ];
        for pair in steps.windows(2) {
            let [before, after] = [0, 1].map(|at| job("Indexed", pair[at].clone()));
            counted.wrote(&before, &after);
        }
        let before = job("NonIndexed", json!({"failed": 1}));
        let failed = json!({"failed": 3, "conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]});
        counted.wrote(&before, &job("NonIndexed", failed));
        counted.synced(&before, "tracking", true, Instant::now());
        let text = metrics.encode().unwrap();
        for line in [
            r#"job_controller_job_pods_finished_total{completion_mode="Indexed",result="succeeded"} 5"#,
            r#"job_controller_job_pods_finished_total{completion_mode="Indexed",result="failed"} 1"#,
            r#"job_controller_job_pods_finished_total{completion_mode="NonIndexed",result="failed"} 2"#,
            r#"job_controller_jobs_finished_total{completion_mode="Indexed",result="succeeded",reason="CompletionsReached"} 1"#,
            r#"job_controller_jobs_finished_total{completion_mode="NonIndexed",result="failed",reason="BackoffLimitExceeded"} 1"#,
            r#"job_controller_job_syncs_total{completion_mode="NonIndexed",result="error",action="tracking"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
