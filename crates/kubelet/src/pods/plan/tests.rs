//! Tables of situations and what the plan makes of them.

use std::sync::Arc;

use cri::v1;
use serde_json::{Value, json};

use super::*;
use crate::pods::{observed::keys, view::container_hash};

struct Case {
    pod: PodView,
    observed: Observed,
    progress: Progress,
    stop: Option<Stop>,
    now: i64,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

impl Case {
    fn new(spec: Value) -> Self {
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec});
        Self {
            pod: PodView::new(Arc::new(serde_json::from_value(pod).unwrap())),
            observed: Observed::default(),
            progress: Progress::default(),
            stop: None,
            now: 1000,
        }
    }

    /// Volumes, sandbox and images are there.
    fn prepared(spec: Value) -> Self {
        let mut case = Self::new(spec);
        case.progress.volumes = Step::Done;
        case.progress.sandbox = Step::Done;
        case.sandbox("s0", 0, true);
        let names: Vec<String> = case.pod.all().map(|(c, _)| c.name.clone()).collect();
        for name in names {
            case.progress
                .images
                .insert(name, Image::Present("i".into()));
        }
        case
    }

    fn sandbox(&mut self, id: &str, attempt: u32, ready: bool) {
        self.observed.upsert_sandbox(&v1::PodSandboxStatus {
            id: id.into(),
            metadata: Some(v1::PodSandboxMetadata {
                attempt,
                ..Default::default()
            }),
            state: i32::from(!ready),
            network: Some(v1::PodSandboxNetworkStatus {
                ip: "10.0.0.1".into(),
                ..Default::default()
            }),
            ..Default::default()
        });
    }

    fn run(&mut self, name: &str, count: u32, state: v1::ContainerState, exit_code: i32) {
        let hash = container_hash(self.pod.container(name).unwrap().0);
        let id = format!("{name}{count}");
        let status = v1::ContainerStatus {
            id: id.clone(),
            state: state as i32,
            exit_code,
            finished_at: 1_000_000_000_000,
            created_at: i64::from(count),
            labels: [(keys::CONTAINER_NAME.to_owned(), name.to_owned())].into(),
            annotations: [
                (keys::RESTART_COUNT.to_owned(), count.to_string()),
                (keys::HASH.to_owned(), hash),
            ]
            .into(),
            ..Default::default()
        };
        self.observed.upsert_run(status, "s0");
        if state == v1::ContainerState::ContainerRunning {
            self.progress.started.insert(id);
        }
    }

    fn running(&mut self, name: &str) {
        self.run(name, 0, v1::ContainerState::ContainerRunning, 0);
    }

    fn exited(&mut self, name: &str, count: u32, code: i32) {
        self.run(name, count, v1::ContainerState::ContainerExited, code);
    }

    fn plan(&self) -> Plan {
        plan(Facts {
            pod: &self.pod,
            observed: &self.observed,
            progress: &self.progress,
            stop: self.stop,
            now: at(self.now),
        })
    }

    /// The actions in short.
    fn actions(&self) -> Vec<String> {
        self.plan().actions.iter().map(short).collect()
    }
}

fn short(action: &Action) -> String {
    match action {
        Action::Mount => "mount".into(),
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::EnsureImage { container } => format!("image {container}"),
        Action::Start {
            container,
            restart_count,
            ..
        } => format!("start {container} {restart_count}"),
        Action::Stop { id, grace, .. } => format!("stop {id} {grace}"),
        Action::Resize { id, .. } => format!("resize {id}"),
        Action::StopSandbox { id } => format!("stop {id}"),
        Action::Remove { id } | Action::RemoveSandbox { id } => format!("remove {id}"),
    }
}

fn two() -> Value {
    json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]})
}

fn staged() -> Value {
    json!({
        "initContainers": [
            {"name": "i", "image": "i"},
            {"name": "s", "image": "i", "restartPolicy": "Always"},
            {"name": "j", "image": "i"}
        ],
        "containers": [{"name": "a", "image": "i"}]
    })
}

#[test]
fn a_new_pod_does_everything_at_once() {
    let case = Case::new(two());
    assert_eq!(case.actions(), ["mount", "sandbox 0", "image a", "image b"]);
}

#[test]
fn nothing_is_begun_twice() {
    let mut case = Case::new(two());
    case.progress.volumes = Step::Busy;
    case.progress.sandbox = Step::Busy;
    case.progress.images.insert("a".into(), Image::Busy);
    case.progress.images.insert("b".into(), Image::Busy);
    assert!(case.actions().is_empty());
}

#[test]
fn containers_wait_for_volumes_and_sandbox() {
    let mut case = Case::prepared(two());
    assert_eq!(case.actions(), ["start a 0", "start b 0"]);
    case.progress.volumes = Step::Failed(at(1005));
    assert!(case.actions().is_empty());
    assert_eq!(case.plan().wake_at, Some(at(1005)));
    case.now = 1005;
    assert_eq!(case.actions(), ["mount"]);
}

