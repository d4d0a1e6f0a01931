//! Jobs planned step by step, the plan's writes applied in full, in part, or seen late.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::{TRACKING, failure, index_failures, indexes, is_finished, template};

struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    now: i64,
    serial: usize,
    streak: Option<failure::Streak>,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut spec = spec;
        spec["template"] = json!({"metadata": {"labels": {"job-name": "j"}}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}});
        let job = serde_json::from_value(
            json!({"metadata": {"name": "j", "namespace": "ns", "uid": "j"}, "spec": spec}),
        );
        Self {
            job: job.unwrap(),
            pods: Vec::new(),
            now: 1_000,
            serial: 0,
            streak: None,
        }
    }

    fn plan(&self) -> Plan {
        plan(
            &self.job,
            &self.pods,
            self.streak,
            Timestamp::from_second(self.now).unwrap(),
        )
    }

    /// One round; answers pods created and deleted.
    fn step(&mut self) -> (usize, usize) {
        let plan = self.plan();
        self.apply(plan)
    }

    fn apply(&mut self, plan: Plan) -> (usize, usize) {
        self.job.status = Some(plan.status);
        self.streak = Some(plan.streak);
        for pod in &plan.release {
            self.release(pod);
        }
        let counts = (plan.create.len(), plan.delete.len());
        for pod in &plan.delete {
            if plan.release_deleted {
                self.release(pod);
            }
            // Bound to no node, so gone at once but for the finalizer.
            let name = pod.metadata.name.clone().unwrap();
            self.edit(&name, |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
            });
        }
        self.reap();
        for index in plan.create {
            let mut pod = template::pod(&self.job, index);
            self.serial += 1;
            pod.metadata.name = Some(format!("p{}", self.serial));
            pod.metadata.uid = Some(format!("u{}", self.serial));
            self.pods.push(Arc::new(pod));
        }
        counts
    }

    fn release(&mut self, pod: &Pod) {
        let name = pod.metadata.name.clone().unwrap();
        self.edit(&name, |pod| pod["metadata"]["finalizers"] = json!([]));
    }

    fn reap(&mut self) {
        self.pods.retain(|pod| {
            let held = pod
                .metadata
                .finalizers
                .as_ref()
                .is_some_and(|all| all.iter().any(|name| name == TRACKING));
            pod.metadata.deletion_timestamp.is_none() || held
        });
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        if let Some(at) = self
            .pods
            .iter()
            .position(|pod| pod.metadata.name.as_deref() == Some(name))
        {
            let mut value = serde_json::to_value(&*self.pods[at]).unwrap();
            change(&mut value);
            self.pods[at] = Arc::new(serde_json::from_value(value).unwrap());
        }
    }

    fn end(&mut self, name: &str, phase: &str, code: i32) {
        let at = api::clock::rfc3339(Timestamp::from_second(self.now).unwrap());
        self.edit(name, |pod| {
            pod["status"] = json!({"phase": phase, "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "finishedAt": at}},
            }]});
        });
    }

    fn end_all(&mut self, phase: &str) {
        let names: Vec<_> = self
            .pods
            .iter()
            .filter(|pod| crate::pods::is_active(pod))
            .map(|pod| pod.metadata.name.clone().unwrap())
            .collect();
        for name in names {
            self.end(&name, phase, i32::from(phase == "Failed"));
        }
    }

    fn settle(&mut self) {
        for _ in 0..6 {
            self.step();
        }
    }

    fn counts(&self) -> (i32, i32) {
        let status = self.job.status.clone().unwrap_or_default();
        (
            status.succeeded.unwrap_or_default(),
            status.failed.unwrap_or_default(),
        )
    }

    fn reasons(&self) -> Vec<String> {
        let conditions = self
            .job
            .status
            .clone()
            .unwrap_or_default()
            .conditions
            .unwrap_or_default();
        conditions
            .iter()
            .map(|condition| {
                format!(
                    "{} {}",
                    condition.type_,
                    condition.reason.as_deref().unwrap()
                )
            })
            .collect()
    }
}

