//! The node's conditions.

use client::events::EventType;
use cri::v1;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{NodeCondition, NodeStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::{agent::Agent, pods::status::whole_seconds};

/// What the node is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk space or inodes.
    pub disk: bool,
    /// Process ids.
    pub pid: bool,
}

/// Why the runtime is not ready; none when it is.
pub fn runtime_problem(status: Option<&v1::StatusResponse>, error: Option<&str>) -> Option<String> {
    if let Some(error) = error {
        return Some(format!("container runtime is down: {error}"));
    }
    let Some(status) = status.and_then(|s| s.status.as_ref()) else {
        return Some("container runtime status check may not have completed yet".to_owned());
    };
    let mut problems = Vec::new();
    for (name, what) in [
        ("RuntimeReady", "container runtime not ready"),
        ("NetworkReady", "container runtime network not ready"),
    ] {
        match status.conditions.iter().find(|c| c.r#type == name) {
            Some(c) if c.status => {}
            Some(c) => problems.push(format!(
                "{what}: {name}=false reason:{} message:{}",
                c.reason, c.message
            )),
            None => problems.push(format!("{what}: {name} is not reported")),
        }
    }
    (!problems.is_empty())
        .then(|| format!("[{}]", problems.join(", ")))
        .map(|text| {
            if problems.len() == 1 {
                problems.remove(0)
            } else {
                text
            }
        })
}

/// The conditions, keeping the times of those that did not turn.
pub fn generate(
    problem: Option<String>,
    pressure: Pressure,
    previous: Option<&NodeStatus>,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let pick = |bad: bool, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        if bad { (true, yes) } else { (false, no) }
    };
    let memory = pick(
        pressure.memory,
        (
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        ),
        (
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
    );
    let disk = pick(
        pressure.disk,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pid = pick(
        pressure.pid,
        (
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
        ),
        (
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
    );
    let mut out: Vec<NodeCondition> = [
        ("MemoryPressure", memory),
        ("DiskPressure", disk),
        ("PIDPressure", pid),
    ]
    .into_iter()
    .map(|(type_, (status, (reason, message)))| {
        condition(type_, status, reason, message.to_owned(), previous, now)
    })
    .collect();
    let (status, reason, message) = match problem {
        None => (
            true,
            "KubeletReady",
            "kubelet is posting ready status".to_owned(),
        ),
        Some(problem) => (false, "KubeletNotReady", problem),
    };
    out.push(condition("Ready", status, reason, message, previous, now));
    out
}

fn condition(
    type_: &str,
    status: bool,
    reason: &str,
    message: String,
    previous: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeCondition {
    let status = if status { "True" } else { "False" };
    let now = Time(whole_seconds(now));
    let transition = previous
        .into_iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .find(|c| c.type_ == type_ && c.status == status)
        .and_then(|c| c.last_transition_time.clone())
        .unwrap_or_else(|| now.clone());
    NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(now),
        last_transition_time: Some(transition),
    }
}

/// Whether a status says Ready.
pub fn is_ready(status: &NodeStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Tells of a turn.
pub fn tell(agent: &Agent, was_ready: Option<bool>, ready: bool) {
    if was_ready == Some(ready) {
        return;
    }
    let reason = if ready { "NodeReady" } else { "NodeNotReady" };
    agent.node_event(
        EventType::Normal,
        reason,
        format!("Node {} status is now: {reason}", agent.config.node_name),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(conditions: &[(&str, bool)]) -> v1::StatusResponse {
        v1::StatusResponse {
            status: Some(v1::RuntimeStatus {
                conditions: conditions
                    .iter()
                    .map(|(name, status)| v1::RuntimeCondition {
                        r#type: (*name).to_owned(),
                        status: *status,
                        reason: "Why".into(),
                        message: "because".into(),
                    })
                    .collect(),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn readiness_is_the_runtimes() {
        let ready = status(&[("RuntimeReady", true), ("NetworkReady", true)]);
        assert_eq!(runtime_problem(Some(&ready), None), None);
        let half = status(&[("RuntimeReady", true), ("NetworkReady", false)]);
        assert_eq!(
            runtime_problem(Some(&half), None).as_deref(),
            Some(
                "container runtime network not ready: NetworkReady=false reason:Why message:because"
            )
        );
        assert!(runtime_problem(None, Some("gone")).is_some());
    }

    #[test]
    fn times_turn_with_the_condition() {
        let at = |s| Timestamp::from_second(s).expect("in range");
        let first = NodeStatus {
            conditions: Some(generate(None, Pressure::default(), None, at(10))),
            ..Default::default()
        };
        let disk = Pressure {
            disk: true,
            ..Default::default()
        };
        let second = generate(None, disk, Some(&first), at(20));
        let time = |type_: &str| {
            second
                .iter()
                .find(|c| c.type_ == type_)
                .and_then(|c| c.last_transition_time.as_ref())
                .map(|t| t.0.as_second())
        };
        assert_eq!(time("Ready"), Some(10));
        assert_eq!(time("DiskPressure"), Some(20));
    }
}