#[test]
fn init_containers_go_in_turn() {
    let mut case = Case::prepared(staged());
    assert_eq!(case.actions(), ["start i 0"]);
    case.running("i");
    assert!(case.actions().is_empty());
    case.exited("i", 0, 0);
    assert_eq!(case.actions(), ["start s 0"]);
    case.running("s");
    assert_eq!(case.actions(), ["start j 0"]);
    case.progress.started.clear();
    assert!(case.actions().is_empty(), "the sidecar's hook is not done");
    case.progress.started.insert("s0".into());
    case.exited("j", 0, 0);
    assert_eq!(case.actions(), ["start a 0"]);
}

#[test]
fn a_failed_init_container_is_tried_again_or_ends_the_pod() {
    let mut case = Case::prepared(staged());
    case.exited("i", 0, 1);
    assert_eq!(case.actions(), ["start i 1"]);
    let mut spec = staged();
    spec["restartPolicy"] = "Never".into();
    let mut case = Case::prepared(spec);
    case.exited("i", 0, 1);
    let plan = case.plan();
    assert!(plan.finished);
    assert_eq!(
        plan.actions.iter().map(short).collect::<Vec<_>>(),
        ["stop s0"]
    );
}

#[test]
fn a_sidecar_is_restarted_while_the_containers_run() {
    let mut case = Case::prepared(staged());
    case.exited("i", 0, 0);
    case.exited("j", 0, 0);
    case.running("a");
    case.exited("s", 0, 1);
    assert_eq!(case.actions(), ["start s 1"]);
}

#[test]
fn restart_policies() {
    let table: [(&str, i32, &[&str], bool); 6] = [
        ("Always", 0, &["start a 1"], false),
        ("Always", 1, &["start a 1"], false),
        ("OnFailure", 1, &["start a 1"], false),
        ("OnFailure", 0, &["stop s0"], true),
        ("Never", 1, &["stop s0"], true),
        ("Never", 0, &["stop s0"], true),
    ];
    for (policy, code, want, finished) in table {
        let mut case = Case::prepared(
            json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]}),
        );
        case.exited("a", 0, code);
        assert_eq!(case.actions(), want, "{policy} {code}");
        assert_eq!(case.plan().finished, finished, "{policy} {code}");
    }
}