#[test]
fn completes_with_every_pod_counted_once() {
    let mut world = World::new(json!({"completions": 5, "parallelism": 2}));
    assert_eq!(world.step(), (2, 0));
    assert_eq!(world.step(), (0, 0));
    world.end("p1", "Succeeded", 0);
    let first = world.plan();
    assert_eq!(first.create.len(), 1);
    let uncounted = first.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!(uncounted.succeeded.unwrap(), ["u1"]);
    assert_eq!(
        first.status.succeeded, None,
        "not counted while the finalizer is on"
    );
    // The status is written, and then the process dies before it takes off the finalizer.
    world.job.status = Some(first.status);
    let again = world.plan();
    assert_eq!(
        again
            .status
            .uncounted_terminated_pods
            .clone()
            .unwrap()
            .succeeded
            .unwrap(),
        ["u1"],
        "once"
    );
    assert_eq!(again.release.len(), 1);
    world.apply(again);
    world
        .pods
        .retain(|pod| pod.metadata.name.as_deref() != Some("p1"));
    world.step();
    assert_eq!(
        world.counts(),
        (1, 0),
        "counted although somebody deleted it meanwhile"
    );
    for _ in 0..4 {
        world.end_all("Succeeded");
        world.settle();
    }
    assert_eq!(world.counts(), (5, 0));
    assert_eq!(
        world.reasons(),
        [
            "SuccessCriteriaMet CompletionsReached",
            "Complete CompletionsReached"
        ]
    );
    assert!(is_finished(&world.job));
    assert_eq!(world.serial, 5);
}

#[test]
fn retries_with_growing_delay_up_to_the_limit() {
    let mut world = World::new(json!({"completions": 1, "parallelism": 1, "backoffLimit": 2}));
    world.step();
    let mut delays = Vec::new();
    for _ in 0..3 {
        world.end_all("Failed");
        world.step();
        let wait = world.plan().again.map_or(0, |wait| wait.as_secs() as i64);
        delays.push(wait);
        world.now += wait;
        world.settle();
    }
    assert_eq!(delays, [10, 20, 0]);
    assert_eq!(world.counts(), (0, 3));
    assert_eq!(
        world.reasons(),
        [
            "FailureTarget BackoffLimitExceeded",
            "Failed BackoffLimitExceeded"
        ]
    );
}

#[test]
fn a_deleted_pod_counts_as_failed_and_is_replaced() {
    let mut world = World::new(json!({"completions": 1, "parallelism": 1}));
    world.step();
    world.edit("p1", |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["creationTimestamp"] = json!("1970-01-01T00:00:00Z");
    });
    world.now = 2_000_000_000;
    world.step();
    world.reap();
    world.settle();
    assert_eq!(world.counts(), (0, 1));
    assert_eq!(world.pods.len(), 1);
}

#[test]
fn failures_slow_down_also_when_their_pods_are_gone() {
    let mut world = World::new(json!({"completions": 2, "parallelism": 1, "backoffLimit": 6}));
    world.step();
    let mut delays = Vec::new();
    for end in ["Failed", "Failed", "Succeeded", "Failed"] {
        world.now += 1;
        world.end_all(end);
        world.step();
        world.pods.clear();
        world.step();
        let wait = world.plan().again.map_or(0, |wait| wait.as_secs() as i64);
        delays.push(wait);
        world.now += wait;
        world.step();
    }
    assert_eq!(delays, [10, 20, 0, 10]);
    assert_eq!(world.counts(), (1, 3));
}

#[test]
fn deadline_and_suspension() {
    let mut world =
        World::new(json!({"completions": 2, "parallelism": 2, "activeDeadlineSeconds": 100}));
    world.step();
    assert_eq!(world.plan().again.unwrap().as_secs(), 100);
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    assert_eq!(world.step(), (0, 2));
    assert_eq!(world.counts(), (0, 0), "suspending is no failure");
    world.now += 1_000;
    assert_eq!(world.step(), (0, 0));
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    assert_eq!(
        world.step(),
        (2, 0),
        "the deadline counts from the resumption"
    );
    world.now += 100;
    assert_eq!(world.step(), (0, 2));
    world.settle();
    assert_eq!(
        world.reasons()[1..],
        ["FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"]
    );
}

