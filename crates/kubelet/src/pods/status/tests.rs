//! Statuses and patches from situations.

use std::sync::Arc;

use cri::v1;
use k8s_openapi::api::core::v1::PodCondition;
use serde_json::{Value, json};

use super::*;
use crate::pods::{observed::keys, plan::ProbeResults};

struct Case {
    pod: PodView,
    previous: PodStatus,
    observed: Observed,
    progress: Progress,
    waiting: BTreeMap<String, Waiting>,
    verdict: Option<Verdict>,
    terminal: bool,
    now: i64,
}

impl Case {
    fn new(spec: Value, status: Value) -> Self {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 3},
            "spec": spec, "status": status
        });
        let mut observed = Observed::default();
        observed.upsert_sandbox(&v1::PodSandboxStatus {
            id: "s".into(),
            network: Some(v1::PodSandboxNetworkStatus {
                ip: "10.0.0.1".into(),
                additional_ips: vec![v1::PodIp {
                    ip: "fd00::1".into(),
                }],
            }),
            ..Default::default()
        });
        Self {
            pod: PodView::new(Arc::new(serde_json::from_value(pod).unwrap())),
            previous: PodStatus::default(),
            observed,
            progress: Progress::default(),
            waiting: BTreeMap::new(),
            verdict: None,
            terminal: false,
            now: 100,
        }
    }

    fn run(&mut self, name: &str, count: u32, exit_code: Option<i32>) {
        let id = format!("{name}{count}");
        let state = match exit_code {
            None => v1::ContainerState::ContainerRunning,
            Some(_) => v1::ContainerState::ContainerExited,
        };
        let status = v1::ContainerStatus {
            id: id.clone(),
            state: state as i32,
            exit_code: exit_code.unwrap_or(0),
            started_at: 1_000_000_000,
            finished_at: 2_000_000_000,
            image_ref: "sha256:1".into(),
            labels: [(keys::CONTAINER_NAME.to_owned(), name.to_owned())].into(),
            annotations: [(keys::RESTART_COUNT.to_owned(), count.to_string())].into(),
            ..Default::default()
        };
        self.observed.upsert_run(status, "s");
        if exit_code.is_none() {
            self.progress.started.insert(id);
        }
    }

    fn status(&self) -> PodStatus {
        generate(Input {
            pod: &self.pod,
            previous: &self.previous,
            observed: &self.observed,
            progress: &self.progress,
            waiting: &self.waiting,
            verdict: self.verdict.as_ref(),
            terminal: self.terminal,
            host_ips: &["192.0.2.1".parse().unwrap()],
            runtime: "corten",
            now: Timestamp::from_second(self.now).unwrap(),
        })
    }
}

fn condition(status: &PodStatus, type_: &str) -> PodCondition {
    let mut all = status.conditions.iter().flatten();
    all.find(|c| c.type_ == type_).unwrap().clone()
}

fn one() -> Value {
    json!({"containers": [{"name": "a", "image": "i"}]})
}

#[test]
fn before_anything_runs() {
    let mut case = Case::new(one(), json!({}));
    case.observed = Observed::default();
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(status.pod_ip, None);
    let containers = status.container_statuses.as_ref().unwrap();
    let waiting = containers[0]
        .state
        .as_ref()
        .unwrap()
        .waiting
        .as_ref()
        .unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    let ready = condition(&status, "Ready");
    assert_eq!(
        (
            ready.status.as_str(),
            ready.reason.as_deref(),
            ready.message.as_deref()
        ),
        (
            "False",
            Some("ContainersNotReady"),
            Some("containers with unready status: [a]")
        )
    );
    assert_eq!(
        condition(&status, "PodReadyToStartContainers").status,
        "False"
    );
    assert_eq!(ready.observed_generation, Some(3));
}

