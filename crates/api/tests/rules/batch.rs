//! Jobs and CronJobs.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update};

fn job() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {
        "completions": 3, "parallelism": 2, "completionMode": "Indexed",
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn labels_of_jobs_are_theirs() {
    let wrong = json!({"job-name": "other"});
    on_create(
        &job(),
        &[(
            &[("spec.template.metadata.labels", wrong)],
            &[
                "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"uid-1\",\"batch.kubernetes.io/job-name\":\"j\",\"controller-uid\":\"uid-1\",\"job-name\":\"other\"}: must be 'j'",
            ],
        )],
    );
}

#[test]
fn specs_of_jobs_stay() {
    on_update(
        Part::Main,
        &job(),
        &[
            (
                &[("spec.completions", json!(4))],
                &[
                    "spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism",
                ],
            ),
            (
                &[
                    ("spec.completions", json!(4)),
                    ("spec.parallelism", json!(4)),
                ],
                &[],
            ),
        ],
    );
    let mut suspended = job();
    suspended.set("spec.suspend", true);
    let asks = json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]);
    let (old, _) = create(suspended);
    let mut new = old.clone();
    new.set("spec.template.spec.containers", asks.clone());
    new.set(
        "spec.template.spec.tolerations",
        json!([{"operator": "Exists"}]),
    );
    assert!(update(Part::Main, new.clone(), &old).1.is_empty());
    let mut running = old;
    running.set("status.active", 1);
    let (_, errors) = update(Part::Main, new, &running);
    assert!(
        errors.len() == 1 && errors[0].starts_with("spec.template: Invalid value"),
        "{errors:?}"
    );
}

#[test]
fn statuses_of_jobs() {
    let mut job = job();
    job.set(
        "status",
        json!({"startTime": "2026-01-01T00:00:00Z", "failed": 2}),
    );
    let ends = |kinds: &[&str]| {
        let list: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({"type": kind, "status": "True"}))
            .collect();
        ("status.conditions", Value::from(list))
    };
    let late = ("status.completionTime", json!("2026-01-02T00:00:00Z"));
    on_update(
        Part::Status,
        &job,
        &[
            (
                &[ends(&["Complete", "SuccessCriteriaMet"]), late.clone()],
                &[],
            ),
            (
                &[ends(&["Complete"])],
                &[
                    "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                    "status.completionTime: Required value: completionTime is required for Complete jobs",
                ],
            ),
            (
                &[
                    ends(&["Failed", "FailureTarget"]),
                    ("status.active", json!(1)),
                ],
                &["status.active: Invalid value: 1: active>0 is invalid for finished job"],
            ),
            (
                &[late],
                &[
                    "status.completionTime: Invalid value: \"2026-01-02T00:00:00Z\": cannot set completionTime when there is no Complete=True condition",
                ],
            ),
            (
                &[("status.startTime", Value::Null)],
                &[
                    "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
                ],
            ),
            (
                &[("status.failed", json!(1)), ("status.ready", json!(1))],
                &[
                    "status.ready: Invalid value: 1: cannot set more ready pods than active",
                    "status.failed: Invalid value: 1: cannot decrease the failed counter",
                ],
            ),
            (
                &[("status.completedIndexes", json!("0,3"))],
                &[
                    "status.completedIndexes: Invalid value: \"0,3\": error parsing completedIndexes: too large index: \"3\"",
                ],
            ),
            (
                &[("status.failedIndexes", json!("1"))],
                &[
                    "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
                ],
            ),
            (
                &[(
                    "status.uncountedTerminatedPods",
                    json!({"succeeded": ["a", ""], "failed": ["a"]}),
                )],
                &[
                    "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                    "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
                ],
            ),
        ],
    );
}

#[test]
fn schedules() {
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {
        "schedule": "* * * * *", "timeZone": "Europe/Rome", "jobTemplate": {"spec": job().at("spec").clone()}}});
    let zone = |name: &str| [("spec.timeZone", json!(name))];
    on_create(
        &cron,
        &[
            (&zone("UTC"), &[]),
            (
                &zone("Europe/Atlantis"),
                &[
                    "spec.timeZone: Invalid value: \"Europe/Atlantis\": unknown time zone Europe/Atlantis",
                ],
            ),
            (
                &zone("europe/rome"),
                &["spec.timeZone: Invalid value: \"europe/rome\": unknown time zone europe/rome"],
            ),
            (
                &[("spec.jobTemplate.spec.manualSelector", json!(true))],
                &[
                    "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
                ],
            ),
        ],
    );
    let (mut old, _) = create(cron);
    old.set("spec.schedule", "TZ=UTC * * * * *");
    assert_eq!(
        update(Part::Main, old.clone(), &old).1,
        [
            "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use both timeZone field and TZ or CRON_TZ in schedule"
        ]
    );
    old.remove("spec.timeZone");
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
}