#[test]
fn indexed_jobs_run_each_index_once() {
    let mut world =
        World::new(json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"}));
    assert_eq!(world.step(), (3, 0));
    let indexes_of = |world: &World| {
        world
            .pods
            .iter()
            .filter_map(|pod| indexes::of(pod))
            .collect::<Vec<_>>()
    };
    assert_eq!(indexes_of(&world), [0, 1, 2]);
    world.end("p1", "Succeeded", 0);
    world.end("p3", "Succeeded", 0);
    world.settle();
    assert_eq!(
        world
            .job
            .status
            .as_ref()
            .unwrap()
            .completed_indexes
            .as_deref(),
        Some("0,2")
    );
    assert_eq!(indexes_of(&world), [0, 1, 2, 3]);
    world.end_all("Succeeded");
    world.settle();
    assert_eq!(
        world
            .job
            .status
            .as_ref()
            .unwrap()
            .completed_indexes
            .as_deref(),
        Some("0-3")
    );
    assert!(is_finished(&world.job));
    assert_eq!(world.counts(), (4, 0));
}

#[test]
fn failure_policy_ignores_or_fails_at_once() {
    let policy = json!({"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]});
    let mut world = World::new(
        json!({"completions": 1, "parallelism": 1, "backoffLimit": 0, "podFailurePolicy": policy}),
    );
    world.step();
    world.end("p1", "Failed", 1);
    world.edit("p1", |pod| {
        pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}])
    });
    world.settle();
    world.now += 10;
    world.settle();
    assert_eq!(world.counts(), (0, 0));
    assert_eq!(world.pods.len(), 2, "ignored and replaced");
    world.end("p2", "Failed", 42);
    world.settle();
    assert_eq!(
        world.reasons(),
        ["FailureTarget PodFailurePolicy", "Failed PodFailurePolicy"]
    );
    let conditions = world.job.status.clone().unwrap().conditions.unwrap();
    let expected =
        "Container c for pod ns/p2 failed with exit code 42 matching FailJob rule at index 1";
    assert_eq!(conditions[1].message.as_deref(), Some(expected));
    assert!(failure::finished_at(&world.pods[1]).is_some());
}

#[test]
fn index_sets_have_a_short_text() {
    for (text, canonical) in [
        ("", ""),
        ("0", "0"),
        ("0,1", "0,1"),
        ("0,1,2,5", "0-2,5"),
        ("3-4,9-20,x", "3,4,9"),
    ] {
        assert_eq!(
            indexes::format(&indexes::parse(text, 10)),
            canonical,
            "{text}"
        );
    }
}

#[test]
fn indexes_fail_one_by_one() {
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX});
    let mut world = World::new(spec);
    assert_eq!(world.step(), (3, 0));
    world.end("p1", "Failed", 1);
    world.end("p2", "Succeeded", 0);
    assert_eq!(world.step(), (0, 0), "index 0 waits for its backoff");
    assert_eq!(world.plan().again.unwrap().as_secs(), 10);
    assert!(
        world.plan().release.is_empty(),
        "the failed pod stays until its count is handed on"
    );
    assert_eq!(world.counts(), (1, 0));
    world.now += 10;
    // The process dies after the pod is made and before anything else: nothing is lost.
    assert_eq!(world.step(), (1, 0));
    let annotations = world.pods.last().unwrap().metadata.annotations.clone();
    assert_eq!(annotations.unwrap()[index_failures::COUNTED], "1");
    world.settle();
    assert_eq!(world.counts(), (1, 1));
    world.end("p4", "Failed", 1);
    world.settle();
    let status = world.job.status.clone().unwrap();
    assert_eq!(status.failed_indexes.as_deref(), Some("0"));
    assert_eq!(world.reasons(), Vec::<String>::new(), "index 2 still runs");
    world.end("p3", "Succeeded", 0);
    world.settle();
    assert_eq!(
        world.reasons(),
        ["FailureTarget FailedIndexes", "Failed FailedIndexes"]
    );
    assert_eq!(world.counts(), (2, 2));
    assert_eq!(world.serial, 4);
}

#[test]
fn too_many_failed_indexes_end_the_job() {
    let spec = json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed",
        "backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "backoffLimit": i32::MAX});
    let mut world = World::new(spec);
    world.step();
    world.end("p1", "Failed", 1);
    world.settle();
    assert!(world.reasons().is_empty());
    world.end("p3", "Failed", 1);
    world.settle();
    assert_eq!(
        world.reasons(),
        [
            "FailureTarget MaxFailedIndexesExceeded",
            "Failed MaxFailedIndexesExceeded"
        ]
    );
    assert_eq!(world.counts(), (0, 4), "those stopped count as failed");
    let status = world.job.status.clone().unwrap();
    assert_eq!(status.failed_indexes.as_deref(), Some("0,2"));
}