#[test]
fn running_and_ready() {
    let mut case = Case::new(one(), json!({}));
    case.run("a", 0, None);
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&status, "Ready").status, "True");
    let ips: Vec<_> = status
        .pod_ips
        .unwrap()
        .into_iter()
        .map(|ip| ip.ip)
        .collect();
    assert_eq!(ips, ["10.0.0.1", "fd00::1"]);
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("corten://a0"));
    assert_eq!(container.image_id, "sha256:1");
    assert!(container.ready && container.started == Some(true));
}

#[test]
fn probes_decide_about_ready_and_started() {
    let spec = json!({"containers": [{"name": "a", "image": "i",
        "startupProbe": {}, "readinessProbe": {}}]});
    let mut case = Case::new(spec, json!({}));
    case.run("a", 0, None);
    let table = [
        (None, None, false, false),
        (Some(true), None, true, false),
        (Some(true), Some(false), true, false),
        (Some(true), Some(true), true, true),
    ];
    for (startup, readiness, started, ready) in table {
        let results = ProbeResults {
            startup,
            readiness,
            liveness: None,
        };
        case.progress.probes.insert("a0".into(), results);
        let container = &case.status().container_statuses.unwrap()[0];
        assert_eq!((container.started, container.ready), (Some(started), ready));
    }
}

#[test]
fn phases() {
    // policy, exit codes of two containers (none: running), terminal, phase
    let table = [
        ("Always", [None, None], false, "Running"),
        ("Always", [Some(1), Some(1)], false, "Running"),
        ("OnFailure", [Some(0), Some(1)], false, "Running"),
        ("OnFailure", [Some(0), Some(0)], false, "Succeeded"),
        ("Never", [Some(0), Some(0)], false, "Succeeded"),
        ("Never", [Some(0), Some(1)], false, "Failed"),
        ("Never", [Some(0), None], false, "Running"),
        ("Always", [Some(0), Some(0)], true, "Succeeded"),
        ("Always", [Some(0), Some(143)], true, "Failed"),
    ];
    for (policy, exits, terminal, want) in table {
        let spec = json!({"restartPolicy": policy, "containers": [
            {"name": "a", "image": "i"}, {"name": "b", "image": "i"}
        ]});
        let mut case = Case::new(spec, json!({}));
        case.terminal = terminal;
        for (name, exit) in ["a", "b"].into_iter().zip(exits) {
            case.run(name, 0, exit);
        }
        assert_eq!(
            case.status().phase.as_deref(),
            Some(want),
            "{policy} {exits:?}"
        );
    }
}

#[test]
fn a_back_off_shows_the_end_before() {
    let mut case = Case::new(one(), json!({}));
    case.run("a", 1, Some(7));
    let waiting = Waiting {
        reason: "CrashLoopBackOff".into(),
        message: "back-off".into(),
    };
    case.waiting.insert("a".into(), waiting);
    let container = &case.status().container_statuses.unwrap()[0];
    assert_eq!(container.restart_count, 1);
    let last = container
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (7, Some("Error")));
    let now = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(now.reason.as_deref(), Some("CrashLoopBackOff"));
}

#[test]
fn a_rejected_pod_has_no_containers() {
    let mut case = Case::new(one(), json!({}));
    case.terminal = true;
    case.verdict = Some(Verdict {
        reason: "OutOfcpu".into(),
        message: "no".into(),
    });
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert!(status.container_statuses.is_none());
    assert_eq!(
        condition(&status, "Ready").reason.as_deref(),
        Some("PodFailed")
    );
}