#[test]
fn a_containers_own_rules_come_before_the_pods() {
    let mut case = Case::prepared(json!({"restartPolicy": "Never", "containers": [{
        "name": "a", "image": "i", "restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    }]}));
    case.exited("a", 0, 42);
    assert_eq!(case.actions(), ["start a 1"]);
    case.exited("a", 1, 41);
    assert!(case.plan().finished);
}

#[test]
fn a_crashing_container_backs_off() {
    let mut case = Case::prepared(json!({"containers": [{"name": "a", "image": "i"}]}));
    case.exited("a", 1, 1);
    let mut backoff = Backoff::default();
    backoff.advance(at(999), at(999));
    case.progress.backoff.insert("a".into(), backoff);
    let plan = case.plan();
    assert!(plan.actions.is_empty());
    assert_eq!(plan.wake_at, Some(at(1010)));
    assert_eq!(plan.waiting["a"].reason, "CrashLoopBackOff");
    assert_eq!(
        plan.waiting["a"].message,
        "back-off 10s restarting failed container=a pod=p_ns(u)"
    );
    case.now = 1010;
    assert_eq!(case.actions(), ["start a 2"]);
}

#[test]
fn probes_stop_containers() {
    let failed = ProbeResults {
        liveness: Some(false),
        ..Default::default()
    };
    let mut case = Case::prepared(json!({"terminationGracePeriodSeconds": 9, "containers": [
        {"name": "a", "image": "i", "livenessProbe": {"terminationGracePeriodSeconds": 3}}
    ]}));
    case.running("a");
    assert!(case.actions().is_empty());
    case.progress.probes.insert("a0".into(), failed);
    assert_eq!(case.actions(), ["stop a0 3"]);
    case.progress.stopping.insert("a0".into());
    assert!(case.actions().is_empty());
}

#[test]
fn a_changed_definition_restarts_whatever_the_policy() {
    let mut case = Case::prepared(
        json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}),
    );
    case.running("a");
    case.observed.runs[0].hash = "other".into();
    assert_eq!(case.actions(), ["stop a0 30"]);
    case.exited("a", 0, 137);
    case.progress.replacing.insert("a".into());
    assert_eq!(case.actions(), ["start a 1"]);
}

#[test]
fn a_dead_sandbox_takes_everything_with_it() {
    let mut case = Case::prepared(two());
    case.running("a");
    case.exited("b", 0, 1);
    case.sandbox("s0", 0, false);
    assert_eq!(case.actions(), ["stop a0 30"], "what still runs ends first");
    case.exited("a", 0, 137);
    case.progress.images.clear();
    assert_eq!(case.actions(), ["sandbox 1", "image a", "image b"]);
    case.sandbox("s1", 1, true);
    for name in ["a", "b"] {
        case.progress
            .images
            .insert(name.into(), Image::Present("i".into()));
    }
    assert_eq!(case.actions(), ["start a 1", "start b 1"]);
}

#[test]
fn the_end_goes_backwards() {
    let mut case = Case::prepared(staged());
    case.exited("i", 0, 0);
    case.exited("j", 0, 0);
    case.running("s");
    case.running("a");
    case.stop = Some(Stop {
        since: at(990),
        grace: 30,
    });
    assert_eq!(case.actions(), ["stop a0 20"]);
    case.exited("a", 0, 0);
    assert_eq!(case.actions(), ["stop s0 20"]);
    case.exited("s", 0, 0);
    assert_eq!(case.actions(), ["stop s0"], "the sandbox is last");
    case.sandbox("s0", 0, false);
    let plan = case.plan();
    assert!(plan.settled && plan.actions.is_empty());
}

#[test]
fn a_stop_waits_for_what_is_being_started() {
    let mut case = Case::prepared(two());
    case.progress.starting.insert("a".into());
    case.stop = Some(Stop {
        since: at(1000),
        grace: 30,
    });
    let plan = case.plan();
    assert!(!plan.settled && plan.actions.is_empty());
}

#[test]
fn the_grace_left_has_a_floor() {
    let stop = |grace| Stop {
        since: at(0),
        grace,
    };
    assert_eq!(stop(30).remaining(at(10)), 20);
    assert_eq!(stop(30).remaining(at(100)), 2);
    assert_eq!(stop(1).remaining(at(100)), 1);
}

#[test]
fn the_dead_are_collected_but_for_two() {
    let mut case = Case::prepared(json!({"containers": [{"name": "a", "image": "i"}]}));
    for count in 0..3 {
        case.exited("a", count, 1);
    }
    case.run("a", 3, v1::ContainerState::ContainerRunning, 0);
    let mut actions = case.actions();
    actions.sort();
    assert_eq!(actions, ["remove a0", "remove a1"]);
}

#[test]
fn ephemeral_containers_run_once() {
    let mut case = Case::prepared(json!({
        "containers": [{"name": "a", "image": "i"}],
        "ephemeralContainers": [{"name": "debug", "image": "i", "targetContainerName": "a"}]
    }));
    case.running("a");
    assert_eq!(case.actions(), ["start debug 0"]);
    case.exited("debug", 0, 1);
    assert!(case.actions().is_empty());
    assert_eq!(case.pod.ephemeral_target("debug"), Some("a"));
}

#[test]
fn a_pod_that_is_over_does_not_begin_again() {
    let mut case = Case::new(two());
    let mut pod = case.pod.pod().as_ref().clone();
    pod.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    case.pod = PodView::new(Arc::new(pod));
    let plan = case.plan();
    assert!(plan.finished && plan.settled && plan.actions.is_empty());
}

#[test]
fn a_failed_pull_shows_its_error_and_then_the_back_off() {
    let mut case = Case::prepared(json!({"containers": [{"name": "a", "image": "i"}]}));
    let waiting = |reason: &str| Waiting {
        reason: reason.into(),
        message: String::new(),
    };
    let failed = Image::Failed {
        retry_at: at(1010),
        back_off_at: at(1003),
        error: waiting("ErrImagePull"),
        back_off: waiting("ImagePullBackOff"),
    };
    case.progress.images.insert("a".into(), failed);
    let plan = case.plan();
    assert_eq!(
        (plan.waiting["a"].reason.as_str(), plan.wake_at),
        ("ErrImagePull", Some(at(1003)))
    );
    case.now = 1003;
    let plan = case.plan();
    assert_eq!(
        (plan.waiting["a"].reason.as_str(), plan.wake_at),
        ("ImagePullBackOff", Some(at(1010)))
    );
    case.now = 1010;
    assert_eq!(case.actions(), ["image a"]);
}

#[test]
fn resources_change_in_place_or_by_a_restart() {
    let spec = |cpu: &str| {
        json!({"containers": [{"name": "a", "image": "i",
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
            "resources": {"limits": {"cpu": cpu, "memory": "1Gi"}}}]})
    };
    let mut case = Case::prepared(spec("1"));
    case.running("a");
    let applied = |case: &mut Case, value: Value| {
        let value = serde_json::from_value(value).unwrap();
        case.progress.applied.insert("a0".into(), value);
    };
    assert!(case.actions().is_empty(), "nobody remembers");
    applied(
        &mut case,
        json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}}),
    );
    assert!(case.actions().is_empty(), "the same in other words");
    applied(&mut case, json!({"limits": {"cpu": "2", "memory": "1Gi"}}));
    assert_eq!(case.actions(), ["resize a0"]);
    case.progress.resizing.insert("a0".into());
    assert!(case.actions().is_empty());
    applied(&mut case, json!({"limits": {"cpu": "1", "memory": "2Gi"}}));
    assert_eq!(case.actions(), ["stop a0 30"]);
}