#[test]
fn a_rule_may_fail_the_index_or_not_count() {
    let policy = json!({"rules": [
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
    ]});
    let spec = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed",
        "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX, "podFailurePolicy": policy});
    let mut world = World::new(spec);
    world.step();
    world.end("p1", "Failed", 42);
    world.end("p2", "Failed", 7);
    world.now += 10;
    world.settle();
    let status = world.job.status.clone().unwrap();
    assert_eq!(status.failed_indexes.as_deref(), Some("0"));
    let annotations = world.pods.last().unwrap().metadata.annotations.clone();
    let annotations = annotations.unwrap();
    assert_eq!(annotations[index_failures::COUNTED], "0");
    assert_eq!(annotations[index_failures::IGNORED], "1");
    assert_eq!(world.counts(), (0, 1), "what is ignored is not counted");
}

#[test]
fn pods_stopped_by_success_are_no_failures() {
    let policy = json!({"rules": [{"succeededCount": 1}]});
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "successPolicy": policy});
    let mut world = World::new(spec);
    world.step();
    world.end("p2", "Succeeded", 0);
    assert_eq!(world.step(), (0, 2));
    world.settle();
    assert_eq!(
        world.reasons(),
        ["SuccessCriteriaMet SuccessPolicy", "Complete SuccessPolicy"]
    );
    assert_eq!(world.counts(), (1, 0));
}

#[test]
fn names_keep_the_index() {
    let mut world = World::new(json!({"completions": 1, "completionMode": "Indexed"}));
    let new = template::NewPod {
        index: Some(12),
        failures: None,
    };
    for (name, prefix) in [
        ("j".to_owned(), "j-12-".to_owned()),
        ("x".repeat(63), "x".repeat(54) + "-12-"),
    ] {
        world.job.metadata.name = Some(name);
        let pod = template::pod(&world.job, new);
        assert_eq!(pod.metadata.generate_name, Some(prefix));
    }
}

#[test]
fn success_policies() {
    let cases = [
        (
            "nothing done",
            json!([{"succeededIndexes": "7-9"}]),
            "",
            None,
        ),
        (
            "indexes it does not have",
            json!([{"succeededIndexes": "7-9"}]),
            "0",
            None,
        ),
        (
            "some of the indexes",
            json!([{"succeededIndexes": "0,2"}]),
            "0,1",
            None,
        ),
        (
            "all of the indexes",
            json!([{"succeededIndexes": "0,2"}]),
            "0-2",
            Some(0),
        ),
        (
            "so many of them",
            json!([{"succeededIndexes": "0-3", "succeededCount": 2}]),
            "1,3",
            Some(0),
        ),
        (
            "so many, but others",
            json!([{"succeededIndexes": "0,1", "succeededCount": 2}]),
            "1-3",
            None,
        ),
        ("any so many", json!([{"succeededCount": 3}]), "0,1", None),
        (
            "the second rule",
            json!([{"succeededCount": 4}, {"succeededIndexes": "1"}]),
            "1",
            Some(1),
        ),
    ];
    for (name, rules, done, expected) in cases {
        let mut world = World::new(json!({"completions": 5, "parallelism": 5,
            "completionMode": "Indexed", "successPolicy": {"rules": rules}}));
        let status = json!({"startTime": "1970-01-01T00:10:00Z", "completedIndexes": done});
        world.job.status = serde_json::from_value(status).unwrap();
        let conditions = world.plan().status.conditions.unwrap_or_default();
        let met = conditions
            .iter()
            .find(|one| one.type_ == "SuccessCriteriaMet");
        let message = met.and_then(|one| one.message.clone());
        let expected = expected.map(|rule: usize| format!("Matched rules at index {rule}"));
        assert_eq!(message, expected, "{name}");
    }
}

#[test]
fn a_job_that_is_being_deleted_counts_but_holds_nothing() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 3, "backoffLimit": 6}));
    world.step();
    world.end("p1", "Succeeded", 0);
    world.end("p2", "Failed", 1);
    world.job.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(world.step(), (0, 0), "makes and deletes nothing");
    let held = world.pods.iter().filter(|pod| super::is_tracked(pod));
    assert_eq!(held.count(), 0);
    world.step();
    let status = world.job.status.clone().unwrap();
    let counts = (status.active, status.succeeded, status.failed);
    assert_eq!(counts, (Some(1), Some(1), Some(1)));
}