#[test]
fn readiness_gates_hold_the_pod_back() {
    let mut spec = one();
    spec["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    let mut case = Case::new(spec.clone(), json!({}));
    case.run("a", 0, None);
    let ready = condition(&case.status(), "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    assert_eq!(
        ready.message.as_deref(),
        Some("corresponding condition of pod readiness gate \"example.com/gate\" does not exist.")
    );
    let open = json!({"conditions": [{"type": "example.com/gate", "status": "True"}]});
    let mut case = Case::new(spec, open);
    case.run("a", 0, None);
    assert_eq!(condition(&case.status(), "Ready").status, "True");
}

#[test]
fn a_phase_that_is_over_stays() {
    let mut case = Case::new(one(), json!({"phase": "Failed"}));
    case.run("a", 0, None);
    assert_eq!(case.status().phase.as_deref(), Some("Failed"));
}

#[test]
fn a_patch_has_what_changed_and_nothing_else() {
    let mut case = Case::new(one(), json!({}));
    let before = case.status();
    assert_eq!(patch::between("u", &before, &before), None);
    case.previous = before.clone();
    case.run("a", 0, None);
    case.now = 200;
    let after = case.status();
    let patch = patch::between("u", &before, &after).unwrap();
    assert_eq!(patch["metadata"]["uid"], "u");
    let status = &patch["status"];
    assert_eq!(status["phase"], "Running");
    assert!(status.get("hostIP").is_none() && status.get("startTime").is_none());
    let conditions = status["conditions"].as_array().unwrap();
    let types: Vec<_> = conditions
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["Ready", "ContainersReady"]);
    // What a condition no longer says is taken back.
    assert_eq!(conditions[0]["reason"], Value::Null);
    assert_eq!(conditions[0]["lastTransitionTime"], "1970-01-01T00:03:20Z");
}

#[test]
fn foreign_conditions_are_not_sent() {
    let foreign = json!({"conditions": [{"type": "example.com/x", "status": "True"}]});
    let mut case = Case::new(one(), foreign);
    case.run("a", 0, None);
    let patch = patch::between("u", &PodStatus::default(), &case.status()).unwrap();
    let types: Vec<_> = patch["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap().to_owned())
        .collect();
    assert!(!types.contains(&"example.com/x".to_owned()), "{types:?}");
}

#[test]
fn resizes_show_while_they_last() {
    let spec = json!({"containers": [
        {"name": "a", "image": "i", "resources": {"requests": {"cpu": "1"}}},
    ]});
    let mut case = Case::new(spec, json!({}));
    case.run("a", 0, None);
    let applied = |case: &mut Case, cpu: &str| {
        let value = json!({"requests": {"cpu": cpu}});
        let value = serde_json::from_value(value).unwrap();
        case.progress.applied.insert("a0".into(), value);
    };
    let of_resizes = |status: &PodStatus| -> Vec<_> {
        let conditions = status.conditions.iter().flatten();
        conditions
            .filter(|c| c.type_.starts_with("PodResize"))
            .map(|c| (c.type_.clone(), c.reason.clone(), c.observed_generation))
            .collect()
    };
    applied(&mut case, "1000m");
    assert_eq!(of_resizes(&case.status()), []);
    applied(&mut case, "500m");
    let going_on = case.status();
    assert_eq!(going_on.observed_generation, Some(3));
    assert_eq!(
        of_resizes(&going_on),
        [("PodResizeInProgress".to_owned(), None, Some(3))]
    );
    case.progress.resize_error = Some("no".into());
    case.pod = case.pod.clone().granted_at(Some(2));
    let failing = case.status();
    assert_eq!(
        of_resizes(&failing),
        [(
            "PodResizeInProgress".to_owned(),
            Some("Error".to_owned()),
            Some(2)
        )]
    );
    // When it is done the condition is taken away.
    applied(&mut case, "1");
    let done = case.status();
    assert_eq!(of_resizes(&done), []);
    let patch = patch::between("u", &failing, &done).unwrap();
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions.contains(&json!({"$patch": "delete", "type": "PodResizeInProgress"})),
        "{patch}"
    );
    case.pod = case.pod.clone().held_back(crate::pods::allocation::Held {
        message: "full".into(),
        generation: Some(3),
    });
    assert_eq!(
        of_resizes(&case.status()),
        [(
            "PodResizePending".to_owned(),
            Some("Deferred".to_owned()),
            Some(3)
        )]
    );
}
