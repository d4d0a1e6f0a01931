//! What the runtime has of one pod: sandboxes and container runs, as last told.
//!
//! Answers and events may arrive out of order; states only go forward, so an older answer never
//! undoes a newer one.

use std::collections::HashMap;

use cri::v1;
use jiff::Timestamp;

/// Label and annotation keys that tie runtime objects to pods.
pub mod keys {
    /// Pod name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Pod namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Pod uid.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Container name.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Hash of the container's definition.
    pub const HASH: &str = "io.kubernetes.container.hash";
    /// How often the container was restarted before this run.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Where the container leaves its last words.
    pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// What counts as last words.
    pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// The pod's grace period.
    pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
}

/// Where a container run stands. The order is the order of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Gone, with an exit code.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

/// One run of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The runtime's id.
    pub id: String,
    /// The container's name in the pod.
    pub name: String,
    /// The sandbox it lives in; empty when the runtime has not said.
    pub sandbox_id: String,
    /// Where it stands.
    pub state: State,
    /// Restarts before this run.
    pub restart_count: u32,
    /// Hash of the definition it was made from.
    pub hash: String,
    /// The runtime's whole answer.
    pub status: v1::ContainerStatus,
    /// Last words, read from the termination log once it ended.
    pub message: Option<String>,
}

impl Run {
    /// Builds a run from the runtime's answer; none when it is not a pod's container.
    pub fn new(status: v1::ContainerStatus, sandbox_id: &str) -> Option<Self> {
        let name = status
            .labels
            .get(keys::CONTAINER_NAME)
            .cloned()
            .or_else(|| status.metadata.as_ref().map(|m| m.name.clone()))?;
        let restart_count = status
            .annotations
            .get(keys::RESTART_COUNT)
            .and_then(|count| count.parse().ok())
            .or_else(|| status.metadata.as_ref().map(|m| m.attempt))
            .unwrap_or(0);
        Some(Self {
            id: status.id.clone(),
            name,
            sandbox_id: sandbox_id.to_owned(),
            state: match v1::ContainerState::try_from(status.state) {
                Ok(v1::ContainerState::ContainerCreated) => State::Created,
                Ok(v1::ContainerState::ContainerRunning) => State::Running,
                Ok(v1::ContainerState::ContainerExited) => State::Exited,
                _ => State::Unknown,
            },
            restart_count,
            hash: status
                .annotations
                .get(keys::HASH)
                .cloned()
                .unwrap_or_default(),
            status,
            message: None,
        })
    }

    /// When it ended.
    pub fn finished(&self) -> Timestamp {
        timestamp(self.status.finished_at)
    }

    /// When it started.
    pub fn started(&self) -> Timestamp {
        timestamp(self.status.started_at)
    }

    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.state == State::Exited && self.status.exit_code == 0
    }
}

/// The runtime's nanoseconds as a time; the epoch when it has none.
pub fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// One sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Whether its namespaces stand.
    pub ready: bool,
    /// How many came before it.
    pub attempt: u32,
    /// When it was made, in nanoseconds.
    pub created_at: i64,
    /// Its addresses, the primary one first.
    pub ips: Vec<String>,
    /// Whether it uses the node's network.
    pub host_network: bool,
}

impl Sandbox {
    /// Builds a sandbox from the runtime's answer.
    pub fn new(status: &v1::PodSandboxStatus) -> Self {
        let mut ips = Vec::new();
        if let Some(network) = &status.network {
            if !network.ip.is_empty() {
                ips.push(network.ip.clone());
            }
            ips.extend(network.additional_ips.iter().map(|ip| ip.ip.clone()));
        }
        let host_network = status
            .linux
            .as_ref()
            .and_then(|l| l.namespaces.as_ref())
            .and_then(|n| n.options.as_ref())
            .is_some_and(|o| o.network == v1::NamespaceMode::Node as i32);
        Self {
            id: status.id.clone(),
            ready: status.state == v1::PodSandboxState::SandboxReady as i32,
            attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
            created_at: status.created_at,
            ips,
            host_network,
        }
    }
}

/// Everything the runtime has of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Sandboxes, newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Runs, newest first.
    pub runs: Vec<Run>,
}

impl Observed {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest sandbox if containers can live in it.
    pub fn usable_sandbox(&self) -> Option<&Sandbox> {
        self.sandbox()
            .filter(|s| s.ready && (s.host_network || !s.ips.is_empty()))
    }

