//! The conditions that the kubelet owns.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{Input, whole_seconds};
use crate::pods::{
    allocation,
    observed::State,
    view::{Kind, PodView},
};

/// Conditions whose owner is the kubelet; every other one is left as it is.
pub const OWNED: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    allocation::PENDING,
    allocation::IN_PROGRESS,
];

struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Self {
        Self {
            status: true,
            reason: "",
            message: String::new(),
        }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self {
            status: false,
            reason,
            message,
        }
    }
}

/// The conditions of `status`, whose containers and phase are set.
pub fn generate(input: &Input<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let pod = input.pod;
    let mut out: Vec<PodCondition> = pod
        .status()
        .conditions
        .iter()
        .flatten()
        .filter(|c| !OWNED.contains(&c.type_.as_str()))
        .cloned()
        .collect();
    let statuses: Vec<&ContainerStatus> = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten()
        .collect();
    let phase = status.phase.as_deref().unwrap_or_default();
    let sandbox = if input.observed.usable_sandbox().is_some() {
        Verdict::yes()
    } else {
        Verdict::no("", String::new())
    };
    let initialized = initialized(input, &statuses, phase);
    let containers = containers_ready(pod, &statuses, phase);
    let ready = ready(pod, &containers, &out);
    for (type_, verdict) in
        OWNED
            .into_iter()
            .zip([sandbox, initialized, ready, containers, Verdict::yes()])
    {
        out.push(condition(input, type_, verdict));
    }
    if !matches!(phase, "Failed" | "Succeeded") {
        out.extend(resizes(input));
    }
    out
}

/// The conditions of a resize, which are there only while there is one.
fn resizes(input: &Input<'_>) -> Vec<PodCondition> {
    let pod = input.pod;
    let mut out = Vec::new();
    if let Some(held) = pod.held() {
        let verdict = Verdict {
            status: true,
            reason: allocation::DEFERRED,
            message: held.message.clone(),
        };
        out.push(PodCondition {
            observed_generation: held.generation,
            ..condition(input, allocation::PENDING, verdict)
        });
    }
    let unfinished = pod.all().any(|(container, kind)| {
        matches!(kind, Kind::Sidecar | Kind::Main)
            && input.observed.current(&container.name).is_some_and(|run| {
                let applied = input.progress.applied.get(&run.id);
                run.state == State::Running
                    && applied.is_some_and(|a| !allocation::changed(Some(a), container).is_empty())
            })
    });
    if unfinished {
        let error = input.progress.resize_error.clone();
        let verdict = Verdict {
            status: true,
            reason: if error.is_some() { "Error" } else { "" },
            message: error.unwrap_or_default(),
        };
        out.push(PodCondition {
            observed_generation: pod.granted_generation().or(pod.generation()),
            ..condition(input, allocation::IN_PROGRESS, verdict)
        });
    }
    out
}

fn condition(input: &Input<'_>, type_: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let old = [input.previous, input.pod.status()]
        .into_iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .find(|c| c.type_ == type_);
    let transition = old
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time.clone())
        .unwrap_or(Time(whole_seconds(input.now)));
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(verdict.reason.to_owned()).filter(|s| !s.is_empty()),
        message: Some(verdict.message).filter(|s| !s.is_empty()),
        last_probe_time: None,
        last_transition_time: Some(transition),
        observed_generation: input.pod.generation(),
    }
}

/// Go's way to print a list of strings, which users know from the messages.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn sentence(unknown: &[&str], rest: &[&str], word: &str) -> Option<String> {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", list(unknown)));
    }
    if !rest.is_empty() {
        parts.push(format!("containers with {word} status: {}", list(rest)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn containers_ready(pod: &PodView, statuses: &[&ContainerStatus], phase: &str) -> Verdict {
    if phase == "Failed" {
        return Verdict::no("PodFailed", String::new());
    }
    if statuses.is_empty() {
        return Verdict::no("UnknownContainerStatuses", String::new());
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (container, kind) in pod.all() {
        if !matches!(kind, Kind::Sidecar | Kind::Main) {
            continue;
        }
        match statuses.iter().find(|s| s.name == container.name) {
            Some(s) if !s.ready => unready.push(container.name.as_str()),
            Some(_) => {}
            None => unknown.push(container.name.as_str()),
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict::no("PodCompleted", String::new());
    }
    match sentence(&unknown, &unready, "unready") {
        Some(message) => Verdict::no("ContainersNotReady", message),
        None => Verdict::yes(),
    }
}

fn ready(pod: &PodView, containers: &Verdict, others: &[PodCondition]) -> Verdict {
    if !containers.status {
        return Verdict::no(containers.reason, containers.message.clone());
    }
    let mut missing = Vec::new();
    for gate in pod.spec().readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match others.iter().find(|c| c.type_ == *type_) {
            None => missing.push(format!(
                "corresponding condition of pod readiness gate {type_:?} does not exist."
            )),
            Some(c) if c.status != "True" => missing.push(format!(
                "the status of pod readiness gate {type_:?} is not \"True\", but {}",
                c.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", missing.join(", "))
    }
}

fn initialized(input: &Input<'_>, statuses: &[&ContainerStatus], phase: &str) -> Verdict {
    let pod = input.pod;
    if statuses.is_empty() && !pod.init_containers().is_empty() {
        return Verdict::no("UnknownContainerStatuses", String::new());
    }
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for (container, kind) in pod.all() {
        if !matches!(kind, Kind::Init | Kind::Sidecar) {
            continue;
        }
        match statuses.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(s) => {
                let done = if kind == Kind::Sidecar {
                    s.started == Some(true)
                } else {
                    s.ready
                };
                if !done {
                    incomplete.push(container.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict {
            status: true,
            reason: "PodCompleted",
            message: String::new(),
        };
    }
    let began = pod.containers().iter().any(|c| {
        input
            .observed
            .current(&c.name)
            .is_some_and(|run| run.state >= State::Running)
    });
    if began {
        return Verdict::yes();
    }
    match sentence(&unknown, &incomplete, "incomplete") {
        Some(message) => Verdict::no("ContainersNotInitialized", message),
        None => Verdict::yes(),
    }
}