    /// The newest run of a container.
    pub fn current(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// The run before the newest one.
    pub fn previous(&self, name: &str) -> Option<&Run> {
        self.runs.iter().filter(|run| run.name == name).nth(1)
    }

    /// Runs that are alive.
    pub fn running(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.state == State::Running)
    }

    /// Takes in one container's status. States only go forward.
    pub fn upsert_run(&mut self, status: v1::ContainerStatus, sandbox_id: &str) {
        let Some(mut run) = Run::new(status, sandbox_id) else {
            return;
        };
        if let Some(old) = self.runs.iter_mut().find(|old| old.id == run.id) {
            if run.state >= old.state {
                run.message = old.message.take();
                if run.sandbox_id.is_empty() {
                    run.sandbox_id = std::mem::take(&mut old.sandbox_id);
                }
                *old = run;
            }
            return;
        }
        self.runs.push(run);
        self.runs.sort_by(|a, b| {
            (b.restart_count, b.status.created_at).cmp(&(a.restart_count, a.status.created_at))
        });
    }

    /// Takes in one sandbox's status.
    pub fn upsert_sandbox(&mut self, status: &v1::PodSandboxStatus) {
        let sandbox = Sandbox::new(status);
        if let Some(old) = self.sandboxes.iter_mut().find(|old| old.id == sandbox.id) {
            let ready = old.ready && sandbox.ready;
            let ips = if sandbox.ips.is_empty() {
                std::mem::take(&mut old.ips)
            } else {
                sandbox.ips.clone()
            };
            *old = Sandbox {
                ready,
                ips,
                ..sandbox
            };
            return;
        }
        self.sandboxes.push(sandbox);
        self.sandboxes
            .sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_at)));
    }

    /// Forgets a removed container.
    pub fn remove_run(&mut self, id: &str) {
        self.runs.retain(|run| run.id != id);
    }

    /// Forgets a removed sandbox.
    pub fn remove_sandbox(&mut self, id: &str) {
        self.sandboxes.retain(|sandbox| sandbox.id != id);
    }

    /// Replaces everything by a full answer, keeping last words already read.
    pub fn replace(&mut self, mut fresh: Observed) {
        let mut messages: HashMap<String, Option<String>> = self
            .runs
            .drain(..)
            .map(|run| (run.id, run.message))
            .collect();
        for run in &mut fresh.runs {
            run.message = messages.remove(&run.id).flatten();
        }
        *self = fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(id: &str, state: v1::ContainerState, attempt: u32) -> v1::ContainerStatus {
        v1::ContainerStatus {
            id: id.into(),
            state: state as i32,
            metadata: Some(v1::ContainerMetadata {
                name: "c".into(),
                attempt,
            }),
            created_at: i64::from(attempt) + 1,
            ..Default::default()
        }
    }

    #[test]
    fn late_answers_do_not_undo_newer_ones() {
        let mut observed = Observed::default();
        observed.upsert_run(status("1", v1::ContainerState::ContainerExited, 0), "s");
        observed.upsert_run(status("1", v1::ContainerState::ContainerRunning, 0), "s");
        assert_eq!(observed.current("c").map(|r| r.state), Some(State::Exited));
        observed.upsert_run(status("2", v1::ContainerState::ContainerCreated, 1), "s");
        assert_eq!(observed.current("c").map(|r| r.id.as_str()), Some("2"));
        assert_eq!(observed.previous("c").map(|r| r.id.as_str()), Some("1"));
    }

    #[test]
    fn a_stopped_sandbox_stays_stopped() {
        let mut observed = Observed::default();
        let mut s = v1::PodSandboxStatus {
            id: "s".into(),
            network: Some(v1::PodSandboxNetworkStatus {
                ip: "10.0.0.2".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        observed.upsert_sandbox(&s);
        assert!(observed.usable_sandbox().is_some());
        s.state = v1::PodSandboxState::SandboxNotready as i32;
        s.network = None;
        observed.upsert_sandbox(&s);
        s.state = v1::PodSandboxState::SandboxReady as i32;
        observed.upsert_sandbox(&s);
        assert!(observed.usable_sandbox().is_none());
        assert_eq!(
            observed.sandbox().map(|s| s.ips.clone()),
            Some(vec!["10.0.0.2".to_owned()])
        );
    }
}
